//! Weights in the order that the kernels read them.

use crate::cpu::{
    Cpu,
    element::{Bf16, Element, Elements, F16, widen},
    gemm::{arithmetic::Arithmetic, quantise::widen_bytes},
    isa::{Isa, for_each_isa},
    memory::buffer::Buffer,
    parallel::Shared,
};
use crate::{DType, Result};

/// How the elements of a [`Packed`] are kept, and how they are computed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) isa: Isa,
    pub(crate) arithmetic: Arithmetic,
    /// The type in memory: that of the arithmetic's words, or a narrower one that is widened block by block.
    pub(in crate::cpu) stored: DType,
}

impl Format {
    /// The fastest for weights of `dtype`.
    pub(crate) fn new(isa: Isa, dtype: DType) -> Self {
        Self { isa, arithmetic: Arithmetic::of(isa, dtype), stored: dtype }
    }

    /// For products whose sums are left as integers.
    pub(in crate::cpu) fn bytes(isa: Isa) -> Self {
        Self { isa, arithmetic: Arithmetic::Bytes, stored: DType::I8 }
    }

    /// Bytes of one lane of a row.
    fn lane(self) -> usize {
        self.stored.size() * self.arithmetic.per_word()
    }

    /// Bytes of a column of `depth` words: with its scale, where words of floats don't tell it.
    pub(in crate::cpu) fn column(self, depth: usize) -> usize {
        let has_scale = self.stored == DType::I8 && self.arithmetic == Arithmetic::F32;
        depth * self.lane() + if has_scale { size_of::<f32>() } else { 0 }
    }
}

/// A matrix `(taps · channels, N)` cut into panels of columns: panel after panel, each `(taps · words, width)` and contiguous. A word holds
/// [`Arithmetic::per_word`] channels of a column; a tap's last is filled up with zeros. All panels are as wide as the
/// instruction set's, but the last, which is as many vectors wide as it needs; columns past `N` are zeros. Bytes have scales
/// besides, where `kernel_int8` tells, or after a panel's last row where they are widened.
pub(crate) struct Packed {
    pub(crate) format: Format,
    pub(crate) taps: usize,
    /// Of one tap.
    pub(crate) channels: usize,
    /// N.
    pub(crate) columns: usize,
    pub(in crate::cpu) data: Buffer,
}

/// Where a panel of a [`Packed`] stands in the matrix.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    pub(crate) width: usize,
    /// The matrix column that the panel begins with.
    pub(crate) start: usize,
    /// How many of its columns are the matrix's.
    pub(crate) columns: usize,
}

impl Panel {
    /// Those of a matrix, in their order.
    pub(crate) fn all(isa: Isa, columns: usize) -> impl ExactSizeIterator<Item = Self> {
        (0..columns).step_by(isa.panel()).map(move |start| Self::new(isa, columns, start))
    }

    /// The panel that begins with column `start` of a matrix.
    pub(in crate::cpu) fn new(isa: Isa, columns: usize, start: usize) -> Self {
        let width = isa.panel().min((columns - start).next_multiple_of(isa.lanes()));
        Self { width, start, columns: width.min(columns - start) }
    }
}

impl Packed {
    /// Packs a matrix of floats: `fill(tap, channel, n, to)` writes the elements of a channel from column `n` on.
    pub(crate) fn new(
        cpu: &Cpu,
        format: Format,
        [taps, channels, columns]: [usize; 3],
        fill: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
    ) -> Result<Self> {
        let mut packed = Self::empty(cpu, format, [taps, channels, columns])?;
        let panels: Vec<Panel> = packed.panels().collect();
        let column = format.column(packed.depth());
        let bytes = Shared::new(packed.data.slice_mut::<i8>());
        cpu.each(panels.len(), |p| {
            let panel = panels[p];
            // SAFETY: panels do not overlap.
            let data = unsafe { bytes.slice(panel.start * column, panel.width * column) };
            fill_panel(format, data, panel, [taps, channels], &fill);
            Ok(())
        })?;
        Ok(packed)
    }

    /// Room for a matrix, to be filled by one thread.
    pub(crate) fn empty(cpu: &Cpu, format: Format, [taps, channels, columns]: [usize; 3]) -> Result<Self> {
        let data = cpu.buffer::<i8>(Self::bytes(format, [taps, channels, columns]))?;
        Ok(Self { format, taps, channels, columns, data })
    }

