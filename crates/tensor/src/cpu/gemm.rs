//! Matrix products over packed panels, with rows that may lie anywhere: a linear map is one tap per row, a convolution one
//! tap per kernel position, which points into the picture (Dukhan 2019, "The Indirect Convolution Algorithm").

use std::ops::Range;

use super::{
    isa::{Isa, for_each_isa},
    kernel::{ROWS, RowSegments, Tile, multiply_rows, outer},
    math,
    packed::Packed,
    parallel::{Shared, Threads},
};
use crate::Activation;

/// About this many products per element before a tile is added to the output: a slice of a panel that stays in L2.
const DEPTH: usize = 512;
/// Rows of the output that a task works on, so that their left side stays in L2.
const BLOCK_ROWS: usize = 32 * ROWS;
/// Pixels that a gradient of a weight sums before it goes to the next tile.
const BLOCK_PIXELS: usize = 256;
/// Rows of a weight's gradient that a task works on.
const BLOCK_INPUTS: usize = 8 * ROWS;

/// What becomes of a finished sum: `activation(sum + bias) + residual`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<&'a [f32]>,
}

/// Which rows of a `(rows, channels)` matrix stand at the taps of a row of a product.
pub(crate) trait Gather: Sync {
    /// How many taps a row has.
    fn taps(&self) -> usize;
    /// Calls `place(tap, source row)` for each tap of `row` that does not read zeros.
    fn visit(&self, row: usize, place: impl FnMut(usize, usize));
}

/// One tap, the row itself: a plain matrix product.
pub(crate) struct Rows;

impl Gather for Rows {
    fn taps(&self) -> usize {
        1
    }

    fn visit(&self, row: usize, mut place: impl FnMut(usize, usize)) {
        place(0, row);
    }
}

/// `y (rows, N) = epilogue(Σ_tap x[row at the tap] · weight[tap])`, with `x (·, channels)` and `weight (taps · channels, N)`.
pub(crate) fn gather_multiply(
    threads: &Threads,
    weight: &Packed,
    gather: &impl Gather,
    x: &[f32],
    y: &mut [f32],
    epilogue: Epilogue<'_>,
) {
    let isa = weight.isa;
    let columns = weight.columns;
    let taps = gather.taps();
    let channels = weight.depth / taps;
    let rows = y.len() / columns;
    let zeros = vec![0.0f32; channels + super::kernel::WIDEST];
    let blocks = depth_blocks(taps, channels);
    let row_blocks = rows.div_ceil(BLOCK_ROWS);
    // Few rows leave threads idle unless the columns are divided too.
    let groups = weight.panels().min((8 * threads.count()).div_ceil(row_blocks));
    let y = Shared::new(y);
    threads.each(row_blocks * groups, |task| {
        let (first_row, group) = (task / groups * BLOCK_ROWS, task % groups);
        let block_rows = BLOCK_ROWS.min(rows - first_row);
        let tiles = block_rows.div_ceil(ROWS);
        let mut pointers = vec![zeros.as_ptr(); tiles * taps * ROWS];
        for (i, tile) in pointers.chunks_exact_mut(taps * ROWS).enumerate() {
            for r in 0..ROWS.min(block_rows - i * ROWS) {
                gather.visit(first_row + i * ROWS + r, |tap, from| {
                    tile[tap * ROWS + r] = x[from * channels..][..channels].as_ptr()
                });
            }
        }
        let panels = weight.panels() * group / groups..weight.panels() * (group + 1) / groups;
        let mut sums = Tile::new();
        for (i, block) in blocks.iter().enumerate() {
            for panel in panels.clone().map(|p| weight.panel(p)) {
                for tile in 0..tiles {
                    let left = RowSegments {
                        pointers: pointers[(tile * taps + block.tap) * ROWS..].as_ptr(),
                        segments: block.taps,
                        offset: block.channel,
                        length: block.length,
                    };
                    let right = &panel.data[(block.tap * channels + block.channel) * panel.width..]
                        [..block.taps * block.length * panel.width];
                    // SAFETY: every pointer is to `channels` floats; the panel has a row for each product; `isa` was detected.
                    unsafe { multiply_rows(isa, left, right.as_ptr(), panel.width, &mut sums) };
                    for r in 0..ROWS.min(block_rows - tile * ROWS) {
                        let at = (first_row + tile * ROWS + r) * columns + panel.start;
                        // SAFETY: this task alone has these rows and panels.
                        let out = unsafe { y.slice(at, panel.columns) };
                        let sum = &sums.0[r * panel.width..][..panel.columns];
                        if i > 0 {
                            add(isa, out, sum);
                        } else {
                            out.copy_from_slice(sum);
                        }
                        if i + 1 == blocks.len() {
                            finish(
                                isa,
                                out,
                                epilogue.bias.map(|b| &b[panel.start..][..panel.columns]),
                                epilogue.activation,
                                epilogue.residual.map(|x| &x[at..][..panel.columns]),
                            );
                        }
                    }
                }
            }
        }
    });
}

