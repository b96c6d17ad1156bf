//! Between a file's little-endian bytes and numbers.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::{DType, Error, Result, float8};

/// Half-precision numbers converted at a time.
const BLOCK: usize = 256;

/// Each `N` bytes of `bytes` made into one number of `numbers`.
fn map<const N: usize, T>(bytes: &[u8], numbers: &mut [T], convert: impl Fn([u8; N]) -> T) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (number, element) in numbers.iter_mut().zip(elements) {
        *number = convert(*element);
    }
}

/// Decodes `bytes` of `dtype` into as many `numbers`; `None` for a dtype that has no `f32` form here.
pub(crate) fn decode_f32(dtype: DType, bytes: &[u8], numbers: &mut [f32]) -> Option<()> {
    match dtype {
        DType::F64 => map(bytes, numbers, |b| f64::from_le_bytes(b) as f32),
        DType::F32 => map(bytes, numbers, f32::from_le_bytes),
        DType::F16 => decode_f16(bytes, numbers),
        DType::BF16 => map(bytes, numbers, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        DType::I64 => map(bytes, numbers, |b| i64::from_le_bytes(b) as f32),
        DType::I32 => map(bytes, numbers, |b| i32::from_le_bytes(b) as f32),
        DType::I16 => map(bytes, numbers, |b| f32::from(i16::from_le_bytes(b))),
        DType::I8 => map(bytes, numbers, |b| f32::from(i8::from_le_bytes(b))),
        DType::U64 => map(bytes, numbers, |b| u64::from_le_bytes(b) as f32),
        DType::U32 => map(bytes, numbers, |b| u32::from_le_bytes(b) as f32),
        DType::U16 => map(bytes, numbers, |b| f32::from(u16::from_le_bytes(b))),
        DType::U8 => map(bytes, numbers, |[b]| f32::from(b)),
        DType::Bool => map(bytes, numbers, |[b]| f32::from(b != 0)),
        other => {
            let values = float8::values(other)?;
            map(bytes, numbers, |[b]| values[usize::from(b)]);
        }
    }
    Some(())
}

/// Decodes `bytes` of `dtype` into as many `numbers`; `None` for a dtype whose numbers may not fit `i64`.
pub(crate) fn decode_i64(dtype: DType, bytes: &[u8], numbers: &mut [i64]) -> Option<()> {
    match dtype {
        DType::I64 => map(bytes, numbers, i64::from_le_bytes),
        DType::I32 => map(bytes, numbers, |b| i32::from_le_bytes(b).into()),
        DType::I16 => map(bytes, numbers, |b| i16::from_le_bytes(b).into()),
        DType::I8 => map(bytes, numbers, |b| i8::from_le_bytes(b).into()),
        DType::U32 => map(bytes, numbers, |b| u32::from_le_bytes(b).into()),
        DType::U16 => map(bytes, numbers, |b| u16::from_le_bytes(b).into()),
        DType::U8 => map(bytes, numbers, |[b]| b.into()),
        DType::Bool => map(bytes, numbers, |[b]| (b != 0).into()),
        _ => return None,
    }
    Some(())
}

/// By blocks through `half`, which uses the processor's own conversion where there is one.
fn decode_f16(bytes: &[u8], numbers: &mut [f32]) {
    let mut block = [f16::ZERO; BLOCK];
    for (numbers, bytes) in numbers.chunks_mut(BLOCK).zip(bytes.chunks(2 * BLOCK)) {
        let block = &mut block[..numbers.len()];
        map(bytes, block, f16::from_le_bytes);
        block.convert_to_f32_slice(numbers);
    }
}

/// `numbers` as little-endian bytes of `dtype`, rounded to nearest, ties to even. What is too large for `F16` becomes
/// infinite, as IEEE 754 asks.
///
/// # Errors
/// `dtype` is not `F32`, `F16` or `BF16`.
pub fn encode_f32(numbers: &[f32], dtype: DType) -> Result<Vec<u8>> {
    let mut bytes = vec![0; numbers.len() * dtype.size()];
    match dtype {
        DType::F32 => unmap(numbers, &mut bytes, |n| n.to_le_bytes()),
        DType::F16 => encode_half(numbers, &mut bytes, f16::ZERO, f16::to_le_bytes),
        DType::BF16 => encode_half(numbers, &mut bytes, bf16::ZERO, bf16::to_le_bytes),
        _ => return Err(Error::Convert { context: "encoding".to_owned(), from: DType::F32, to: dtype }),
    }
    Ok(bytes)
}

/// Each number of `numbers` made into `N` bytes of `bytes`.
fn unmap<const N: usize, T: Copy>(numbers: &[T], bytes: &mut [u8], convert: impl Fn(T) -> [u8; N]) {
    let (elements, _) = bytes.as_chunks_mut::<N>();
    for (element, number) in elements.iter_mut().zip(numbers) {
        *element = convert(*number);
    }
}

fn encode_half<T: Copy>(numbers: &[f32], bytes: &mut [u8], zero: T, to_bytes: impl Fn(T) -> [u8; 2])
where
    [T]: HalfFloatSliceExt,
{
    let mut block = [zero; BLOCK];
    for (numbers, bytes) in numbers.chunks(BLOCK).zip(bytes.chunks_mut(2 * BLOCK)) {
        let block = &mut block[..numbers.len()];
        block.convert_from_f32_slice(numbers);
        unmap(block, bytes, &to_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(dtype: DType, numbers: &[f32]) -> Vec<f32> {
        let mut back = vec![0.0; numbers.len()];
        decode_f32(dtype, &encode_f32(numbers, dtype).unwrap(), &mut back).unwrap();
        back
    }

    #[test]
    fn every_f16_and_bf16_comes_back() {
        // 65,536 values: also longer than one block, and every exponent and sign.
        for (dtype, bits_to_f32) in [
            (DType::F16, (|b| f16::from_bits(b).to_f32()) as fn(u16) -> f32),
            (DType::BF16, |b| bf16::from_bits(b).to_f32()),
        ] {
            let numbers: Vec<f32> = (0..=u16::MAX).map(bits_to_f32).collect();
            for (a, b) in numbers.iter().zip(round_trip(dtype, &numbers)) {
                assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{dtype}: {a} became {b}");
            }
        }
    }

    #[test]
    fn ties_go_to_even() {
        // Half-way between neighbours: bf16 has 7 bits of mantissa, f16 has 10.
        let ulp = 2.0_f32.powi(-7);
        assert_eq!(round_trip(DType::BF16, &[1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp]), [1.0, 1.0 + 2.0 * ulp]);
        let ulp = 2.0_f32.powi(-10);
        assert_eq!(round_trip(DType::F16, &[1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp]), [1.0, 1.0 + 2.0 * ulp]);
        assert_eq!(round_trip(DType::F16, &[65519.0, 65520.0]), [65504.0, f32::INFINITY]);
    }

    #[test]
    fn integers_and_bools_are_numbers() {
        let mut numbers = [0.0; 2];
        decode_f32(DType::I16, &(-3_i16).to_le_bytes(), &mut numbers).unwrap();
        decode_f32(DType::Bool, &[1], &mut numbers[1..]).unwrap();
        assert_eq!(numbers, [-3.0, 1.0]);
        let mut integers = [0; 1];
        decode_i64(DType::I32, &i32::MIN.to_le_bytes(), &mut integers).unwrap();
        assert_eq!(integers, [i64::from(i32::MIN)]);
        assert_eq!(decode_i64(DType::F32, &[], &mut []), None);
        assert_eq!(decode_f32(DType::C64, &[], &mut []), None);
        assert!(encode_f32(&[1.0], DType::I8).is_err());
    }
}
