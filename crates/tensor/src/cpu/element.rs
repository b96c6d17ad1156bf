//! Element types of tensors. Storage may have 16 bits; arithmetic on elements is in `f32` always.

use super::{
    isa::{Isa, for_each_isa},
    memory::buffer::{Buffer, Plain},
};
use crate::DType;

/// A number in memory.
pub(crate) trait Element: Plain {
    fn widen(self) -> f32;
    /// Rounds to nearest, ties to even.
    fn narrow(x: f32) -> Self;
}

/// The upper half of an `f32`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bf16(pub(crate) u16);

/// IEEE 754 half precision.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F16(pub(crate) u16);

// SAFETY: a `u16` takes any bits.
unsafe impl Plain for Bf16 {}
// SAFETY: as above.
unsafe impl Plain for F16 {}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(x: f32) -> Self {
        x
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        Self((if x.is_nan() { bits | 0x40_0000 } else { rounded } >> 16) as u16)
    }
}

impl Element for F16 {
    /// A half's exponent and mantissa in the place of a float's are its value times 2⁻¹¹², denormal halves too.
    #[inline(always)]
    fn widen(self) -> f32 {
        let magnitude = u32::from(self.0 & 0x7fff) << 13;
        let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
        let infinite = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled | infinite | (u32::from(self.0 & 0x8000) << 16))
    }
    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let sign = x.to_bits() & 0x8000_0000;
        let magnitude = x.to_bits() ^ sign;
        // Adding 1/2 leaves a denormal half, rounded, in the low bits.
        let denormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + ((magnitude >> 13) & 1)) >> 13;
        let half = if magnitude > 0x7f80_0000 {
            0x7e00
        } else if magnitude >= 0x4780_0000 {
            0x7c00
        } else if magnitude < 113 << 23 {
            denormal
        } else {
            normal
        };
        Self((half | (sign >> 16)) as u16)
    }
}

/// Elements of a tensor, as they lie in memory.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [Bf16]),
    F16(&'a [F16]),
}

/// Elements to be written.
pub(crate) enum ElementsMut<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [Bf16]),
    F16(&'a mut [F16]),
}

impl<'a> Elements<'a> {
    /// The elements of a buffer that holds `dtype`.
    pub(crate) fn of(buffer: &'a Buffer, dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16(buffer.slice()),
            DType::F16 => Self::F16(buffer.slice()),
            _ => Self::F32(buffer.slice()),
        }
    }

    pub(crate) fn part(self, start: usize, length: usize) -> Self {
        match self {
            Self::F32(x) => Self::F32(&x[start..][..length]),
            Self::Bf16(x) => Self::Bf16(&x[start..][..length]),
            Self::F16(x) => Self::F16(&x[start..][..length]),
        }
    }

    /// The elements as floats: where they are, or widened into `scratch`.
    pub(crate) fn read<'b>(self, isa: Isa, scratch: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        if let Self::F32(x) = self {
            return x;
        }
        let length = self.len();
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        widen(isa, self, &mut scratch[..length]);
        &scratch[..length]
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::F16(x) => x.len(),
        }
    }

    /// Asks for elements that will be read.
    pub(crate) fn prefetch(self, start: usize, length: usize) {
        match self {
            Self::F32(x) => prefetch_lines(x.as_ptr().wrapping_add(start), length),
            Self::Bf16(x) => prefetch_lines(x.as_ptr().wrapping_add(start), length),
            Self::F16(x) => prefetch_lines(x.as_ptr().wrapping_add(start), length),
        }
    }
}

/// Asks for the cache lines of `length` elements.
fn prefetch_lines<T>(start: *const T, length: usize) {
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    for byte in (0..length * size_of::<T>()).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing, whatever the address; the instruction is in every x86-64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast::<i8>().wrapping_add(byte)) };
    }
}

impl<'a> ElementsMut<'a> {
    pub(crate) fn of(buffer: &'a mut Buffer, dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16(buffer.slice_mut()),
            DType::F16 => Self::F16(buffer.slice_mut()),
            _ => Self::F32(buffer.slice_mut()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Bf16(x) => x.len(),
            Self::F16(x) => x.len(),
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::Bf16(_) => DType::BF16,
            Self::F16(_) => DType::F16,
        }
    }