    /// The bytes that a matrix takes.
    pub(in crate::cpu) fn bytes(format: Format, [taps, channels, columns]: [usize; 3]) -> usize {
        let last = columns % format.isa.panel();
        let padded = columns - last + last.next_multiple_of(format.isa.lanes());
        padded * format.column(taps * format.arithmetic.words(channels))
    }

    /// A matrix of one tap, filled on this thread: `column(n)` has the words of a column.
    pub(crate) fn with_columns<'c>(mut self, column: impl Fn(usize) -> &'c [u32]) -> Self {
        let depth = self.depth();
        for panel in self.panels() {
            let data = &mut self.data.slice_mut::<u32>()[panel.start * depth..][..panel.width * depth];
            if panel.columns < panel.width {
                data.fill(0);
            }
            for n in 0..panel.columns {
                for (row, &word) in data.chunks_exact_mut(panel.width).zip(&column(panel.start + n)[..depth]) {
                    row[n] = word;
                }
            }
        }
        self
    }

    /// A matrix of one tap, filled on this thread: `row(k)` has the words of a row, elements side by side.
    pub(crate) fn with_rows<'r>(mut self, row: impl Fn(usize) -> &'r [u32]) -> Self {
        let (depth, channels) = (self.depth(), self.channels);
        // Beside the last of an odd number.
        let zeros = vec![0; if channels % 2 == 1 { self.columns.div_ceil(2) } else { 0 }];
        for panel in self.panels() {
            let data = &mut self.data.slice_mut::<u32>()[panel.start * depth..][..panel.width * depth];
            for (k, to) in data.chunks_exact_mut(panel.width).enumerate() {
                let (to, rest) = to.split_at_mut(panel.columns);
                rest.fill(0);
                if self.format.arithmetic.per_word() == 1 {
                    to.copy_from_slice(&row(k)[panel.start..][..panel.columns]);
                    continue;
                }
                let odd = if 2 * k + 1 < channels { row(2 * k + 1) } else { &zeros };
                pair_rows(self.format.isa, &row(2 * k)[panel.start / 2..], &odd[panel.start / 2..], to);
            }
        }
        self
    }

    /// Words of one tap.
    pub(crate) fn words(&self) -> usize {
        self.format.arithmetic.words(self.channels)
    }

    /// Words of a column.
    pub(crate) fn depth(&self) -> usize {
        self.taps * self.words()
    }

    pub(crate) fn panels(&self) -> impl ExactSizeIterator<Item = Panel> + use<> {
        Panel::all(self.format.isa, self.columns)
    }

    /// Rows `first..first + count` of a panel, in words that the kernels read; widened into `scratch` where they are kept narrower.
    pub(crate) fn rows<'a>(&'a self, panel: Panel, first: usize, count: usize, scratch: &'a mut Vec<f32>) -> &'a [u32] {
        let start = panel.start * self.depth() + first * panel.width;
        let length = count * panel.width;
        if self.format.lane() == size_of::<u32>() {
            return &self.data.slice::<u32>()[start..][..length];
        }
        if scratch.len() < length {
            scratch.resize(length, 0.0);
        }
        if self.format.stored == DType::I8 {
            let column = self.format.column(self.depth());
            let bytes = &self.data.slice::<i8>()[panel.start * column..][..panel.width * column];
            let (bytes, scales) = bytes.split_at(panel.width * self.depth());
            widen_bytes(self.format.isa, &bytes[first * panel.width..][..length], cast(scales), &mut scratch[..length]);
            return bits(&scratch[..length]);
        }
        widen(
            self.format.isa,
            Elements::of(&self.data, self.format.stored).part(start, length),
            &mut scratch[..length],
        );
        bits(&scratch[..length])
    }

    /// The elements of a channel of a tap from column `n` to the end of its panel, of a matrix kept in `f32`.
    pub(crate) fn row(&self, tap: usize, channel: usize, n: usize) -> &[f32] {
        let isa = self.format.isa;
        let Panel { start, width, .. } = Panel::new(isa, self.columns, n / isa.panel() * isa.panel());
        let row = &self.data.slice::<f32>()[start * self.depth() + (tap * self.channels + channel) * width..][..width];
        &row[n - start..]
    }

    /// The weight that carries gradients back: for each tap's `(inputs, N)`, its transpose `(N, inputs)`. Of a matrix in floats or pairs only.
    pub(crate) fn transposed(&self, cpu: &Cpu) -> Result<Self> {
        let (shape, isa) = ([self.taps, self.columns, self.channels], self.format.isa);
        let per_word = self.format.arithmetic.per_word();
        debug_assert!(self.format.lane() == size_of::<u32>() && per_word <= 2);
        Self::new(cpu, self.format, shape, |tap, output, start, row| {
            let panel = Panel::new(isa, self.columns, output / isa.panel() * isa.panel());
            let words = &self.data.slice::<u32>()[panel.start * self.depth() + tap * self.words() * panel.width..];
            for (i, x) in row.iter_mut().enumerate() {
                let channel = start + i;
                let word = words[channel / per_word * panel.width + output - panel.start];
                *x = f32::from_bits(match (per_word, channel % 2) {
                    (1, _) => word,
                    (_, 0) => word << 16,
                    _ => word & 0xffff_0000,
                });
            }
        })
    }
}

