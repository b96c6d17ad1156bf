//! The two inner loops that all heavy operations stand on. Each fills one tile of [`ROWS`] × (1 to 4 vectors) sums that
//! live in registers; what becomes of the tile (bias, activation, where it goes) is the caller's, in plain Rust.

use super::isa::Isa;

/// Rows of a tile.
pub(crate) const ROWS: usize = 6;
/// The widest tile of any instruction set.
pub(crate) const WIDEST: usize = 64;

/// A tile of sums: row `r` begins at `r · width`, where `width` is the panel's.
#[repr(align(64))]
pub(crate) struct Tile(pub(crate) [f32; ROWS * WIDEST]);

impl Tile {
    pub(crate) fn new() -> Self {
        Self([0.0; ROWS * WIDEST])
    }
}

/// The left side of [`multiply_rows`]: `segments · ROWS` pointers, each to at least `offset + length` floats.
#[derive(Clone, Copy)]
pub(crate) struct RowSegments {
    pub(crate) pointers: *const *const f32,
    pub(crate) segments: usize,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// `tile[r][n] = Σ_s Σ_k a[s][r][offset + k] · b[s · length + k][n]`: rows of numbers by a packed panel `width` wide.
///
/// # Safety
/// The pointers of `a` are as [`RowSegments`] says, `b` has `segments · length · width` floats, `width` is a multiple of the
/// instruction set's lanes and at most its panel, and the processor has `isa`.
pub(crate) unsafe fn multiply_rows(isa: Isa, a: RowSegments, b: *const f32, width: usize, tile: &mut Tile) {
    let tile = tile.0.as_mut_ptr();
    // SAFETY: the caller's promises.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::rows_avx512(a, b, width, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::rows_avx2(a, b, width, tile),
            _ => match width / 4 {
                1 => rows::<[f32; 4], 1>(a, b, tile),
                _ => rows::<[f32; 4], 2>(a, b, tile),
            },
        }
    }
}

/// `tile[r][n] = Σ_k a[k][offset + r] · b[k · stride + n]`: a sum of outer products, for gradients of weights.
///
/// # Safety
/// `a` has `count` pointers, each to at least `offset + ROWS` readable floats; `b` has `count` rows, each with `width` readable floats;
/// `width` and `isa` as in [`multiply_rows`].
pub(crate) unsafe fn outer(
    isa: Isa,
    a: *const *const f32,
    offset: usize,
    b: *const f32,
    stride: usize,
    count: usize,
    width: usize,
    tile: &mut Tile,
) {
    let tile = tile.0.as_mut_ptr();
    // SAFETY: the caller's promises.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::outer_avx512(a, offset, b, stride, count, width, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::outer_avx2(a, offset, b, stride, count, width, tile),
            _ => match width / 4 {
                1 => outer_products::<[f32; 4], 1>(a, offset, b, stride, count, tile),
                _ => outer_products::<[f32; 4], 2>(a, offset, b, stride, count, tile),
            },
        }
    }
}

/// A vector register. Its methods are safe to call where the processor has the instructions.
trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self + a · b`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
}

#[inline(always)]
unsafe fn rows<T: Vector, const V: usize>(a: RowSegments, mut b: *const f32, tile: *mut f32) {
    // SAFETY: every access is within what the caller of `multiply_rows` promises.
    unsafe {
        let mut sums = [[T::splat(0.0); V]; ROWS];
        for s in 0..a.segments {
            let row: [*const f32; ROWS] = std::array::from_fn(|r| (*a.pointers.add(s * ROWS + r)).add(a.offset));
            for k in 0..a.length {
                let right: [T; V] = std::array::from_fn(|v| T::load(b.add(v * T::LANES)));
                for (sums, row) in sums.iter_mut().zip(row) {
                    let left = T::splat(*row.add(k));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = sum.add_product(left, right);
                    }
                }
                b = b.add(V * T::LANES);
            }
        }
        store(&sums, tile);
    }
}

#[inline(always)]
unsafe fn outer_products<T: Vector, const V: usize>(
    a: *const *const f32,
    offset: usize,
    mut b: *const f32,
    stride: usize,
    count: usize,
    tile: *mut f32,
) {
    // SAFETY: every access is within what the caller of `outer` promises.
    unsafe {
        let mut sums = [[T::splat(0.0); V]; ROWS];
        for k in 0..count {
            let left = (*a.add(k)).add(offset);
            let right: [T; V] = std::array::from_fn(|v| T::load(b.add(v * T::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = T::splat(*left.add(r));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = sum.add_product(left, right);
                }
            }
            b = b.wrapping_add(stride);
        }
        store(&sums, tile);
    }
}

#[inline(always)]
unsafe fn store<T: Vector, const V: usize>(sums: &[[T; V]; ROWS], tile: *mut f32) {
    for (r, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            // SAFETY: V · LANES is at most the widest tile.
            unsafe { sum.store(tile.add((r * V + v) * T::LANES)) };
        }
    }
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has four floats there.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has room for four floats there.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i] * b[i])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{RowSegments, Vector, outer_products, rows};

    macro_rules! vector {
        ($type:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
            impl Vector for $type {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn splat(x: f32) -> Self {
                    // SAFETY: the kernels run only where the instruction set was detected.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: as above, and the caller has a vector of floats there.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as above, and the caller has room for a vector there.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn add_product(self, a: Self, b: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fma(a, b, self) }
                }
            }
        };
    }
    vector!(__m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
    vector!(__m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn rows_avx512(a: RowSegments, b: *const f32, width: usize, tile: *mut f32) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe {
            match width / 16 {
                1 => rows::<__m512, 1>(a, b, tile),
                2 => rows::<__m512, 2>(a, b, tile),
                3 => rows::<__m512, 3>(a, b, tile),
                _ => rows::<__m512, 4>(a, b, tile),
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn rows_avx2(a: RowSegments, b: *const f32, width: usize, tile: *mut f32) {
        // SAFETY: the caller's promises; `width` is 1 or 2 vectors.
        unsafe {
            match width / 8 {
                1 => rows::<__m256, 1>(a, b, tile),
                _ => rows::<__m256, 2>(a, b, tile),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn outer_avx512(
        a: *const *const f32,
        offset: usize,
        b: *const f32,
        stride: usize,
        count: usize,
        width: usize,
        tile: *mut f32,
    ) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe {
            match width / 16 {
                1 => outer_products::<__m512, 1>(a, offset, b, stride, count, tile),
                2 => outer_products::<__m512, 2>(a, offset, b, stride, count, tile),
                3 => outer_products::<__m512, 3>(a, offset, b, stride, count, tile),
                _ => outer_products::<__m512, 4>(a, offset, b, stride, count, tile),
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn outer_avx2(
        a: *const *const f32,
        offset: usize,
        b: *const f32,
        stride: usize,
        count: usize,
        width: usize,
        tile: *mut f32,
    ) {
        // SAFETY: the caller's promises; `width` is 1 or 2 vectors.
        unsafe {
            match width / 8 {
                1 => outer_products::<__m256, 1>(a, offset, b, stride, count, tile),
                _ => outer_products::<__m256, 2>(a, offset, b, stride, count, tile),
            }
        }
    }
}
