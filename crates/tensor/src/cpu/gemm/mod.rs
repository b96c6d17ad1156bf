//! Matrix products over packed panels, with rows that may lie anywhere: a linear map is one tap per row, a convolution one
//! tap per kernel position, which points into the picture (Dukhan 2019, "The Indirect Convolution Algorithm").

pub(super) mod arithmetic;
pub(super) mod backward;
pub(super) mod kernel;
#[cfg(target_arch = "x86_64")]
mod kernel_int8;
mod linear;
mod load;
mod load_bytes;
pub(super) mod operand;
pub(super) mod outer;
pub(super) mod packed;
pub(super) mod quantise;

use crate::cpu::{
    Cpu,
    element::{Element, Elements, ElementsMut, SharedElements},
    isa::for_each_isa,
    math,
};
use crate::{Activation, DType, Result};
use arithmetic::Arithmetic;
use kernel::{ROWS, RowSegments, Sums, WIDEST, multiply_rows};
use operand::Operand;
use packed::{Format, Packed, Panel};

/// About this many words per element before the next panel's turn: a slice of a panel that stays in L2.
const DEPTH: usize = 512;
/// Rows of the output that a task works on, so that their left side stays in L2.
const BLOCK_ROWS: usize = 32 * ROWS;
/// Panels whose sums a task holds between blocks of depth.
const HELD_PANELS: usize = 5;

/// What becomes of a finished sum: `activation(sum + bias) + residual`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<Elements<'a>>,
    /// The second half of the columns are gates: the result is `first half · gelu(second half)`, half as wide.
    pub(crate) gated: bool,
}

/// Which rows of a `(rows, channels)` matrix stand at the taps of a row of a product.
pub(crate) trait Gather: Sync {
    /// How many taps a row has.
    fn taps(&self) -> usize;
    /// Calls `place(tap, source row)` for each tap of `row` that does not read zeros.
    fn visit(&self, row: usize, place: impl FnMut(usize, usize));
    /// The row of the result that `row` is.
    fn target(&self, row: usize) -> usize {
        row
    }
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

impl Cpu {
    /// `y (·, N) = epilogue(Σ_tap x[row at the tap] · weight[tap])`, with `x (·, channels)` and `weight (taps · channels, N)`.
    pub(in crate::cpu) fn gather_multiply(
        &self,
        weight: &Packed,
        gather: &impl Gather,
        x: &[Operand<'_>],
        rows: usize,
        y: SharedElements,
        epilogue: Epilogue<'_>,
    ) -> Result<()> {
        let (isa, arithmetic) = (weight.format.isa, weight.format.arithmetic);
        let segments = gather.taps() * x.len();
        let widths: Vec<usize> = x.iter().map(|x| x.width).collect();
        debug_assert!(widths.iter().sum::<usize>() == weight.words());
        // With gates, panel p of the values is worked on with panel p of the gates.
        let parts = if epilogue.gated { 2 } else { 1 };
        let columns = weight.columns / parts;
        let panels: Vec<Panel> = weight.panels().collect();
        let outputs = panels.len() / parts;
        let zeros = vec![0u32; weight.words() + WIDEST];
        let blocks = depth_blocks(arithmetic, gather.taps(), &widths);
        let row_blocks = rows.div_ceil(BLOCK_ROWS);
        // Few rows leave threads idle unless the columns are divided too.
        let idle = (8 * self.threads.count()).div_ceil(row_blocks);
        let held = if blocks.len() > 1 { outputs.div_ceil(HELD_PANELS) } else { 1 };
        let groups = outputs.min(idle.max(held));
        self.each(row_blocks * groups, |task| {
            let (first_row, group) = (task / groups * BLOCK_ROWS, task % groups);
            let block_rows = BLOCK_ROWS.min(rows - first_row);
            let tiles = block_rows.div_ceil(ROWS);
            let pointers = pointers(gather, x, &zeros, first_row, block_rows);
            let outputs = outputs * group / groups..outputs * (group + 1) / groups;
            // Sums that wait: for the next block of depth, or for their gates. Others are finished at once.
            let waits = blocks.len() > 1 || epilogue.gated;
            let slots = if waits { outputs.len() * parts * tiles } else { 1 };
            let mut sums = self.buffer::<f32>(slots * ROWS * WIDEST)?;
            let sums = sums.slice_mut::<f32>();
            let mut scratch = Vec::new();
            for (i, block) in blocks.iter().enumerate() {
                let last = i + 1 == blocks.len();
                for output in outputs.clone() {
                    for part in 0..parts {
                        let panel = panels[output + part * panels.len() / 2];
                        let right = weight.rows(panel, block.row, block.segments * block.length, &mut scratch);
                        let slot = |part: usize, tile: usize| {
                            if waits { ((output - outputs.start) * parts + part) * tiles + tile } else { 0 }
                        };
                        for tile in 0..tiles {
                            let left = RowSegments {
                                pointers: pointers[(tile * segments + block.segment) * ROWS..].as_ptr(),
                                segments: block.segments,
                                offset: block.word,
                                length: block.length,
                            };
                            // Found before the product, so that what is far away can be asked for.
                            let place = Place {
                                rows: ROWS.min(block_rows - tile * ROWS),
                                width: panel.width,
                                columns: panel.columns,
                                column: panels[output].start,
                                targets: std::array::from_fn(|r| {
                                    gather.target((first_row + tile * ROWS + r).min(rows - 1)) * columns
                                }),
                            };
                            if last {
                                place.prefetch(&epilogue, y);
                            }
                            let at = slot(part, tile) * ROWS * WIDEST;
                            let to = sums[at..][..ROWS * WIDEST].as_mut_ptr();
                            let to = Sums { to, stride: panel.width, accumulate: i > 0 };
                            // SAFETY: every pointer is to `words` words; the panel has a row for each of them; a slot has room for a tile; `isa` was detected.
                            unsafe { multiply_rows(isa, arithmetic, left, right.as_ptr(), panel.width, to) };
                            if last && part + 1 == parts {
                                let first = slot(0, tile) * ROWS * WIDEST;
                                let gates = epilogue.gated.then(|| &sums[at..][..ROWS * WIDEST]);
                                finish(isa, &sums[first..][..ROWS * WIDEST], gates, place, &epilogue, y);
                            }
                        }
                    }
                }
            }
            Ok(())
        })
    }
}

/// A tile of a product, on this thread: `row(0..ROWS)`, all as long, by as many rows of a panel `width` wide. Its rows go to `to`, `stride`
/// floats apart, or are added to what is there.
#[inline]
pub(in crate::cpu) fn multiply_tile<'r>(
    format: Format,
    row: impl Fn(usize) -> &'r [u32],
    right: &[u32],
    width: usize,
    to: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let rows: [&[u32]; ROWS] = std::array::from_fn(row);
    let length = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == length), "rows of one length");
    assert!(right.len() == length * width && width <= format.isa.panel(), "a panel's rows");
    assert!(to.len() >= (ROWS - 1) * stride + width, "room for a tile");
    let pointers = rows.map(<[u32]>::as_ptr);
    let left = RowSegments { pointers: pointers.as_ptr(), segments: 1, offset: 0, length };
    let to = Sums { to: to.as_mut_ptr(), stride, accumulate };
    // SAFETY: as checked; a format's instruction set was detected.
    unsafe { multiply_rows(format.isa, format.arithmetic, left, right.as_ptr(), width, to) };
}

