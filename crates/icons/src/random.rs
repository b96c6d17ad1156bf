//! Random numbers that are the same everywhere, and decisions by hash.

/// SplitMix64 (Steele, Lea & Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`, which is at least 1.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// True once in `share` times, on the average.
    pub(crate) fn one_in(&mut self, share: usize) -> bool {
        self.below(share) == 0
    }

    /// One of a list that is not empty.
    pub(crate) fn choose<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// FNV-1a, 64 bits, of words with a mark between them, and mixed once more: its low bits alone are uneven.
pub(crate) fn hash(seed: u64, words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0xff]));
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    Random(bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_is_the_published_one() {
        // First outputs for seed 1234567 of the authors' C program.
        let mut random = Random(1_234_567);
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn hashes_tell_words_and_seeds_apart() {
        let one = hash(1, &["a", "bc"]);
        assert_eq!(one, hash(1, &["a", "bc"]));
        assert!(one != hash(1, &["ab", "c"]) && one != hash(2, &["a", "bc"]));
        let even = (0..1000).filter(|n: &u32| hash(1, &[&n.to_string()]).is_multiple_of(2)).count();
        assert!((450..550).contains(&even), "{even}");
    }
}
