//! Floats to bytes: rows of activations as they come, panels of weights when they are packed.

use super::{
    isa::for_each_isa,
    kernel::{Arithmetic, WIDEST},
};

/// The greatest 8-bit weight. -128 is left out, so that a weight and its negative are alike.
const LEVELS: f32 = 127.0;
/// Adding it rounds a small number to an integer, ties to even, whose two's complement is in the low bits.
const ROUND: f32 = (3 << 22) as f32;
/// Column scales are divided and row scales multiplied with it, so that a scaled sum of bytes does not overflow where its true value does not.
const BALANCE: f32 = 128.0;
/// The longest sum of products of bytes that stays in an `i32`: 2³¹ / (255 · 127), and even so a multiple of 4.
pub(super) const LONGEST: usize = 66_304;
/// Lanes of a row that are compared at once.
const LANES: usize = 32;

/// `scale · q` of a byte's range: the scale, and what a float is multiplied with to find `q`. A scale too small to divide by is 0.
fn scale_and_inverse(scale: f32) -> [f32; 2] {
    if scale < f32::MIN_POSITIVE { [0.0; 2] } else { [scale, 1.0 / scale] }
}

for_each_isa! {
    /// A row of floats as words of four bytes, and then `128 · scale` and `least`: `x ≈ scale · q + least`. A row with an element that is not
    /// finite has the scale NaN.
    pub(super) fn quantise_row(row: &[f32], words: &mut [u32]) {
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

    /// The bytes of a panel: `values` are floats of the `extents` `(taps, channels, width)`. For words of bytes each tap's are interleaved by four and
    /// followed by the rows that `kernel_int8` tells; else the rows are as they were, and the scales of the columns follow the last.
    pub(super) fn quantise_panel(arithmetic: Arithmetic, values: &[f32], extents: [usize; 3], to: &mut [i8]) {
        let [taps, channels, width] = extents;
        let mut scales = [0.0f32; WIDEST];
        let mut poison = [0.0f32; WIDEST];
        for row in values.chunks_exact(width) {
            for ((greatest, poison), x) in scales.iter_mut().zip(&mut poison).zip(row) {
                *greatest = if x.abs() > *greatest { x.abs() } else { *greatest };
                *poison += x * 0.0;
            }
        }
        let mut inverses = [0.0f32; WIDEST];
        for ((scale, inverse), poison) in scales.iter_mut().zip(&mut inverses).zip(poison) {
            [*scale, *inverse] = scale_and_inverse(*scale / LEVELS);
            *scale += poison;
        }
        let (scales, inverses) = (&scales[..width], &inverses[..width]);
        let level = |x: f32, inverse: f32| ((x * inverse).clamp(-LEVELS, LEVELS) + ROUND).to_bits() as i8;
        if arithmetic != Arithmetic::Int8 {
            let (bytes, to_scales) = to.split_at_mut(values.len());
            for (bytes, row) in bytes.chunks_exact_mut(width).zip(values.chunks_exact(width)) {
                bytes.iter_mut().zip(row).zip(inverses).for_each(|((byte, &x), &inverse)| *byte = level(x, inverse));
            }
            return write_floats(scales.iter().copied(), to_scales);
        }
        let zeros = [0.0f32; WIDEST];
        let words = channels.div_ceil(4);
        for (tap, to) in values.chunks_exact(channels * width).zip(to.chunks_exact_mut((words + 2) * width * 4)).take(taps) {
            let (bytes, tail) = to.split_at_mut(words * width * 4);
            let mut totals = [0i32; WIDEST];
            for (word, bytes) in bytes.chunks_exact_mut(width * 4).enumerate() {
                let row = |i: usize| if 4 * word + i < channels { &tap[(4 * word + i) * width..][..width] } else { &zeros[..width] };
                let rows = [row(0), row(1), row(2), row(3)];
                let (bytes, _) = bytes.as_chunks_mut::<4>();
                for (n, (bytes, total)) in bytes.iter_mut().zip(&mut totals).enumerate() {
                    *bytes = rows.map(|row| level(row[n], inverses[n]));
                    *total += bytes.iter().map(|&q| i32::from(q)).sum::<i32>();
                }
            }
            let (to_scales, to_totals) = tail.split_at_mut(width * 4);
            write_floats(scales.iter().map(|scale| scale / BALANCE), to_scales);
            write_floats(totals.iter().zip(scales).map(|(&total, scale)| total as f32 * scale), to_totals);
        }
    }

    /// Rows of bytes of a panel as floats.
    pub(super) fn widen_bytes(bytes: &[i8], scales: &[f32], to: &mut [f32]) {
        for (to, bytes) in to.chunks_exact_mut(scales.len()).zip(bytes.chunks_exact(scales.len())) {
            for ((to, &byte), scale) in to.iter_mut().zip(bytes).zip(scales) {
                *to = f32::from(byte) * scale;
            }
        }
    }
}

fn write_floats(from: impl Iterator<Item = f32>, to: &mut [i8]) {
    let (to, _) = to.as_chunks_mut::<4>();
    to.iter_mut().zip(from).for_each(|(to, x)| *to = x.to_ne_bytes().map(u8::cast_signed));
}
