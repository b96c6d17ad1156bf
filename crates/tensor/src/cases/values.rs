/// How the elements of an input are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Evenly from `low` to `high`.
    Uniform {
        /// The least.
        low: f32,
        /// The greatest.
        high: f32,
    },
    /// One of `±step/2, ±3 step/2, …` below `limit · step`: never near a multiple of `step`, where a derivative may jump.
    Grid {
        /// Between neighbours.
        step: f32,
        /// How many there are on each side of 0.
        limit: u32,
    },
}

impl Values {
    /// `count` elements of the `stream`th sequence of `seed`.
    pub fn draw(self, seed: u64, stream: u64, count: usize) -> Vec<f32> {
        let mut random = SplitMix64(seed ^ stream.wrapping_mul(0xa076_1d64_78bd_642f));
        (0..count).map(|_| self.place(random.next_unit())).collect()
    }

    /// Maps `u` in `[0, 1)` to an element.
    fn place(self, u: f64) -> f32 {
        match self {
            Self::Uniform { low, high } => (f64::from(low) + u * f64::from(high - low)) as f32,
            Self::Grid { step, limit } => {
                let index = (u * f64::from(2 * limit)).floor() - f64::from(limit);
                ((index + 0.5) * f64::from(step)) as f32
            }
        }
    }
}

/// Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
struct SplitMix64(u64);

impl SplitMix64 {
    fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
