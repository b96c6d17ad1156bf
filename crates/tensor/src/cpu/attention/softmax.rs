//! The running softmax of attention, a row of scores at a time.

use crate::cpu::{isa::for_each_isa, math};

/// The greatest score of a row so far, scaled, and the sum of its weights.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Running {
    pub(in crate::cpu) most: f32,
    pub(in crate::cpu) total: f32,
}

impl Running {
    pub(in crate::cpu) const START: Self = Self { most: f32::NEG_INFINITY, total: 0.0 };
}

for_each_isa! {
    /// Turns a block of scores into `e^(scale·score - most)` and keeps the row's running maximum and sum. Scores from `visible` on are
    /// masked. Returns what earlier sums of the row must be multiplied with.
    pub(in crate::cpu) fn running_softmax(scores: &mut [f32], visible: usize, scale: f32, running: &mut Running) -> f32 {
        const LANES: usize = 16;
        let (seen, hidden) = scores.split_at_mut(visible);
        hidden.fill(0.0);
        if seen.is_empty() {
            return 1.0;
        }
        let mut maxima = [f32::NEG_INFINITY; LANES];
        let (blocks, rest) = seen.as_chunks::<LANES>();
        for block in blocks {
            for (m, &s) in maxima.iter_mut().zip(block) {
                *m = if s > *m { s } else { *m };
            }
        }
        let highest = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &s| m.max(s)) * scale;
        let new = running.most.max(highest);
        let shrink = if running.most == f32::NEG_INFINITY { 0.0 } else { math::exp(running.most - new) };
        running.most = new;
        let mut sums = [0.0; LANES];
        let (blocks, rest) = seen.as_chunks_mut::<LANES>();
        for block in blocks {
            for (sum, s) in sums.iter_mut().zip(block) {
                *s = math::exp(*s * scale - new);
                *sum += *s;
            }
        }
        let mut sum: f32 = sums.iter().sum();
        for s in rest {
            *s = math::exp(*s * scale - new);
            sum += *s;
        }
        running.total = running.total * shrink + sum;
        shrink
    }
}

/// A row's integer scores as floats: `scale · (score - offset)`.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Scores {
    pub(in crate::cpu) scale: f32,
    pub(in crate::cpu) offset: f32,
}

/// The same for integers, as `kernel_int8` multiplies them: the weights are written as bytes of 0 to 255, and the running sum is of those.
/// Exponentials are good to 1e-4, which that rounding hides. The words behind are filled with zeros.
///
/// # Safety
/// The processor has AVX-512 F. `scores` has room for whole pairs of vectors of 16, and `words` has at least a quarter as many.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(in crate::cpu) unsafe fn softmax_to_bytes(
    scores: &[f32],
    visible: usize,
    Scores { scale, offset }: Scores,
    running: &mut Running,
    words: &mut [u32],
) -> f32 {
    use std::arch::x86_64::*;
    const LANES: usize = 16;
    const PAIR: usize = 2 * LANES;
    const LEVELS: f32 = 255.0;
    debug_assert!(scores.len().is_multiple_of(PAIR) && words.len() >= scores.len() / 4);
    let (to, behind) = words.split_at_mut(visible.div_ceil(PAIR) * PAIR / 4);
    behind.fill(0);
    if visible == 0 {
        return 1.0;
    }
    let mask = |at: usize| -> __mmask16 { ((1u32 << visible.saturating_sub(at).min(LANES)) - 1) as __mmask16 };
    // SAFETY: loads and stores stay within the slices, whose lengths the caller promises.
    unsafe {
        let scores: *const i32 = scores.as_ptr().cast();
        let mut greatest = [_mm512_set1_epi32(i32::MIN); 2];
        for at in (0..visible).step_by(PAIR) {
            for (i, most) in greatest.iter_mut().enumerate() {
                let at = at + LANES * i;
                *most = _mm512_mask_max_epi32(*most, mask(at), *most, _mm512_loadu_si512(scores.add(at).cast()));
            }
        }
        let greatest = _mm512_reduce_max_epi32(_mm512_max_epi32(greatest[0], greatest[1]));
        // Scores that are not numbers leave a sum that is none.
        running.total += 0.0 * scale;
        let scale = scale * std::f32::consts::LOG2_E;
        let highest = (greatest as f32 - offset) * scale;
        let old = running.most;
        let shrink = if highest > old {
            running.most = highest;
            if old == f32::NEG_INFINITY { 0.0 } else { math::rough_exp2(old - highest) }
        } else {
            1.0
        };
        // As `math::rough_exp2`, times the number of levels.
        let p = math::ROUGH_EXP2.map(|p| _mm512_set1_ps(p * LEVELS));
        let most = _mm512_set1_ps(-running.most - offset * scale);
        let scale = _mm512_set1_ps(scale);
        let least = _mm512_set1_ps(-100.0);
        let round = _mm512_set1_ps(12_582_912.0);
        let mut sums = [_mm512_setzero_si512(); 2];
        for (at, to) in (0..visible).step_by(PAIR).zip(to.chunks_exact_mut(PAIR / 4)) {
            for (i, (sum, to)) in sums.iter_mut().zip(to.chunks_exact_mut(LANES / 4)).enumerate() {
                let at = at + LANES * i;
                let x = _mm512_cvtepi32_ps(_mm512_loadu_si512(scores.add(at).cast()));
                let x = _mm512_max_ps(least, _mm512_fmadd_ps(x, scale, most));
                let shifted = _mm512_add_ps(x, round);
                let f = _mm512_sub_ps(x, _mm512_sub_ps(shifted, round));
                let y = _mm512_fmadd_ps(p[0], f, p[1]);
                let y = _mm512_fmadd_ps(_mm512_fmadd_ps(y, f, p[2]), f, p[3]);
                let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
                let weight = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), exponent));
                let level = _mm512_maskz_cvtps_epi32(mask(at), weight);
                *sum = _mm512_add_epi32(*sum, level);
                _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(level));
            }
        }
        let sum = _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
        running.total = running.total * shrink + sum as f32;
        shrink
    }
}

