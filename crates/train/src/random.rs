//! Random numbers that depend on a seed and a place, and on nothing before them.
//!
//! A run makes a generator anew for each purpose and step, so that a resumed run needs no stored state: step 1000 draws
//! the same whether steps 1 to 999 ran in this process or in another.

use calotype_diffusion::Generator;

/// What a stream of numbers is for. Streams of one seed are independent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    /// The order of an epoch's pictures; the place is the epoch.
    Order = 2,
    /// Noise, timesteps and dropped captions; the place is the number of the batch since the start.
    Training = 3,
    /// The fixed noise of measurements; the place is the batch.
    HeldOut = 4,
    /// The fixed noise of sample sheets; the place is the picture.
    Samples = 5,
    /// The latents that the scale factor is measured on.
    ScaleFactor = 6,
    /// The noise of the latents that a discriminator sees; the place is as of [`Self::Training`].
    Discriminator = 7,
}

/// The generator of a stream at a place.
pub(crate) fn generator(seed: u64, stream: Stream, place: u64) -> Generator {
    let words = [seed, stream as u64, place];
    Generator::manual_seed(words.into_iter().fold(0, |state, word| mix(state ^ word)))
}

/// A number from 0 to below 1 for a place.
pub(crate) fn uniform(place: [u64; 3]) -> f64 {
    (place.into_iter().fold(0, |state, word| mix(state ^ word)) >> 11) as f64 / (1u64 << 53) as f64
}

/// One step of SplitMix64 (Steele, Lea & Flood 2014).
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of bytes that never changes (FNV-1a, 64 bits), to tell inputs apart; no protection against intent.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_streams_and_places_differ() {
        let first = |seed, stream, place| generator(seed, stream, place).random64();
        let one = first(1, Stream::Order, 1);
        assert_eq!(one, first(1, Stream::Order, 1));
        for other in [first(2, Stream::Order, 1), first(1, Stream::Training, 1), first(1, Stream::Order, 2)] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn hash_is_fnv1a() {
        // Test vectors of the FNV reference page.
        assert_eq!(fnv1a(*b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(*b"foobar"), 0x8594_4171_f739_67e8);
    }
}
