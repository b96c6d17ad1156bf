//! The running softmax of attention, a row of scores at a time.

use super::{isa::for_each_isa, math};

/// The greatest score of a row so far, scaled, and the sum of its weights.
#[derive(Clone, Copy)]
pub(super) struct Running {
    pub(super) most: f32,
    pub(super) total: f32,
}

impl Running {
    pub(super) const START: Self = Self { most: f32::NEG_INFINITY, total: 0.0 };
}

for_each_isa! {
    /// Turns a block of scores into `e^(scale·score - most)` and keeps the row's running maximum and sum. Scores from `visible` on are
    /// masked. Returns what earlier sums of the row must be multiplied with.
    pub(super) fn running_softmax(scores: &mut [f32], visible: usize, scale: f32, running: &mut Running) -> f32 {
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

/// The same for products of bf16: the weights are written as words of two. Exponentials are good to 1e-4, which that rounding hides.
///
/// # Safety
/// The processor has AVX-512 F, BW and BF16. `scores` has room for whole vectors of 32, and `words` has half as many.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn softmax_to_bf16(
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
