//! Parameters from their file layout straight into the form that the kernels read: each task reads its own part of the
//! file, a few rows at a time, so that no parameter is in memory twice.

use std::sync::Arc;

use super::{
    Cpu, Tensor,
    buffer::{Buffer, Plain, Pool},
    element::{ElementsMut, narrow},
    isa::Isa,
    packed::{Format, Packed, Panel},
    parallel::{Shared, Threads},
};
use crate::{DType, ParamData, Result, Shape};

/// Columns that one task packs: with two bytes an element and two in a word they fill a cache line, which is then written once.
const GROUP: usize = 16;
/// Elements of a column that are read before they are packed: [`GROUP`] times as many fit into the second-level cache.
const BLOCK: usize = 1 << 12;
/// Elements that are read at a time: they fit into the first-level cache.
const PIECE: usize = 1 << 12;
/// Elements of a table that one task reads.
const TABLE: usize = 1 << 16;

impl Cpu {
    /// A tensor of `dtype` with these elements.
    pub(super) fn load(&self, shape: Shape, dtype: DType, data: &dyn ParamData) -> Result<Tensor> {
        let mut buffer = self.buffer::<i8>(shape.count() * dtype.size());
        let to = ElementsMut::of(&mut buffer, dtype).share();
        self.threads.try_each(shape.count().div_ceil(TABLE), |task| {
            let start = task * TABLE;
            let length = TABLE.min(shape.count() - start);
            // SAFETY: parts of tasks do not overlap.
            Reader::new(self.isa, data).read(start, unsafe { to.part(start, length) })
        })?;
        Ok(Tensor::new(shape, dtype, buffer))
    }
}

impl Packed {
    /// Packs a matrix whose elements come in the order `(columns, channels, taps)`.
    pub(crate) fn load(
        format: Format,
        threads: &Threads,
        pool: &Arc<Pool>,
        matrix: [usize; 3],
        data: &dyn ParamData,
    ) -> Result<Self> {
        let mut packed = Self::empty(format, pool, matrix);
        match (format.stored.size(), format.arithmetic.per_word()) {
            (2, 2) => packed.load_words::<u16, 2>(threads, pool, data)?,
            (2, _) => packed.load_words::<u16, 1>(threads, pool, data)?,
            _ => packed.load_words::<u32, 1>(threads, pool, data)?,
        }
        Ok(packed)
    }

    /// As [`load`](Self::load), with elements of the size of `T`, `N` to a word.
    fn load_words<T: Plain + Default, const N: usize>(
        &mut self,
        threads: &Threads,
        pool: &Arc<Pool>,
        data: &dyn ParamData,
    ) -> Result<()> {
        let groups: Vec<Group> = self.panels().flat_map(Group::of).collect();
        let (format, taps, channels, words, depth) =
            (self.format, self.taps, self.channels, self.words(), self.depth());
        let block = (BLOCK / taps).next_multiple_of(N).max(N).min(channels);
        let to = Shared::new(self.data.slice_mut::<T>());
        threads.try_each(groups.len(), |task| {
            let Group { panel, offset, width, columns } = groups[task];
            let mut buffer = Buffer::new::<T>(pool, width * block * taps);
            let mut reader = Reader::new(format.isa, data);
            for first in (0..channels).step_by(block) {
                let length = block.min(channels - first) * taps;
                // Whole columns lie one after the other.
                let (runs, run) = if length == channels * taps { (1, columns * length) } else { (columns, length) };
                for n in 0..runs {
                    let start = (panel.start + offset + n) * channels * taps + first * taps;
                    reader.read(start, ElementsMut::of(&mut buffer, format.stored).part(n * run, run))?;
                }
                let rows = &mut buffer.slice_mut::<T>()[..width * length];
                rows[columns * length..].fill(T::default());
                interleave::<T, N>(rows, [taps, length / taps], |tap, word| {
                    let row = panel.start * depth + (tap * words + first / N + word) * panel.width + offset;
                    // SAFETY: groups do not overlap.
                    unsafe { to.slice(row * N, width * N) }
                });
            }
            Ok(())
        })
    }
}

/// A run of columns of a panel.
#[derive(Clone, Copy)]
struct Group {
    panel: Panel,
    /// Of the first, in the panel.
    offset: usize,
    width: usize,
    /// How many of them are the matrix's.
    columns: usize,
}

impl Group {
    fn of(panel: Panel) -> impl Iterator<Item = Self> {
        (0..panel.width).step_by(GROUP).map(move |offset| {
            let width = GROUP.min(panel.width - offset);
            Self { panel, offset, width, columns: width.min(panel.columns.saturating_sub(offset)) }
        })
    }
}

/// Writes rows `(width, channels, taps)` as words of `N` channels: `to(tap, word)` is where `width` words stand.
fn interleave<'a, T: Plain + Default, const N: usize>(
    rows: &[T],
    [taps, channels]: [usize; 2],
    to: impl Fn(usize, usize) -> &'a mut [T],
) {
    for word in 0..channels.div_ceil(N) {
        for tap in 0..taps {
            let (elements, _) = to(tap, word).as_chunks_mut::<N>();
            for (column, element) in rows.chunks_exact(channels * taps).zip(elements) {
                for (i, element) in element.iter_mut().enumerate() {
                    *element = column.get((word * N + i) * taps + tap).copied().unwrap_or_default();
                }
            }
        }
    }
}

/// Reads elements of any type by way of floats.
struct Reader<'a> {
    isa: Isa,
    data: &'a dyn ParamData,
    floats: Vec<f32>,
}

impl<'a> Reader<'a> {
    fn new(isa: Isa, data: &'a dyn ParamData) -> Self {
        Self { isa, data, floats: Vec::new() }
    }

    /// Fills `to` with the elements from `start` on.
    fn read(&mut self, start: usize, to: ElementsMut<'_>) -> Result<()> {
        let length = to.len();
        let to = match to {
            ElementsMut::F32(to) => return self.data.read(start, to),
            narrower => narrower.share(),
        };
        self.floats.resize(PIECE.min(length).max(self.floats.len()), 0.0);
        for first in (0..length).step_by(PIECE) {
            let floats = &mut self.floats[..PIECE.min(length - first)];
            self.data.read(start + first, floats)?;
            // SAFETY: this thread alone has the elements.
            narrow(self.isa, floats, unsafe { to.part(first, floats.len()) });
        }
        Ok(())
    }
}
