//! Floats to bytes: rows of activations as they come, columns of weights when they are loaded.

use crate::cpu::isa::for_each_isa;

/// The greatest 8-bit weight. -128 is left out, so that a weight and its negative are alike.
const LEVELS: f32 = 127.0;
/// Adding it rounds a small number to an integer, ties to even, whose two's complement is in the low bits.
const ROUND: f32 = (3 << 22) as f32;
/// Column scales are divided and row scales multiplied with it, so that a scaled sum of bytes does not overflow where its true value does not.
pub(in crate::cpu) const BALANCE: f32 = 128.0;
/// The longest sum of products of bytes that stays in an `i32`: 2³¹ / (255 · 127), and even so a multiple of 4.
pub(in crate::cpu) const LONGEST: usize = 66_304;
/// Lanes of a row that are compared at once.
const LANES: usize = 32;

/// `scale · q` of a byte's range: the scale, and what a float is multiplied with to find `q`. A scale too small to divide by is 0.
fn scale_and_inverse(scale: f32) -> [f32; 2] {
    if scale < f32::MIN_POSITIVE { [0.0; 2] } else { [scale, 1.0 / scale] }
}

for_each_isa! {
    /// A row of floats as words of four bytes, and then `128 · scale` and `least`: `x ≈ scale · q + least`. A row with an element that is not
    /// finite has the scale NaN.
    pub(in crate::cpu) fn quantise_row(row: &[f32], words: &mut [u32]) {
        let (mut least, mut greatest, mut poison) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0.0f32; LANES]);
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for (i, &x) in chunk.iter().enumerate() {
                least[i] = if x < least[i] { x } else { least[i] };
                greatest[i] = if x > greatest[i] { x } else { greatest[i] };
                poison[i] += x * 0.0;
            }
        }
        for (i, &x) in rest.iter().enumerate() {
            least[i] = least[i].min(x);
            greatest[i] = greatest[i].max(x);
            poison[i] += x * 0.0;
        }
        let least = least.into_iter().fold(f32::INFINITY, f32::min);
        let greatest = greatest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let poison: f32 = poison.into_iter().sum();
        // Halves, so that the range of huge numbers is finite.
        let [scale, inverse] = scale_and_inverse((0.5 * greatest - 0.5 * least) / 127.5);
        let Some((words, [tail_scale, tail_least])) = words.split_last_chunk_mut::<2>() else { return };
        (*tail_scale, *tail_least) = ((BALANCE * scale + poison).to_bits(), (least + poison).to_bits());
        let offset = least * inverse;
        let byte = |x: f32| ((x * inverse - offset).clamp(0.0, 255.0) + ROUND).to_bits() as u8;
        let (fours, rest) = row.as_chunks::<4>();
        for (word, four) in words.iter_mut().zip(fours) {
            *word = u32::from_le_bytes(four.map(byte));
        }
        if let Some(word) = words.get_mut(fours.len()) {
            *word = rest.iter().rev().fold(0, |word, &x| (word << 8) | u32::from(byte(x)));
        }
    }

    /// The bytes of a column of weights; the result is its scale.
    pub(in crate::cpu) fn quantise_column(column: &[f32], bytes: &mut [i8]) -> f32 {
        let (mut greatest, mut poison) = ([0.0f32; LANES], [0.0f32; LANES]);
        let (chunks, rest) = column.as_chunks::<LANES>();
        for chunk in chunks {
            for (i, x) in chunk.iter().enumerate() {
                greatest[i] = if x.abs() > greatest[i] { x.abs() } else { greatest[i] };
                poison[i] += x * 0.0;
            }
        }
        for (i, x) in rest.iter().enumerate() {
            greatest[i] = greatest[i].max(x.abs());
            poison[i] += x * 0.0;
        }
        let [scale, inverse] = scale_and_inverse(greatest.into_iter().fold(0.0, f32::max) / LEVELS);
        for (byte, x) in bytes.iter_mut().zip(column) {
            *byte = ((x * inverse).clamp(-LEVELS, LEVELS) + ROUND).to_bits() as i8;
        }
        scale + poison.into_iter().sum::<f32>()
    }

    /// Rows of bytes of a panel as floats.
    pub(in crate::cpu) fn widen_bytes(bytes: &[i8], scales: &[f32], to: &mut [f32]) {
        for (to, bytes) in to.chunks_exact_mut(scales.len()).zip(bytes.chunks_exact(scales.len())) {
            for ((to, &byte), scale) in to.iter_mut().zip(bytes).zip(scales) {
                *to = f32::from(byte) * scale;
            }
        }
    }
}