    /// Their memory.
    pub(crate) fn into_bytes(self) -> &'a mut [u8] {
        let bytes = self.len() * self.dtype().size();
        // SAFETY: the elements have no padding, any bits are one, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts_mut(self.share().data, bytes) }
    }

    pub(crate) fn part(self, start: usize, length: usize) -> Self {
        match self {
            Self::F32(x) => Self::F32(&mut x[start..][..length]),
            Self::Bf16(x) => Self::Bf16(&mut x[start..][..length]),
            Self::F16(x) => Self::F16(&mut x[start..][..length]),
        }
    }

    pub(crate) fn share(self) -> SharedElements {
        match self {
            Self::F32(x) => SharedElements { data: x.as_mut_ptr().cast(), dtype: DType::F32 },
            Self::Bf16(x) => SharedElements { data: x.as_mut_ptr().cast(), dtype: DType::BF16 },
            Self::F16(x) => SharedElements { data: x.as_mut_ptr().cast(), dtype: DType::F16 },
        }
    }
}

/// Elements that tasks share. Each task must write its own only.
#[derive(Clone, Copy)]
pub(crate) struct SharedElements {
    data: *mut u8,
    dtype: DType,
}

// SAFETY: whoever takes a slice promises that tasks touch disjoint elements.
unsafe impl Send for SharedElements {}
// SAFETY: as above.
unsafe impl Sync for SharedElements {}

impl SharedElements {
    pub(crate) fn dtype(self) -> DType {
        self.dtype
    }

    /// Asks for elements that will be written.
    pub(crate) fn prefetch(self, start: usize, length: usize) {
        let size = self.dtype.size();
        prefetch_lines(self.data.cast_const().wrapping_add(start * size), length * size);
    }

    /// The elements from `start` on.
    ///
    /// # Safety
    /// They are within the data, which is still borrowed, and no other task touches them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn part<'a>(self, start: usize, length: usize) -> ElementsMut<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.dtype {
                DType::BF16 => {
                    ElementsMut::Bf16(std::slice::from_raw_parts_mut(self.data.cast::<Bf16>().add(start), length))
                }
                DType::F16 => {
                    ElementsMut::F16(std::slice::from_raw_parts_mut(self.data.cast::<F16>().add(start), length))
                }
                _ => ElementsMut::F32(std::slice::from_raw_parts_mut(self.data.cast::<f32>().add(start), length)),
            }
        }
    }
}

#[inline(always)]
pub(crate) fn widen_slice<T: Element>(from: &[T], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.widen());
}

#[inline(always)]
pub(crate) fn narrow_slice<T: Element>(from: &[f32], to: &mut [T]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = T::narrow(*from));
}

for_each_isa! {
    /// Elements to floats.
    pub(crate) fn widen(from: Elements<'_>, to: &mut [f32]) {
        match from {
            Elements::F32(from) => widen_slice(from, to),
            Elements::Bf16(from) => widen_slice(from, to),
            Elements::F16(from) => widen_slice(from, to),
        }
    }

    /// Floats to elements.
    pub(crate) fn narrow(from: &[f32], to: ElementsMut<'_>) {
        match to {
            ElementsMut::F32(to) => narrow_slice(from, to),
            ElementsMut::Bf16(to) => narrow_slice(from, to),
            ElementsMut::F16(to) => narrow_slice(from, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_those_of_the_half_crate() {
        for bits in 0..=u16::MAX {
            let (got, expected) = (F16(bits).widen(), half::f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:#x}");
            let (got, expected) = (Bf16(bits).widen(), half::bf16::from_bits(bits).to_f32());
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let ties = (0..=u16::MAX).map(|high| (u32::from(high) << 16) | 0x8000);
        let near = (0..1 << 20).map(|i: u32| i.wrapping_mul(0x9e37_79b9));
        for x in ties.chain(near).flat_map(|bits| [bits - 1, bits, bits + 1]).map(f32::from_bits) {
            let (f16, bf16) = (half::f16::from_f32(x), half::bf16::from_f32(x));
            let same = |got: u16, expected: u16, nan: bool| if x.is_nan() { nan } else { got == expected };
            assert!(same(F16::narrow(x).0, f16.to_bits(), F16::narrow(x).widen().is_nan()), "{x:e}");
            assert!(same(Bf16::narrow(x).0, bf16.to_bits(), Bf16::narrow(x).widen().is_nan()), "{x:e}");
        }
    }
}
