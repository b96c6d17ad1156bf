//! The inner loop over bytes: VNNI sums four products of bytes into each lane of an `i32` vector.
//!
//! A row of the left side is `x ≈ scale · q + least` with `q` of 0 to 255, a column of the right side `w ≈ s · p` with `p` of -127 to
//! 127, so that `Σ x · w = scale · s · Σ q p + least · s · Σ p` (Jacob et al. 2018, section 2.3, with the zero point kept as a float). The
//! last two words of a row are `128 · scale` and `least`, the last two rows of a tap of a panel are `s / 128` and `s · Σ p`.

use std::arch::x86_64::*;

use super::kernel::{ROWS, RowSegments, Sums};

/// `multiply_rows` of rows of bytes. Sums over one tap are exact, those of taps are added in `f32`.
///
/// # Safety
/// As `multiply_rows`; each segment is whole, so that its last two words are what the module says.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(in crate::cpu) unsafe fn rows_int8(a: RowSegments, b: *const u32, width: usize, sums: Sums) {
    // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
    unsafe {
        match width / 16 {
            1 => rows::<1>(a, b, sums),
            2 => rows::<2>(a, b, sums),
            3 => rows::<3>(a, b, sums),
            _ => rows::<4>(a, b, sums),
        }
    }
}

#[inline(always)]
unsafe fn rows<const V: usize>(a: RowSegments, mut b: *const u32, to: Sums) {
    const LANES: usize = 16;
    let words = a.length - 2;
    // Left by the loop that needs all registers to the one that scales.
    let mut products = [[0i32; LANES]; ROWS * 4];
    // SAFETY: every access is within what the caller of `rows_int8` promises.
    unsafe {
        for s in 0..a.segments {
            let row: [*const u32; ROWS] = std::array::from_fn(|r| (*a.pointers.add(s * ROWS + r)).add(a.offset));
            let mut sums = [[_mm512_setzero_si512(); V]; ROWS];
            for k in 0..words {
                let right: [__m512i; V] = std::array::from_fn(|v| _mm512_loadu_si512(b.add(v * LANES).cast()));
                for (sums, row) in sums.iter_mut().zip(row) {
                    let left = _mm512_set1_epi32(row.add(k).cast::<i32>().read_unaligned());
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = _mm512_dpbusd_epi32(*sum, left, right);
                    }
                }
                b = b.add(V * LANES);
            }
            for (sums, products) in sums.iter().zip(products.chunks_exact_mut(V)) {
                for (sum, to) in sums.iter().zip(products) {
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), *sum);
                }
            }
            let right = b.cast::<f32>();
            let scales: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(right.add(v * LANES)));
            let totals: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(right.add((V + v) * LANES)));
            b = b.add(2 * V * LANES);
            let accumulate = to.accumulate || s > 0;
            for (r, (products, row)) in products.chunks_exact(V).zip(row).enumerate() {
                let tail = row.add(words).cast::<f32>();
                let (scale, least) =
                    (_mm512_set1_ps(tail.read_unaligned()), _mm512_set1_ps(tail.add(1).read_unaligned()));
                for (v, products) in products.iter().enumerate() {
                    let at = to.to.add(r * to.stride + v * LANES);
                    let before = if accumulate { _mm512_loadu_ps(at) } else { _mm512_setzero_ps() };
                    let products = _mm512_cvtepi32_ps(_mm512_loadu_si512(products.as_ptr().cast()));
                    let products = _mm512_mul_ps(products, scales[v]);
                    let sum = _mm512_fmadd_ps(products, scale, _mm512_fmadd_ps(totals[v], least, before));
                    _mm512_storeu_ps(at, sum);
                }
            }
        }
    }
}
