use crate::backgrounds::BACKGROUNDS;
use crate::error::{Error, Result};

/// Number of held-out pairs.
pub const HELD_OUT: usize = 200;

/// Where the shuffle that chooses the held-out pairs starts. A model is judged on the pairs of this seed.
const SEED: u64 = 0x6361_6c6f_7479_7065;

/// An object on a background, as positions in [`objects`](crate::objects) and [`BACKGROUNDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Position in the list of objects.
    pub object: usize,
    /// Position in [`BACKGROUNDS`].
    pub background: usize,
}

/// Every object on every background, object by object.
pub fn all_pairs(objects: usize) -> impl Iterator<Item = Pair> {
    (0..objects).flat_map(|object| (0..BACKGROUNDS.len()).map(move |background| Pair { object, background }))
}

/// The [`HELD_OUT`] pairs that training must not see, in order: no object in more than one, each background in
/// equally many (20), the same for the same number of objects.
///
/// # Errors
/// [`Error::TooFewObjects`] when there are fewer objects than pairs.
pub fn held_out_pairs(objects: usize) -> Result<Vec<Pair>> {
    if objects < HELD_OUT {
        return Err(Error::TooFewObjects { objects, needed: HELD_OUT });
    }
    let mut order: Vec<usize> = (0..objects).collect();
    let mut state = SEED;
    for last in (1..objects).rev() {
        order.swap(last, (next(&mut state) % (last as u64 + 1)) as usize);
    }
    let chosen = order.into_iter().take(HELD_OUT).enumerate();
    let mut pairs: Vec<Pair> = chosen.map(|(i, object)| Pair { object, background: i % BACKGROUNDS.len() }).collect();
    pairs.sort_unstable();
    Ok(pairs)
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn held_out_pairs_are_even() {
        for objects in [200, 210, 333] {
            let pairs = held_out_pairs(objects).unwrap();
            assert_eq!(pairs.len(), HELD_OUT);
            let distinct: HashSet<usize> = pairs.iter().map(|p| p.object).collect();
            assert_eq!(distinct.len(), HELD_OUT, "an object is held out at most once");
            assert!(distinct.iter().all(|&object| object < objects));
            for background in 0..BACKGROUNDS.len() {
                assert_eq!(pairs.iter().filter(|p| p.background == background).count(), 20);
            }
            assert_eq!(pairs, held_out_pairs(objects).unwrap());
        }
        assert!(matches!(held_out_pairs(199), Err(Error::TooFewObjects { .. })));
    }

    #[test]
    fn all_pairs_are_the_product() {
        let pairs: HashSet<Pair> = all_pairs(7).collect();
        assert_eq!(pairs.len(), 70);
        assert!(pairs.contains(&Pair { object: 6, background: 9 }));
    }

    #[test]
    fn split_mix_is_the_published_one() {
        // First outputs for seed 1234567 of the authors' C program.
        let mut state = 1_234_567;
        assert_eq!([next(&mut state), next(&mut state)], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }
}
