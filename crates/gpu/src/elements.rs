//! Elements as the device keeps them, little-endian.

use calotype_tensor::{DType, Threads};
use half::f16;

/// How many elements a thread turns at a time.
const PIECE: usize = 1 << 14;
/// The greatest number in f16.
const GREATEST: f32 = 65504.0;

/// Writes elements as bytes: in f16 within its range, as the kernels do.
pub(crate) fn encode(dtype: DType, elements: &[f32], bytes: &mut [u8], threads: &Threads) {
    threads.chunks(bytes, PIECE * dtype.size(), |start, bytes| {
        let elements = &elements[start / dtype.size()..];
        match dtype {
            DType::F16 => bytes.as_chunks_mut::<2>().0.iter_mut().zip(elements).for_each(|(bytes, &x)| {
                // What is not a number stays so.
                *bytes = f16::from_f32(x.clamp(-GREATEST, GREATEST)).to_le_bytes();
            }),
            _ => bytes.as_chunks_mut::<4>().0.iter_mut().zip(elements).for_each(|(bytes, x)| *bytes = x.to_le_bytes()),
        }
    });
}

/// Reads elements from bytes.
pub(crate) fn decode(dtype: DType, bytes: &[u8], elements: &mut [f32], threads: &Threads) {
    threads.chunks(elements, PIECE, |start, elements| {
        let bytes = &bytes[start * dtype.size()..];
        match dtype {
            DType::F16 => bytes.as_chunks::<2>().0.iter().zip(elements).for_each(|(&bytes, x)| {
                *x = f16::from_le_bytes(bytes).to_f32();
            }),
            _ => bytes.as_chunks::<4>().0.iter().zip(elements).for_each(|(&bytes, x)| *x = f32::from_le_bytes(bytes)),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_survive_and_what_is_too_large_is_clamped() {
        let values: Vec<f32> = (-40_000..40_000).map(|n| n as f32 * 0.25).collect();
        for dtype in [DType::F32, DType::F16] {
            let mut bytes = vec![0; values.len() * dtype.size()];
            encode(dtype, &values, &mut bytes, Threads::CALLER);
            let mut got = vec![0.0; values.len()];
            decode(dtype, &bytes, &mut got, Threads::CALLER);
            let tolerance = if dtype == DType::F16 { 5e-4 } else { 0.0 };
            assert!(values.iter().zip(&got).all(|(x, got)| (x - got).abs() <= tolerance * x.abs()));
        }
        let mut bytes = [0; 6];
        encode(DType::F16, &[1e9, f32::NEG_INFINITY, f32::NAN], &mut bytes, Threads::CALLER);
        let mut got = [0.0; 3];
        decode(DType::F16, &bytes, &mut got, Threads::CALLER);
        assert_eq!(got[..2], [65504.0, -65504.0]);
        assert!(got[2].is_nan());
    }
}