/// The same for products of bf16: the weights are written as words of two. Exponentials are good to 1e-4, which that rounding hides.
///
/// # Safety
/// The processor has AVX-512 F, BW and BF16. `scores` has room for whole vectors of 32, and `words` has half as many.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in crate::cpu) unsafe fn softmax_to_bf16(
    scores: &[f32],
    visible: usize,
    scale: f32,
    running: &mut Running,
    words: &mut [u32],
) -> f32 {
    use std::arch::x86_64::*;
    const PAIR: usize = 32;
    debug_assert!(scores.len().is_multiple_of(PAIR) && words.len() == scores.len() / 2);
    let whole = visible == scores.len();
    let mask = |at: usize| -> __mmask16 {
        let seen = if whole { 16 } else { visible.saturating_sub(at).min(16) };
        ((1u32 << seen) - 1) as __mmask16
    };
    if visible == 0 {
        words.fill(0);
        return 1.0;
    }
    let scale = scale * std::f32::consts::LOG2_E;
    // SAFETY: loads and stores stay within the slices, whose lengths the caller promises.
    unsafe {
        let hidden = _mm512_set1_ps(f32::NEG_INFINITY);
        let mut maxima = [hidden; 2];
        for at in (0..visible).step_by(PAIR) {
            for (i, maximum) in maxima.iter_mut().enumerate() {
                let at = at + 16 * i;
                let x = _mm512_mask_loadu_ps(hidden, mask(at), scores.as_ptr().wrapping_add(at));
                *maximum = _mm512_max_ps(*maximum, x);
            }
        }
        let highest = _mm512_reduce_max_ps(_mm512_max_ps(maxima[0], maxima[1])) * scale;
        let old = running.most;
        let shrink = if highest > old {
            running.most = highest;
            if old == f32::NEG_INFINITY { 0.0 } else { math::rough_exp2(old - highest) }
        } else {
            1.0
        };
        let most = _mm512_set1_ps(-running.most);
        let scale = _mm512_set1_ps(scale);
        let least = _mm512_set1_ps(-126.0);
        let round = _mm512_set1_ps(12_582_912.0);
        // The polynomial of `math::rough_exp2`.
        let p = math::ROUGH_EXP2.map(|p| _mm512_set1_ps(p));
        let mut sums = [_mm512_setzero_ps(); 2];
        for at in (0..scores.len()).step_by(PAIR) {
            let mut weights = [_mm512_setzero_ps(); 2];
            for (i, (weight, sum)) in weights.iter_mut().zip(&mut sums).enumerate() {
                let at = at + 16 * i;
                let x = _mm512_fmadd_ps(_mm512_loadu_ps(scores.as_ptr().add(at)), scale, most);
                // Of two operands the second is taken when one is not a number.
                let x = _mm512_max_ps(least, x);
                let shifted = _mm512_add_ps(x, round);
                let f = _mm512_sub_ps(x, _mm512_sub_ps(shifted, round));
                let y = _mm512_fmadd_ps(p[0], f, p[1]);
                let y = _mm512_fmadd_ps(_mm512_fmadd_ps(y, f, p[2]), f, p[3]);
                let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
                *weight = _mm512_castsi512_ps(_mm512_maskz_add_epi32(mask(at), _mm512_castps_si512(y), exponent));
                *sum = _mm512_add_ps(*sum, *weight);
            }
            let pairs = _mm512_cvtne2ps_pbh(weights[1], weights[0]);
            words.as_mut_ptr().add(at / 2).cast::<__m512bh>().write_unaligned(pairs);
        }
        running.total = running.total * shrink + _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
        shrink
    }
}