/// A run of products: `taps` whole taps, or part of one tap's channels.
struct DepthBlock {
    tap: usize,
    taps: usize,
    channel: usize,
    length: usize,
}

fn depth_blocks(taps: usize, channels: usize) -> Vec<DepthBlock> {
    if channels <= DEPTH {
        let group = (DEPTH / channels).max(1);
        (0..taps)
            .step_by(group)
            .map(|tap| DepthBlock { tap, taps: group.min(taps - tap), channel: 0, length: channels })
            .collect()
    } else {
        let length = channels.div_ceil(channels.div_ceil(DEPTH));
        let parts = (0..channels).step_by(length);
        let part = |tap, channel| DepthBlock { tap, taps: 1, channel, length: length.min(channels - channel) };
        (0..taps).flat_map(|tap| parts.clone().map(move |channel| part(tap, channel))).collect()
    }
}

/// `dw (taps, channels, N) = Σ_row x[row at the tap]ᵀ · dy[row]`: the gradient of the weight in [`gather_multiply`].
pub(crate) fn gather_outer(
    isa: Isa,
    threads: &Threads,
    [channels, columns]: [usize; 2],
    gather: &impl Gather,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    /// Stands for a row of zeros.
    const NONE: u32 = u32::MAX;
    let rows = dy.len() / columns;
    let taps = gather.taps();
    // Every task of a tap walks the same rows, so they are found once.
    let mut sources = vec![NONE; taps * rows];
    for row in 0..rows {
        gather.visit(row, |tap, from| sources[tap * rows + row] = from as u32);
    }
    let zeros = vec![0.0f32; channels + super::kernel::WIDEST];
    let parts = channels.div_ceil(BLOCK_INPUTS);
    let panels = columns.div_ceil(isa.panel());
    dw.fill(0.0);
    let dw = Shared::new(dw);
    threads.each(taps * parts * panels, |task| {
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
    });
}

for_each_isa! {
    /// `y += x`.
    pub(crate) fn add(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }

    /// Applies an epilogue to part of a row.
    fn finish(y: &mut [f32], bias: Option<&[f32]>, activation: Activation, residual: Option<&[f32]>) {
        if let Some(bias) = bias {
            for (y, b) in y.iter_mut().zip(bias) {
                *y += b;
            }
        }
        match activation {
            Activation::None => {}
            Activation::Silu => y.iter_mut().for_each(|y| *y = math::swish(*y, 1.0)),
            Activation::Gelu => y.iter_mut().for_each(|y| *y = math::gelu(*y)),
            Activation::QuickGelu => y.iter_mut().for_each(|y| *y = math::swish(*y, math::QUICK_GELU)),
        }
        if let Some(residual) = residual {
            for (y, x) in y.iter_mut().zip(residual) {
                *y += x;
            }
        }
    }
}

/// A small product on one thread, for a tile of attention: `a (count, depth)`, with rows `stride` apart, by the rows `depth` of
/// `right`. `each(row, column, sums)` is called with every run of finished sums.
pub(crate) fn multiply_block(
    a: &[f32],
    stride: usize,
    count: usize,
    right: &Packed,
    depth: Range<usize>,
    each: impl FnMut(usize, usize, &[f32]),
) {
    multiply_panels(a, stride, count, right, 0..right.panels(), depth, each);
}

/// [`multiply_block`] for some of the panels of `right`.
pub(crate) fn multiply_panels(
    a: &[f32],
    stride: usize,
    count: usize,
    right: &Packed,
    panels: Range<usize>,
    depth: Range<usize>,
    mut each: impl FnMut(usize, usize, &[f32]),
) {
    let length = depth.len();
    let mut sums = Tile::new();
    for panel in panels.map(|p| right.panel(p)) {
        let data = &panel.data[depth.start * panel.width..depth.end * panel.width];
        for first in (0..count).step_by(ROWS) {
            let pointers: [*const f32; ROWS] =
                std::array::from_fn(|r| a[(first + r).min(count - 1) * stride..][..length].as_ptr());
            let left = RowSegments { pointers: pointers.as_ptr(), segments: 1, offset: 0, length };
            // SAFETY: every pointer is to `length` floats, the panel has as many rows.
            unsafe { multiply_rows(right.isa, left, data.as_ptr(), panel.width, &mut sums) };
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
