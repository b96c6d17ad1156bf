//! What is written into a picture: an id with its checksum, in a code that corrects errors.
//!
//! 64 bits of id and their CRC-32 are coded by LTE's tail-biting convolutional code: rate 1/3, constraint length 7, generators
//! 133, 171 and 165 octal (3GPP TS 36.212, section 5.1.3.1). Its 288 bits are masked and dealt out over a tile in a fixed
//! pseudo-random order, so that a damaged place costs bits that lie far apart, and a tile that is read from a wrong corner is
//! no other id's tile.

use std::sync::LazyLock;

/// Bits of the id.
const ID_BITS: usize = 64;
/// Bits of the id and its checksum.
const MESSAGE: usize = ID_BITS + 32;
/// Bits of a tile.
pub(super) const CODED: usize = 3 * MESSAGE;
/// Memory of the code in bits.
const MEMORY: usize = 6;
const STATES: usize = 1 << MEMORY;
/// Newest bit first.
const GENERATORS: [usize; 3] = [0o133, 0o171, 0o165];
/// Steps that the decoder runs before and after those that count, so that its paths have met.
const RUN_UP: usize = 48;

/// Where each bit of the code lies in a tile, and whether it is written inverted.
struct Layout {
    places: [usize; CODED],
    inverted: [bool; CODED],
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    // SplitMix64 (Steele et al. 2014). These numbers are the format: another seed reads none of its marks.
    let mut state = 0x63a1_07e9_57e1_1ed5_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut places: [usize; CODED] = std::array::from_fn(|i| i);
    for i in (1..CODED).rev() {
        places.swap(i, (next() % (i as u64 + 1)) as usize);
    }
    let inverted = std::array::from_fn(|_| next() & 1 == 1);
    Layout { places, inverted }
});

/// Of each state that a new bit leads to, with the bit as its newest, what the code puts out for it: as the old state's
/// oldest bit is 0 or 1.
static OUTPUTS: LazyLock<[[[f32; 3]; 2]; STATES]> = LazyLock::new(|| {
    let sign =
        |register: usize, generator: usize| if (register & generator).count_ones() % 2 == 1 { 1.0 } else { -1.0 };
    std::array::from_fn(|state| [0, 1].map(|oldest| GENERATORS.map(|generator| sign(state << 1 | oldest, generator))))
});

/// The id and its checksum, most significant bit first.
fn message(id: u64) -> [bool; MESSAGE] {
    let word = u128::from(id) << 32 | u128::from(crc32fast::hash(&id.to_be_bytes()));
    std::array::from_fn(|i| word >> (MESSAGE - 1 - i) & 1 == 1)
}

/// The id, if the checksum is its own.
fn id_of(bits: &[bool; MESSAGE]) -> Option<u64> {
    let word = bits.iter().fold(0u128, |word, &bit| word << 1 | u128::from(bit));
    let id = (word >> 32) as u64;
    (crc32fast::hash(&id.to_be_bytes()) == word as u32).then_some(id)
}

/// The bits of a tile, row by row.
pub(super) fn encode(id: u64) -> [bool; CODED] {
    let bits = message(id);
    let mut tile = [false; CODED];
    for step in 0..MESSAGE {
        // The register goes round: before the first bit it holds the last ones.
        let register =
            (0..=MEMORY).fold(0, |register, age| register << 1 | usize::from(bits[(step + MESSAGE - age) % MESSAGE]));
        for (branch, generator) in GENERATORS.iter().enumerate() {
            let coded = 3 * step + branch;
            let bit = (register & generator).count_ones() % 2 == 1;
            tile[LAYOUT.places[coded]] = bit ^ LAYOUT.inverted[coded];
        }
    }
    tile
}

/// The id of a tile, if there is one in it: from a vote for each of its bits, positive for 1 and 0 where nothing is known.
pub(super) fn decode(votes: &[f32; CODED]) -> Option<u64> {
    let coded: [f32; CODED] = std::array::from_fn(|i| {
        let vote = votes[LAYOUT.places[i]];
        if LAYOUT.inverted[i] { -vote } else { vote }
    });
    id_of(&viterbi(&coded))
}

