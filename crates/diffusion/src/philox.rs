//! Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), and the normal numbers that
//! torch on CUDA and A1111's imitation of it make from it.

/// The normal numbers of `torch.randn(device="cuda")` in f32.
///
/// The random bits, which of them go to which element, and the count of bits a call uses are torch's, read from its
/// CUDA kernel (`calc_execution_policy`): `numel` elements are shared out to threads in blocks of [`BLOCK_SIZE`], at most as many as
/// the device runs at once, each with a Philox subsequence of its own, of which a thread takes four numbers at a time. So
/// a draw of fewer elements than a device's threads is the same on all devices that have so many; larger ones are drawn as
/// on an A100, with its [`MAX_THREADS`], and other devices give others there.
///
/// The last step, Box & Muller's, is made with the device's approximate sine, which no public document gives to the
/// bit. Here it is correctly rounded: numbers agree with a device's to a few `1e-6`, not to the last bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cuda {
    seed: u64,
    /// Blocks of four numbers that each subsequence has used.
    offset: u64,
}

/// Threads of a block of torch's kernel.
const BLOCK_SIZE: usize = 256;
/// The threads an A100 runs at once: 108 multiprocessors of 2048.
const MAX_THREADS: usize = 108 * 2048;
/// Normal numbers of one call of cuRAND's `curand_normal4`.
const LANES: usize = 4;

/// 2⁻³², cuRAND's `CURAND_2POW32_INV`.
const SCALE: f32 = 2.328_306_4e-10;
/// cuRAND's `CURAND_2POW32_INV_2PI`.
const SCALE_TAU: f32 = SCALE * std::f32::consts::TAU;

impl Cuda {
    pub(crate) fn manual_seed(seed: u64) -> Self {
        Self { seed, offset: 0 }
    }

    pub(crate) fn randn(&mut self, n: usize) -> Vec<f32> {
        let threads = n.next_multiple_of(BLOCK_SIZE).min(MAX_THREADS);
        let out = (0..n).map(|i| {
            let (thread, turn) = (i % threads, i / threads);
            let random = philox(self.offset + (turn / LANES) as u64, thread as u64, self.seed);
            match turn % LANES {
                0 => sine_normal(random[0], random[1]),
                1 => cosine_normal(random[0], random[1]),
                2 => sine_normal(random[2], random[3]),
                _ => cosine_normal(random[2], random[3]),
            }
        });
        let out = out.collect();
        self.skip(n);
        out
    }

    /// Goes on as if `n` numbers had been drawn in one call.
    pub(crate) fn skip(&mut self, n: usize) {
        let threads = n.next_multiple_of(BLOCK_SIZE).min(MAX_THREADS);
        self.offset += n.div_ceil((threads * LANES).max(1)) as u64;
    }
}

/// Box & Muller's first number as cuRAND computes it, f32 with the multiply-add fused.
fn sine_normal(x: u32, y: u32) -> f32 {
    radius(x) * f64::from(angle(y)).sin() as f32
}

fn cosine_normal(x: u32, y: u32) -> f32 {
    radius(x) * f64::from(angle(y)).cos() as f32
}

fn radius(x: u32) -> f32 {
    let u = (x as f32).mul_add(SCALE, SCALE / 2.0);
    (-2.0 * f64::from(u).ln() as f32).sqrt()
}

fn angle(y: u32) -> f32 {
    (y as f32).mul_add(SCALE_TAU, SCALE_TAU / 2.0)
}

/// A1111's `NV` source of noise: the first number of each of as many Philox subsequences as there are elements,
/// computed in f64 and rounded to f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nv {
    seed: u64,
    /// Calls so far.
    offset: u32,
}

impl Nv {
    pub(crate) fn manual_seed(seed: u64) -> Self {
        Self { seed, offset: 0 }
    }

    pub(crate) fn randn(&mut self, n: usize) -> Vec<f32> {
        // Its constants are rounded to f32 before they meet f64.
        let scale = f64::from(2.328_306_4e-10_f64 as f32);
        let scale_tau = f64::from((2.328_306_4e-10_f64 * 6.283_185_5) as f32);
        let out = (0..n).map(|i| {
            let [x, y, ..] = philox(u64::from(self.offset), u64::from(i as u32), self.seed);
            let u = f64::from(x) * scale + scale / 2.0;
            let v = f64::from(y) * scale_tau + scale_tau / 2.0;
            ((-2.0 * u.ln()).sqrt() * v.sin()) as f32
        });
        let out = out.collect();
        self.skip();
        out
    }

    /// Goes on as if one call had been made.
    pub(crate) fn skip(&mut self) {
        self.offset = self.offset.wrapping_add(1);
    }
}

/// Block `offset` of a subsequence: four random words.
fn philox(offset: u64, subsequence: u64, seed: u64) -> [u32; 4] {
    let (low, high) = (|x: u64| x as u32, |x: u64| (x >> 32) as u32);
    let [mut a, mut b, mut c, mut d] = [low(offset), high(offset), low(subsequence), high(subsequence)];
    let [mut k0, mut k1] = [low(seed), high(seed)];
    for _ in 0..10 {
        let (p, q) = (u64::from(a) * 0xd251_1f53, u64::from(c) * 0xcd9e_8d57);
        [a, b, c, d] = [high(q) ^ b ^ k0, low(q), high(p) ^ d ^ k1, low(p)];
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// The known answers of the authors' library (Random123, `kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(philox(0, 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, u64::MAX, u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let (counter, key) = ([0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e], 0x299f_31d0_a409_3822);
        assert_eq!(philox(counter[0], counter[1], key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }
}