/// The row at every tap of every row of a block, by tile: `(tiles, taps, operands, ROWS)`. Taps that read zeros, and rows past the end, point at zeros.
fn pointers(gather: &impl Gather, x: &[Operand<'_>], zeros: &[u32], first_row: usize, rows: usize) -> Vec<*const u32> {
    let parts = x.len();
    let segments = gather.taps() * parts;
    let mut pointers = vec![zeros.as_ptr(); rows.div_ceil(ROWS) * segments * ROWS];
    for (part, x) in x.iter().enumerate() {
        let words = x.words();
        for (i, tile) in pointers.chunks_exact_mut(segments * ROWS).enumerate() {
            for r in 0..ROWS.min(rows - i * ROWS) {
                gather.visit(first_row + i * ROWS + r, |tap, from| {
                    tile[(tap * parts + part) * ROWS + r] = words[from * x.width..][..x.width].as_ptr();
                });
            }
        }
    }
    pointers
}

/// A run of products: some whole segments (an operand's words at a tap), or part of one.
struct DepthBlock {
    segment: usize,
    segments: usize,
    /// The first word of each segment, and how many.
    word: usize,
    length: usize,
    /// The weight's row of words that it begins with.
    row: usize,
}

/// The blocks of sums over all taps of operands `widths` words wide. Taps of bytes are whole, for their scales.
fn depth_blocks(arithmetic: Arithmetic, taps: usize, widths: &[usize]) -> Vec<DepthBlock> {
    let words: usize = widths.iter().sum();
    if let [_] = widths
        && (words <= DEPTH || arithmetic == Arithmetic::Int8)
    {
        let group = (DEPTH / words).max(1);
        let block = |tap| {
            let segments = group.min(taps - tap);
            DepthBlock { segment: tap, segments, word: 0, length: words, row: tap * words }
        };
        return (0..taps).step_by(group).map(block).collect();
    }
    let mut blocks = Vec::new();
    let mut row = 0;
    for (segment, &width) in (0..taps).flat_map(|_| widths).enumerate() {
        let length = width.div_ceil(width.div_ceil(DEPTH));
        for word in (0..width).step_by(length) {
            let length = length.min(width - word);
            blocks.push(DepthBlock { segment, segments: 1, word, length, row: row + word });
        }
        row += width;
    }
    blocks
}

/// Where a tile stands in the result.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Place {
    pub(in crate::cpu) rows: usize,
    /// Floats from row to row of the tile.
    pub(in crate::cpu) width: usize,
    pub(in crate::cpu) columns: usize,
    /// Its first column.
    pub(in crate::cpu) column: usize,
    /// Where its rows of the result begin.
    pub(in crate::cpu) targets: [usize; ROWS],
}