/// The message whose code agrees most with the votes (Viterbi 1967), started and ended on the round.
fn viterbi(coded: &[f32; CODED]) -> [bool; MESSAGE] {
    const STEPS: usize = RUN_UP + MESSAGE + RUN_UP;
    let outputs = &*OUTPUTS;
    let mut metrics = [0.0f32; STATES];
    let mut decisions = [0u64; STEPS];
    for (step, decision) in decisions.iter_mut().enumerate() {
        let at = 3 * ((step + MESSAGE - RUN_UP) % MESSAGE);
        let votes = [coded[at], coded[at + 1], coded[at + 2]];
        let mut next = [0.0f32; STATES];
        for (state, next) in next.iter_mut().enumerate() {
            // The register is newest bit first: the state before has lost this bit and still has its oldest.
            let before = state << 1 & (STATES - 1);
            let branch = |oldest: usize| {
                let out = &outputs[state][oldest];
                metrics[before | oldest] + out[0] * votes[0] + out[1] * votes[1] + out[2] * votes[2]
            };
            let (zero, one) = (branch(0), branch(1));
            *decision |= u64::from(one > zero) << state;
            *next = zero.max(one);
        }
        metrics = next;
    }
    let mut state = (0..STATES).max_by(|&a, &b| metrics[a].total_cmp(&metrics[b])).unwrap_or(0);
    let mut bits = [false; MESSAGE];
    for step in (RUN_UP..STEPS).rev() {
        if step < RUN_UP + MESSAGE {
            bits[step - RUN_UP] = state >> (MEMORY - 1) & 1 == 1;
        }
        state = (state << 1 & (STATES - 1)) | (decisions[step] >> state & 1) as usize;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(tile: &[bool; CODED]) -> [f32; CODED] {
        tile.map(|bit| if bit { 1.0 } else { -1.0 })
    }

    /// A generator for tests: numbers in [0, 1).
    fn random(state: &mut u64) -> f32 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1u64 << 24) as f32
    }

    #[test]
    fn ids_come_back() {
        for id in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 1 << 63] {
            assert_eq!(decode(&votes(&encode(id))), Some(id));
            let ones = encode(id).iter().filter(|&&bit| bit).count();
            assert!((100..190).contains(&ones), "{id}: {ones} ones");
        }
    }

    #[test]
    fn a_tenth_of_the_bits_wrong_or_half_of_them_missing_is_mended() {
        let mut state = 7;
        let (mut wrong, mut missing) = (0, 0);
        for round in 0..200u64 {
            let id = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let whole = votes(&encode(id));
            let flipped = whole.map(|vote| if random(&mut state) < 0.1 { -vote } else { vote });
            wrong += usize::from(decode(&flipped) == Some(id));
            let erased = whole.map(|vote| if random(&mut state) < 0.5 { 0.0 } else { vote });
            missing += usize::from(decode(&erased) == Some(id));
        }
        assert!(wrong >= 190, "{wrong} of 200 with wrong bits");
        assert!(missing >= 190, "{missing} of 200 with missing bits");
    }

    #[test]
    fn noise_and_turned_tiles_hold_no_id() {
        let mut state = 11;
        let tile = votes(&encode(42));
        for turn in 1..CODED {
            let turned: [f32; CODED] = std::array::from_fn(|i| tile[(i + turn) % CODED]);
            assert_eq!(decode(&turned), None, "turned by {turn}");
            let noise = std::array::from_fn(|_| random(&mut state) - 0.5);
            assert_eq!(decode(&noise), None);
        }
        assert_eq!(decode(&tile.map(|vote| -vote)), None);
        assert_eq!(decode(&[0.0; CODED]), None);
        assert_eq!(decode(&[f32::NAN; CODED]), None);
    }
}
