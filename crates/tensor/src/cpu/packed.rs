//! Weights in the order that the kernels read them.

use std::sync::Arc;

use super::{
    buffer::{Buffer, Pool},
    isa::Isa,
    parallel::{Shared, Threads},
};

/// A matrix `(K, N)` cut into panels of columns: panel after panel, each `(K, width)` and contiguous. All panels are as
/// wide as the instruction set's, but the last, which is as many vectors wide as it needs; columns past `N` are zeros.
pub(crate) struct Packed {
    pub(crate) isa: Isa,
    /// K.
    pub(crate) depth: usize,
    /// N.
    pub(crate) columns: usize,
    data: Buffer,
}

/// One panel of a [`Packed`].
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// `(K, width)`.
    pub(crate) data: &'a [f32],
    pub(crate) width: usize,
    /// The matrix column that the panel begins with.
    pub(crate) start: usize,
    /// How many of its columns are the matrix's.
    pub(crate) columns: usize,
}

impl Packed {
    /// Packs a matrix whose element `(k, n)` begins row copies: `fill(k, n, to)` writes elements `(k, n..n + to.len())`.
    pub(crate) fn new(
        isa: Isa,
        threads: &Threads,
        pool: &Arc<Pool>,
        [depth, columns]: [usize; 2],
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let mut packed = Self::empty(isa, pool, [depth, columns]);
        let starts: Vec<usize> = (0..packed.panels()).map(|p| p * isa.panel() * depth).collect();
        let widths: Vec<usize> = (0..packed.panels()).map(|p| packed.width(p)).collect();
        let data = Shared::new(packed.data.as_mut());
        threads.each(starts.len(), |p| {
            // SAFETY: panels do not overlap.
            let panel = unsafe { data.slice(starts[p], depth * widths[p]) };
            let used = widths[p].min(columns - p * isa.panel());
            for (k, row) in panel.chunks_exact_mut(widths[p]).enumerate() {
                fill(k, p * isa.panel(), &mut row[..used]);
                row[used..].fill(0.0);
            }
        });
        packed
    }

    /// Room for a matrix, to be filled through [`panel_mut`](Self::panel_mut) by one thread.
    pub(crate) fn empty(isa: Isa, pool: &Arc<Pool>, [depth, columns]: [usize; 2]) -> Self {
        let last = columns % isa.panel();
        let padded = columns - last + last.next_multiple_of(isa.lanes());
        Self { isa, depth, columns, data: Buffer::f32(pool, depth * padded) }
    }

    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(self.isa.panel())
    }

    fn width(&self, panel: usize) -> usize {
        self.isa.panel().min((self.columns - panel * self.isa.panel()).next_multiple_of(self.isa.lanes()))
    }

    pub(crate) fn panel(&self, index: usize) -> Panel<'_> {
        let start = index * self.isa.panel();
        let width = self.width(index);
        let data = &self.data.as_ref()[start * self.depth..][..self.depth * width];
        Panel { data, width, start, columns: width.min(self.columns - start) }
    }

    /// Panel `index` as `(data, width)`.
    pub(crate) fn panel_mut(&mut self, index: usize) -> (&mut [f32], usize) {
        let (start, width) = (index * self.isa.panel() * self.depth, self.width(index));
        (&mut self.data.as_mut()[start..][..self.depth * width], width)
    }

    /// Fills from rows of a matrix that lies in memory with `stride` floats from row to row.
    pub(crate) fn fill_rows(&mut self, matrix: &[f32], stride: usize) {
        let (columns, panel) = (self.columns, self.isa.panel());
        for p in 0..self.panels() {
            let start = p * panel;
            let (data, width) = self.panel_mut(p);
            let used = width.min(columns - start);
            for (k, row) in data.chunks_exact_mut(width).enumerate() {
                row[..used].copy_from_slice(&matrix[k * stride + start..][..used]);
                row[used..].fill(0.0);
            }
        }
    }

    /// Fills with the transpose of a matrix: element `(k, n)` is `matrix[n · stride + k]`.
    pub(crate) fn fill_columns(&mut self, matrix: &[f32], stride: usize) {
        let (columns, panel, depth) = (self.columns, self.isa.panel(), self.depth);
        for p in 0..self.panels() {
            let start = p * panel;
            let (data, width) = self.panel_mut(p);
            let used = width.min(columns - start);
            if used < width {
                data.fill(0.0);
            }
            for n in 0..used {
                let column = &matrix[(start + n) * stride..][..depth];
                for (k, &x) in column.iter().enumerate() {
                    data[k * width + n] = x;
                }
            }
        }
    }

    /// The weight that carries gradients back: for each of `taps` blocks of rows `(inputs, N)`, its transpose `(N, inputs)`.
    pub(crate) fn transposed(&self, threads: &Threads, pool: &Arc<Pool>, taps: usize) -> Self {
        let inputs = self.depth / taps;
        let outputs = self.columns;
        Self::new(self.isa, threads, pool, [taps * outputs, inputs], |k, start, row| {
            let (tap, output) = (k / outputs, k % outputs);
            let panel = self.panel(output / self.isa.panel());
            let column = output - panel.start;
            let from = &panel.data[(tap * inputs + start) * panel.width..];
            for (i, x) in row.iter_mut().enumerate() {
                *x = from[i * panel.width + column];
            }
        })
    }
}
