//! The inner loops that all heavy operations stand on. Each sums a tile of [`ROWS`] × (1 to 4 vectors) in registers;
//! what becomes of the tile (bias, activation, where it goes) is the caller's, in plain Rust.
//!
//! Both sides are read in words of 32 bits: one `f32`, or two bf16 or four bytes whose products are summed by one
//! instruction.

#[cfg(target_arch = "x86_64")]
use super::kernel_int8;
use crate::cpu::{gemm::arithmetic::Arithmetic, isa::Isa};

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

/// The left side of [`multiply_rows`]: `segments · ROWS` pointers, each to at least `offset + length` words.
#[derive(Clone, Copy)]
pub(crate) struct RowSegments {
    pub(crate) pointers: *const *const u32,
    pub(crate) segments: usize,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// Where [`multiply_rows`] puts its sums: rows `stride` floats apart. With `accumulate` they are added to what is there.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(crate) to: *mut f32,
    pub(crate) stride: usize,
    pub(crate) accumulate: bool,
}

/// `sums[r][n] = Σ_s Σ_k a[s][r][offset + k] · b[s · length + k][n]`: rows of words by a packed panel `width` wide.
///
/// # Safety
/// The pointers of `a` are as [`RowSegments`] says, `b` has `segments · length · width` words, `width` is a multiple of the
/// instruction set's lanes and at most its panel, `sums` has [`ROWS`] rows of `width` floats, and the processor has `isa`.
pub(crate) unsafe fn multiply_rows(
    isa: Isa,
    arithmetic: Arithmetic,
    a: RowSegments,
    b: *const u32,
    width: usize,
    sums: Sums,
) {
    // SAFETY: the caller's promises.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 if arithmetic == Arithmetic::Bf16 => x86::rows_bf16(a, b, width, sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::Avx512Bf16 if arithmetic == Arithmetic::Int8 => {
                kernel_int8::rows_int8(a, b, width, sums);
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni | Isa::Avx512Bf16 if arithmetic == Arithmetic::Bytes => x86::rows_bytes(a, b, width, sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 => x86::rows_avx512(a, b, width, sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::rows_avx2(a, b, width, sums),
            _ => match width / 4 {
                1 => rows::<[f32; 4], 1>(a, b, sums),
                _ => rows::<[f32; 4], 2>(a, b, sums),
            },
        }
    }
}

/// Both sides of [`outer`]: `count` pointers, of which words from `offset` on are taken, and `count` rows `stride` words apart.
#[derive(Clone, Copy)]
pub(crate) struct OuterRows {
    pub(crate) a: *const *const u32,
    pub(crate) offset: usize,
    pub(crate) b: *const u32,
    pub(crate) stride: usize,
    pub(crate) count: usize,
}

/// `tile[r][n] = Σ_k a[k][offset + r] · b[k · stride + n]`: a sum of outer products of words, for gradients of weights.
///
/// # Safety
/// Of `rows`, each pointer of `a` is to at least `offset + ROWS` readable words, and each row of `b` has `width` readable words;
/// `width` and `isa` as in [`multiply_rows`].
pub(crate) unsafe fn outer(isa: Isa, arithmetic: Arithmetic, rows: OuterRows, width: usize, tile: &mut Tile) {
    let tile = tile.0.as_mut_ptr();
    // SAFETY: the caller's promises.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 if arithmetic == Arithmetic::Bf16 => x86::outer_bf16(rows, width, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 => x86::outer_avx512(rows, width, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::outer_avx2(rows, width, tile),
            _ => match width / 4 {
                1 => outer_products::<[f32; 4], 1>(rows, tile),
                _ => outer_products::<[f32; 4], 2>(rows, tile),
            },
        }
    }
}

/// A vector of sums, and how words are multiplied into it. Its methods are safe to call where the processor has the instructions.
trait Vector: Copy {
    /// A vector of words.
    type Words: Copy;
    const LANES: usize;
    unsafe fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn splat_word(from: *const u32) -> Self::Words;
    unsafe fn load_words(from: *const u32) -> Self::Words;
    /// `self + a · b`.
    unsafe fn add_product(self, a: Self::Words, b: Self::Words) -> Self;
}