for_each_isa! {
    /// Two rows of pairs along a row to a row of pairs along columns: `to[c]` has element `c` of `a` below that of `b`.
    pub(crate) fn pair_rows(a: &[u32], b: &[u32], to: &mut [u32]) {
        let of = |a: u32, b: u32| [(a & 0xffff) | (b << 16), (a >> 16) | (b & 0xffff_0000)];
        let (whole, rest) = to.as_chunks_mut::<2>();
        for ((to, &a), &b) in whole.iter_mut().zip(a).zip(b) {
            *to = of(a, b);
        }
        if let [last] = rest {
            *last = of(a[whole.len()], b[whole.len()])[0];
        }
    }
}

/// Floats as words.
pub(crate) fn bits(x: &[f32]) -> &[u32] {
    // SAFETY: the types have one size and alignment, and any bits are a `u32`.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

/// Writes all rows of a panel.
fn fill_panel(
    format: Format,
    data: &mut [i8],
    panel: Panel,
    [taps, channels]: [usize; 2],
    fill: &impl Fn(usize, usize, usize, &mut [f32]),
) {
    let per_word = format.arithmetic.per_word();
    let mut rows = vec![0.0f32; per_word * panel.width];
    let channels_of_row = (0..taps).flat_map(|tap| (0..channels).step_by(per_word).map(move |channel| (tap, channel)));
    for ((tap, channel), to) in channels_of_row.zip(data.chunks_exact_mut(panel.width * format.lane())) {
        for (i, row) in rows.chunks_exact_mut(panel.width).enumerate() {
            if channel + i < channels {
                fill(tap, channel + i, panel.start, &mut row[..panel.columns]);
                row[panel.columns..].fill(0.0);
            } else {
                row.fill(0.0);
            }
        }
        match format.stored {
            DType::BF16 => interleave(&rows, per_word, cast_mut::<Bf16>(to)),
            DType::F16 => interleave(&rows, per_word, cast_mut::<F16>(to)),
            _ => interleave(&rows, per_word, cast_mut::<f32>(to)),
        }
    }
}

/// A part of a buffer, which begins where an element may, as elements.
fn cast<T: Element>(bytes: &[i8]) -> &[T] {
    debug_assert!(bytes.as_ptr().cast::<T>().is_aligned());
    // SAFETY: rows of panels are whole vectors in an aligned buffer, and any bits are a `T`.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// As [`cast`], to be written.
fn cast_mut<T: Element>(bytes: &mut [i8]) -> &mut [T] {
    debug_assert!(bytes.as_ptr().cast::<T>().is_aligned());
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// `per_word` rows of floats to one row of words.
fn interleave<T: Element>(rows: &[f32], per_word: usize, to: &mut [T]) {
    let width = rows.len() / per_word;
    for (i, row) in rows.chunks_exact(width).enumerate() {
        for (to, &x) in to.iter_mut().skip(i).step_by(per_word).zip(row) {
            *to = T::narrow(x);
        }
    }
}