impl Place {
    /// Asks for what [`finish`] will read and write, which is far away in memory, while the tile is summed.
    pub(in crate::cpu) fn prefetch(&self, epilogue: &Epilogue<'_>, y: SharedElements) {
        for r in 0..self.rows {
            let at = self.targets[r] + self.column;
            y.prefetch(at, self.columns);
            if let Some(residual) = epilogue.residual {
                residual.prefetch(at, self.columns);
            }
        }
    }
}

for_each_isa! {
    /// Applies the epilogue to a tile of sums, and writes it. The caller's task alone has that place in `y`.
    pub(in crate::cpu) fn finish(sums: &[f32], gates: Option<&[f32]>, place: Place, epilogue: &Epilogue<'_>, y: SharedElements) {
        let Place { rows, width, columns, column, targets } = place;
        for r in 0..rows {
            for c in (0..columns).step_by(CHUNK) {
                let (count, from) = (CHUNK.min(columns - c), targets[r] + column + c);
                // A tile has room for a whole chunk behind every column.
                let mut x = chunk(&sums[r * width + c..], CHUNK);
                if let Some(bias) = epilogue.bias {
                    add_chunk(&mut x, chunk(&bias[column + c..], count));
                }
                match epilogue.activation {
                    Activation::None => {}
                    Activation::Silu => x.iter_mut().for_each(|x| *x = math::swish(*x, 1.0)),
                    Activation::Gelu => x.iter_mut().for_each(|x| *x = math::gelu(*x)),
                    Activation::QuickGelu => x.iter_mut().for_each(|x| *x = math::swish(*x, math::QUICK_GELU)),
                    Activation::Relu => x.iter_mut().for_each(|x| *x = math::leaky_relu(*x, 0.0)),
                    Activation::LeakyRelu => x.iter_mut().for_each(|x| *x = math::leaky_relu(*x, math::LEAK)),
                    Activation::Sigmoid => x.iter_mut().for_each(|x| *x = math::sigmoid(*x)),
                }
                if let Some(gates) = gates {
                    let mut gate = chunk(&gates[r * width + c..], CHUNK);
                    if let Some(bias) = epilogue.bias {
                        add_chunk(&mut gate, chunk(&bias[bias.len() / 2 + column + c..], count));
                    }
                    match y.dtype() {
                        DType::F32 => x.iter_mut().zip(gate).for_each(|(x, gate)| *x *= math::gelu(gate)),
                        _ => x.iter_mut().zip(gate).for_each(|(x, gate)| *x *= math::rough_gelu(gate)),
                    }
                }
                match epilogue.residual.map(|x| x.part(from, count)) {
                    None => {}
                    Some(Elements::F32(z)) => add_chunk(&mut x, chunk(z, count)),
                    Some(Elements::Bf16(z)) => add_chunk(&mut x, chunk(z, count)),
                    Some(Elements::F16(z)) => add_chunk(&mut x, chunk(z, count)),
                }
                // SAFETY: the caller's task alone has these elements.
                match unsafe { y.part(from, count) } {
                    ElementsMut::F32(y) => write_chunk(&x, y),
                    ElementsMut::Bf16(y) => write_chunk(&x, y),
                    ElementsMut::F16(y) => write_chunk(&x, y),
                }
            }
        }
    }

    /// `y += x`.
    pub(crate) fn add(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

/// Columns that the epilogue works on together.
const CHUNK: usize = 16;

/// The first `count` elements as floats, and zeros.
#[inline(always)]
fn chunk<T: Element>(from: &[T], count: usize) -> [f32; CHUNK] {
    let mut chunk = [0.0; CHUNK];
    match from.first_chunk::<CHUNK>() {
        Some(whole) if count == CHUNK => {
            for i in 0..CHUNK {
                chunk[i] = whole[i].widen();
            }
        }
        _ => chunk.iter_mut().zip(&from[..count]).for_each(|(x, from)| *x = from.widen()),
    }
    chunk
}

#[inline(always)]
fn add_chunk(x: &mut [f32; CHUNK], y: [f32; CHUNK]) {
    for i in 0..CHUNK {
        x[i] += y[i];
    }
}

/// Writes as many elements as there is room for.
#[inline(always)]
fn write_chunk<T: Element>(x: &[f32; CHUNK], to: &mut [T]) {
    match to.first_chunk_mut::<CHUNK>() {
        Some(whole) => {
            for i in 0..CHUNK {
                whole[i] = T::narrow(x[i]);
            }
        }
        None => to.iter_mut().zip(x).for_each(|(to, x)| *to = T::narrow(*x)),
    }
}
