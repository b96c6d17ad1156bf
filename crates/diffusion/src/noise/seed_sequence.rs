//! Numpy's `SeedSequence`, from which torchsde takes the seed of each node of its tree.
//!
//! M. O'Neill 2015, "Developing a seed_seq alternative", as numpy has it: entropy is hashed into a pool of words, each
//! word is mixed into each other one, and states are hashed out of the pool. All arithmetic wraps at 32 bits.

/// Words in the pool: what torchsde's `BrownianTree` asks for.
const POOL: usize = 24;

const INIT_A: u32 = 0x43b0_d7e5;
const MULT_A: u32 = 0x931e_8875;
const INIT_B: u32 = 0x8b51_f9dd;
const MULT_B: u32 = 0x58f3_8ded;
const MIX_MULT_L: u32 = 0xca01_f9dd;
const MIX_MULT_R: u32 = 0x4973_f715;

/// The first word of `SeedSequence(entropy, spawn_key=spawn_key, pool_size=24).generate_state(…)`.
pub(super) fn first_word(entropy: u64, spawn_key: &[u64]) -> u32 {
    let mut words = to_words(entropy);
    if !spawn_key.is_empty() {
        // A spawned sequence never shares a pool with another entropy.
        words.resize(words.len().max(POOL), 0);
    }
    words.extend(spawn_key.iter().flat_map(|&key| to_words(key)));

    let mut hash = Hash { constant: INIT_A, multiplier: MULT_A };
    let mut pool = [0u32; POOL];
    for (i, slot) in pool.iter_mut().enumerate() {
        *slot = hash.apply(words.get(i).copied().unwrap_or(0));
    }
    for source in 0..POOL {
        for target in (0..POOL).filter(|&target| target != source) {
            pool[target] = mix(pool[target], hash.apply(pool[source]));
        }
    }
    for &word in words.iter().skip(POOL) {
        for slot in &mut pool {
            *slot = mix(*slot, hash.apply(word));
        }
    }
    Hash { constant: INIT_B, multiplier: MULT_B }.apply(pool[0])
}

/// The words of a number, the lowest first; 0 has one.
fn to_words(number: u64) -> Vec<u32> {
    match number >> 32 {
        0 => vec![number as u32],
        high => vec![number as u32, high as u32],
    }
}

/// Numpy's hash changes its constant each time.
struct Hash {
    constant: u32,
    multiplier: u32,
}

impl Hash {
    fn apply(&mut self, word: u32) -> u32 {
        let word = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        let word = word.wrapping_mul(self.constant);
        word ^ (word >> 16)
    }
}

fn mix(x: u32, y: u32) -> u32 {
    let mixed = MIX_MULT_L.wrapping_mul(x).wrapping_sub(MIX_MULT_R.wrapping_mul(y));
    mixed ^ (mixed >> 16)
}