#[inline(always)]
unsafe fn rows<T: Vector, const V: usize>(a: RowSegments, mut b: *const u32, to: Sums) {
    // SAFETY: every access is within what the caller of `multiply_rows` promises.
    unsafe {
        let mut sums = [[T::zero(); V]; ROWS];
        if to.accumulate {
            for (r, row) in sums.iter_mut().enumerate() {
                *row = std::array::from_fn(|v| T::load(to.to.add(r * to.stride + v * T::LANES)));
            }
        }
        for s in 0..a.segments {
            let row: [*const u32; ROWS] = std::array::from_fn(|r| (*a.pointers.add(s * ROWS + r)).add(a.offset));
            for k in 0..a.length {
                let right: [T::Words; V] = std::array::from_fn(|v| T::load_words(b.add(v * T::LANES)));
                for (sums, row) in sums.iter_mut().zip(row) {
                    let left = T::splat_word(row.add(k));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = sum.add_product(left, right);
                    }
                }
                b = b.add(V * T::LANES);
            }
        }
        for (r, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                sum.store(to.to.add(r * to.stride + v * T::LANES));
            }
        }
    }
}

#[inline(always)]
unsafe fn outer_products<T: Vector, const V: usize>(rows: OuterRows, tile: *mut f32) {
    let OuterRows { a, offset, mut b, stride, count } = rows;
    // SAFETY: every access is within what the caller of `outer` promises.
    unsafe {
        let mut sums = [[T::zero(); V]; ROWS];
        for k in 0..count {
            let left = (*a.add(k)).add(offset);
            let right: [T::Words; V] = std::array::from_fn(|v| T::load_words(b.add(v * T::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = T::splat_word(left.add(r));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = sum.add_product(left, right);
                }
            }
            b = b.wrapping_add(stride);
        }
        for (r, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                sum.store(tile.add((r * V + v) * T::LANES));
            }
        }
    }
}

