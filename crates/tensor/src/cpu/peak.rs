//! What this machine could do at most: arithmetic on registers alone, on all threads.

use std::{hint::black_box, time::Instant};

use super::{Arithmetic, Cpu, Isa};
use crate::{Error, Result};

/// A run is this long to twice as long: long beside the start of the threads, short beside the slices that a busy system
/// gives to others.
const RUN_SECONDS: f64 = 0.001;
/// Runs whose best counts.
const RUNS: usize = 100;
/// Runs whose best tells whether one is long enough.
const TRIALS: usize = 4;
/// Independent sums: more than the latency of a multiply-add times how many begin in a cycle, and with the two factors
/// no more than there are registers.
const SUMS_16: usize = 12;
#[cfg(target_arch = "x86_64")]
const SUMS_32: usize = 16;

impl Cpu {
    /// Whether this processor has the instructions of an arithmetic, and the backend's instruction set allows them.
    pub fn has_arithmetic(&self, arithmetic: Arithmetic) -> bool {
        kernel(self.isa(), arithmetic).is_some()
    }

    /// The peak of this machine in GFLOP/s (10⁹ multiplications and additions in a second) with this backend's threads:
    /// the best of many short runs of multiply-adds that touch no memory. It takes 0.1 to 0.2 s.
    ///
    /// # Errors
    /// The processor lacks the instructions, or the backend's instruction set is a lesser one.
    pub fn measure_peak(&self, arithmetic: Arithmetic) -> Result<f64> {
        let Some((run, flops)) = kernel(self.isa(), arithmetic) else {
            let message = format!("{} has no {arithmetic} instructions, expected AVX-512 with them", self.isa());
            return Err(Error::Invalid { op: "measure_peak", message });
        };
        let threads = self.threads();
        let seconds = |rounds: usize| {
            let start = Instant::now();
            // SAFETY: `kernel` gives only what this processor has.
            self.threads.each(threads, |_| unsafe { run(rounds) });
            start.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
        };
        let best = |rounds, runs| (0..runs).map(|_| seconds(rounds)).fold(f64::INFINITY, f64::min);
        let mut rounds = 1 << 10;
        while best(rounds, TRIALS) < RUN_SECONDS {
            rounds *= 2;
        }
        Ok((threads * rounds) as f64 * flops as f64 / best(rounds, RUNS) / 1e9)
    }
}

/// A loop of multiply-adds.
type Kernel = unsafe fn(rounds: usize);

/// The loop of an arithmetic and the floating-point operations of one of its rounds; none where there are no such instructions.
fn kernel(isa: Isa, arithmetic: Arithmetic) -> Option<(Kernel, usize)> {
    match (arithmetic, isa.lanes()) {
        #[cfg(target_arch = "x86_64")]
        (Arithmetic::F32, 16) => Some((x86::f32_avx512, SUMS_32 * 16 * 2)),
        #[cfg(target_arch = "x86_64")]
        (Arithmetic::F32, 8) => Some((x86::f32_avx2, SUMS_16 * 8 * 2)),
        (Arithmetic::F32, _) => Some((f32_portable, SUMS_16 * 4 * 2)),
        #[cfg(target_arch = "x86_64")]
        (Arithmetic::Bf16, 16) if is_x86_feature_detected!("avx512bf16") => Some((x86::bf16_avx512, SUMS_32 * 32 * 2)),
        #[cfg(target_arch = "x86_64")]
        (Arithmetic::Int8, 16) if is_x86_feature_detected!("avx512vnni") => Some((x86::int8_avx512, SUMS_32 * 64 * 2)),
        _ => None,
    }
}

/// Vectors of four, which the compiler puts into registers. The sum is the factor: else the product would be the same in
/// each round, and computed once.
fn f32_portable(rounds: usize) {
    let [a, b] = black_box([[0.5f32; 4], [1.0f32; 4]]);
    let mut sums = black_box([[1.0f32; 4]; SUMS_16]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = std::array::from_fn(|i| sum[i] * a[i] + b[i]);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::x86_64::*, hint::black_box};

    use super::{SUMS_16, SUMS_32};

    /// A loop that adds the product of two factors to each of some independent sums.
    macro_rules! kernel {
        ($name:ident, $features:literal, [$zero:expr; $count:ident], $factor:expr, |$sum:ident, $a:ident, $b:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(rounds: usize) {
                let ($a, $b) = black_box(($factor, $factor));
                let mut sums = black_box([$zero; $count]);
                for _ in 0..rounds {
                    for $sum in &mut sums {
                        *$sum = $step;
                    }
                }
                black_box(sums);
            }
        };
    }
    kernel!(f32_avx2, "avx2,fma", [_mm256_setzero_ps(); SUMS_16], _mm256_set1_ps(1.0), |sum, a, b| {
        _mm256_fmadd_ps(a, b, *sum)
    });
    kernel!(f32_avx512, "avx512f", [_mm512_setzero_ps(); SUMS_32], _mm512_set1_ps(1.0), |sum, a, b| {
        _mm512_fmadd_ps(a, b, *sum)
    });
    kernel!(
        bf16_avx512,
        "avx512f,avx512bf16",
        [_mm512_setzero_ps(); SUMS_32],
        _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0)),
        |sum, a, b| _mm512_dpbf16_ps(*sum, a, b)
    );
    kernel!(int8_avx512, "avx512f,avx512vnni", [_mm512_setzero_si512(); SUMS_32], _mm512_set1_epi8(1), |sum, a, b| {
        _mm512_dpbusd_epi32(*sum, a, b)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuOptions;

    #[test]
    fn the_peak_is_that_of_a_processor() {
        for isa in Isa::available() {
            let cpu = Cpu::with_options(CpuOptions { threads: 1, isa: Some(isa), ..CpuOptions::default() }).unwrap();
            for arithmetic in Arithmetic::ALL {
                if cpu.has_arithmetic(arithmetic) {
                    let peak = cpu.measure_peak(arithmetic).unwrap();
                    assert!((0.5..1e5).contains(&peak), "{isa} {arithmetic}: {peak} GFLOP/s");
                } else {
                    let error = cpu.measure_peak(arithmetic).unwrap_err().to_string();
                    assert!(error.contains(&arithmetic.to_string()), "{error}");
                }
            }
        }
    }
}
