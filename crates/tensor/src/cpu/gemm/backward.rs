//! Products for gradients, in `f32`: sums of outer products for weights, small blocks for attention.

use std::ops::Range;

use crate::Result;
use crate::cpu::{
    Cpu,
    gemm::{
        Gather, add,
        kernel::{ROWS, Tile, WIDEST, outer},
        multiply_tile,
        packed::{Packed, bits},
    },
    isa::Isa,
    parallel::Shared,
};

/// Pixels that a gradient of a weight sums before it goes to the next tile.
const BLOCK_PIXELS: usize = 256;
/// Rows of a weight's gradient that a task works on.
const BLOCK_INPUTS: usize = 8 * ROWS;

/// `dw (taps, channels, N) = Σ_row x[row at the tap]ᵀ · dy[row]`: the gradient of the weight in [`gather_multiply`].
pub(crate) fn gather_outer(
    cpu: &Cpu,
    [channels, columns]: [usize; 2],
    gather: &impl Gather,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) -> Result<()> {
    /// Stands for a row of zeros.
    const NONE: u32 = u32::MAX;
    let isa = cpu.isa;
    let rows = dy.len() / columns;
    let taps = gather.taps();
    // Every task of a tap walks the same rows, so they are found once.
    let mut sources = vec![NONE; taps * rows];
    for row in 0..rows {
        gather.visit(row, |tap, from| sources[tap * rows + row] = from as u32);
    }
    let zeros = vec![0.0f32; channels + WIDEST];
    let parts = channels.div_ceil(BLOCK_INPUTS);
    let panels = columns.div_ceil(isa.panel());
    dw.fill(0.0);
    let dw = Shared::new(dw);
    cpu.each(taps * parts * panels, |task| {
        let (tap, part, panel) = (task / (parts * panels), task / panels % parts, task % panels);
        let start = panel * isa.panel();
        let used = isa.panel().min(columns - start);
        let width = used.next_multiple_of(isa.lanes());
        let inputs = part * BLOCK_INPUTS..channels.min((part + 1) * BLOCK_INPUTS);
        let mut sums = Tile::new();
        let mut pointers = [zeros.as_ptr(); BLOCK_PIXELS];
        for (block, sources) in sources[tap * rows..][..rows].chunks(BLOCK_PIXELS).enumerate() {
            for (pointer, &from) in pointers.iter_mut().zip(sources) {
                *pointer =
                    if from == NONE { zeros.as_ptr() } else { x[from as usize * channels..][..channels].as_ptr() };
            }
            let dy = &dy[block * BLOCK_PIXELS * columns + start..];
            for input in inputs.clone().step_by(ROWS) {
                // SAFETY: a source of `channels` floats lies in a buffer with slack, so that ROWS floats from any of them, and a
                // vector of `dy` from any column, can be read; what is read past the end is not used.
                unsafe { outer(isa, pointers.as_ptr(), input, dy.as_ptr(), columns, sources.len(), width, &mut sums) };
                for r in 0..ROWS.min(inputs.end - input) {
                    // SAFETY: this task alone has this tap, these inputs and these columns.
                    let out = unsafe { dw.slice((tap * channels + input + r) * columns + start, used) };
                    add(isa, out, &sums.0[r * width..][..used]);
                }
            }
        }
        Ok(())
    })
}

/// A small product on one thread: `a (count, depth)`, with rows `stride` apart, by the rows `depth` of `right`, which is kept in `f32`.
/// `each(row, column, sums)` is called with every run of finished sums.
pub(crate) fn multiply_block(
    a: &[f32],
    stride: usize,
    count: usize,
    right: &Packed,
    depth: Range<usize>,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let length = depth.len();
    let (mut sums, mut scratch) = (Tile::new(), Vec::new());
    for panel in right.panels() {
        let data = right.rows(panel, depth.start, length, &mut scratch);
        for first in (0..count).step_by(ROWS) {
            let row = |r: usize| bits(&a[(first + r).min(count - 1) * stride..][..length]);
            multiply_tile(right.format, row, data, panel.width, &mut sums.0, panel.width, false);
            for r in 0..ROWS.min(count - first) {
                each(first + r, panel.start, &sums.0[r * panel.width..][..panel.columns]);
            }
        }
    }
}

/// `Σ_k a[k]ᵀ · b[k]` on one thread, for attention's gradients: `a` has `count` rows of `inputs` floats, `stride` apart, `b` rows
/// of `columns` floats, `b_stride` apart. Both must lie in slack-ended buffers.
pub(crate) fn outer_block(
    isa: Isa,
    (a, stride, inputs): (&[f32], usize, usize),
    (b, b_stride, columns): (&[f32], usize, usize),
    count: usize,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let mut sums = Tile::new();
    let pointers: Vec<*const f32> = (0..count).map(|k| a[k * stride..].as_ptr()).collect();
    for input in (0..inputs).step_by(ROWS) {
        for start in (0..columns).step_by(isa.panel()) {
            let used = isa.panel().min(columns - start);
            let width = used.next_multiple_of(isa.lanes());
            // SAFETY: rows are as the caller says, and reads past their ends stay within the slack.
            unsafe { outer(isa, pointers.as_ptr(), input, b[start..].as_ptr(), b_stride, count, width, &mut sums) };
            for r in 0..ROWS.min(inputs - input) {
                each(input + r, start, &sums.0[r * width..][..used]);
            }
        }
    }
}