impl Vector for [f32; 4] {
    type Words = Self;
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        [0.0; 4]
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
    unsafe fn splat_word(from: *const u32) -> Self {
        // SAFETY: the caller has a word there.
        [f32::from_bits(unsafe { from.read_unaligned() }); 4]
    }
    #[inline(always)]
    unsafe fn load_words(from: *const u32) -> Self {
        // SAFETY: the caller has four words there.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i] * b[i])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::x86_64::*, mem::transmute};

    use super::{OuterRows, RowSegments, Sums, Vector, outer_products, rows};

    /// Sums of products of bf16 pairs.
    #[derive(Clone, Copy)]
    struct PairSums(__m512);

    /// Sums of products of four bytes, integers in the place of floats.
    #[derive(Clone, Copy)]
    struct ByteSums(__m512i);

    /// The kernel for a width's number of vectors, which it has as a constant.
    macro_rules! by_vectors {
        ($kernel:ident::<$vector:ty>$arguments:tt, $width:expr, $($count:literal)* or $most:literal) => {
            match $width / <$vector>::LANES {
                $($count => $kernel::<$vector, $count> $arguments,)*
                _ => $kernel::<$vector, $most> $arguments,
            }
        };
    }

    macro_rules! vector {
        ($type:ty, $words:ty, $lanes:literal, $wrap:expr, $unwrap:expr, $zero:ident, $load:expr, $store:expr,
         $splat:expr, $load_words:expr, $add_product:expr) => {
            impl Vector for $type {
                type Words = $words;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the kernels run only where the instruction set was detected.
                    $wrap(unsafe { $zero() })
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: as above, and the caller has a vector of floats there.
                    $wrap(unsafe { $load(from) })
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as above, and the caller has room for a vector there.
                    unsafe { $store(to, $unwrap(self)) }
                }
                #[inline(always)]
                unsafe fn splat_word(from: *const u32) -> $words {
                    // SAFETY: as above, and the caller has a word there.
                    unsafe { $splat(from) }
                }
                #[inline(always)]
                unsafe fn load_words(from: *const u32) -> $words {
                    // SAFETY: as above, and the caller has a vector of words there.
                    unsafe { $load_words(from) }
                }
                #[inline(always)]
                unsafe fn add_product(self, a: $words, b: $words) -> Self {
                    // SAFETY: as above.
                    $wrap(unsafe { $add_product($unwrap(self), a, b) })
                }
            }
        };
    }
    vector!(
        __m256,
        __m256,
        8,
        |x| x,
        |x| x,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        |from: *const u32| _mm256_set1_ps(from.cast::<f32>().read_unaligned()),
        |from: *const u32| _mm256_loadu_ps(from.cast()),
        |sum, a, b| _mm256_fmadd_ps(a, b, sum)
    );
    vector!(
        __m512,
        __m512,
        16,
        |x| x,
        |x| x,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        |from: *const u32| _mm512_set1_ps(from.cast::<f32>().read_unaligned()),
        |from: *const u32| _mm512_loadu_ps(from.cast()),
        |sum, a, b| _mm512_fmadd_ps(a, b, sum)
    );
    vector!(
        PairSums,
        __m512bh,
        16,
        PairSums,
        |sums: PairSums| sums.0,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        |from: *const u32| transmute::<__m512i, __m512bh>(_mm512_set1_epi32(from.cast::<i32>().read_unaligned())),
        |from: *const u32| transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast())),
        |sum, a, b| _mm512_dpbf16_ps(sum, a, b)
    );
    vector!(
        ByteSums,
        __m512i,
        16,
        ByteSums,
        |sums: ByteSums| sums.0,
        _mm512_setzero_si512,
        |from: *const f32| _mm512_loadu_si512(from.cast()),
        |to: *mut f32, sums| _mm512_storeu_si512(to.cast(), sums),
        |from: *const u32| _mm512_set1_epi32(from.cast::<i32>().read_unaligned()),
        |from: *const u32| _mm512_loadu_si512(from.cast()),
        |sum, a, b| _mm512_dpbusd_epi32(sum, b, a)
    );

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(in crate::cpu) unsafe fn rows_bytes(a: RowSegments, b: *const u32, width: usize, sums: Sums) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe { by_vectors!(rows::<ByteSums>(a, b, sums), width, 1 2 3 or 4) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(in crate::cpu) unsafe fn rows_bf16(a: RowSegments, b: *const u32, width: usize, sums: Sums) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe { by_vectors!(rows::<PairSums>(a, b, sums), width, 1 2 3 or 4) }
    }

    #[target_feature(enable = "avx512f")]
    pub(in crate::cpu) unsafe fn rows_avx512(a: RowSegments, b: *const u32, width: usize, sums: Sums) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe { by_vectors!(rows::<__m512>(a, b, sums), width, 1 2 3 or 4) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(in crate::cpu) unsafe fn rows_avx2(a: RowSegments, b: *const u32, width: usize, sums: Sums) {
        // SAFETY: the caller's promises; `width` is 1 or 2 vectors.
        unsafe { by_vectors!(rows::<__m256>(a, b, sums), width, 1 or 2) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(in crate::cpu) unsafe fn outer_bf16(rows: OuterRows, width: usize, tile: *mut f32) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe { by_vectors!(outer_products::<PairSums>(rows, tile), width, 1 2 3 or 4) }
    }

    #[target_feature(enable = "avx512f")]
    pub(in crate::cpu) unsafe fn outer_avx512(rows: OuterRows, width: usize, tile: *mut f32) {
        // SAFETY: the caller's promises; `width` is 1 to 4 vectors.
        unsafe { by_vectors!(outer_products::<__m512>(rows, tile), width, 1 2 3 or 4) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(in crate::cpu) unsafe fn outer_avx2(rows: OuterRows, width: usize, tile: *mut f32) {
        // SAFETY: the caller's promises; `width` is 1 or 2 vectors.
        unsafe { by_vectors!(outer_products::<__m256>(rows, tile), width, 1 or 2) }
    }
}
