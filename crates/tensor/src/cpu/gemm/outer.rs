//! Gradients of weights: sums of outer products of rows of the input and of the result's gradient.

use crate::Result;
use crate::cpu::{
    Cpu, Tensor,
    gemm::{
        Gather, add,
        arithmetic::Arithmetic,
        kernel::{OuterRows, ROWS, Tile, WIDEST, outer},
        operand::Operand,
        packed::{Panel, bits, pair_rows},
    },
    isa::Isa,
    memory::buffer::Buffer,
    parallel::Shared,
};

/// Rows of the result that a tile sums before it goes to the next inputs; even.
const BLOCK: usize = 256;
/// Rows of a weight's gradient that a task works on; even.
const INPUTS: usize = 8 * ROWS;
/// Stands for a row of zeros.
const NONE: u32 = u32::MAX;

/// `dw (taps, channels, N) = Σ_row x[row at the tap]ᵀ · dy[row]`, summed in `f32`: the gradient of the weight in
/// [`Cpu::gather_multiply`].
pub(crate) fn gather_outer(
    cpu: &Cpu,
    op: &'static str,
    gather: &impl Gather,
    [x, dy]: [&Tensor; 2],
    dw: &mut [f32],
) -> Result<()> {
    let isa = cpu.isa;
    let (channels, columns, rows, taps) = (x.shape().last(), dy.shape().last(), dy.shape().rows(), gather.taps());
    // Every task of a tap walks the same rows, so they are found once.
    let mut sources = vec![NONE; taps * rows];
    for row in 0..rows {
        gather.visit(row, |tap, from| sources[tap * rows + row] = from as u32);
    }
    let (parts, panels) = (channels.div_ceil(INPUTS), columns.div_ceil(isa.panel()));
    let sides = Sides::new(cpu, op, [x, dy])?;
    dw.fill(0.0);
    let dw = Shared::new(dw);
    cpu.each(taps * parts * panels, |task| {
        let (tap, part, panel) = (task / (parts * panels), task / panels % parts, task % panels);
        let panel = Panel::new(isa, columns, panel * isa.panel());
        let inputs = part * INPUTS..channels.min((part + 1) * INPUTS);
        let (mut left, mut sums) = (Left::default(), Tile::new());
        for (block, sources) in sources[tap * rows..][..rows].chunks(BLOCK).enumerate() {
            sides.gather(isa, sources, inputs.start, &mut left);
            let (right, stride) = sides.right(block * BLOCK, panel);
            for input in (0..inputs.len()).step_by(ROWS) {
                let (a, count, b) = (left.rows.as_ptr(), left.rows.len(), right.as_ptr());
                // SAFETY: each row of the left side has ROWS words from any of these inputs on, and each of the right side a vector from any
                // column, as buffers end in slack; what is read past the end is not used. `isa` was detected.
                unsafe {
                    let rows = OuterRows { a, offset: input, b, stride, count };
                    outer(isa, sides.arithmetic(), rows, panel.width, &mut sums);
                }
                for r in 0..ROWS.min(inputs.len() - input) {
                    let row = tap * channels + inputs.start + input + r;
                    // SAFETY: this task alone has this tap, these inputs and these columns.
                    let out = unsafe { dw.slice(row * columns + panel.start, panel.columns) };
                    add(isa, out, &sums.0[r * panel.width..][..panel.columns]);
                }
            }
        }
        Ok(())
    })
}

/// Both sides of the products.
enum Sides<'a> {
    /// Floats, where they are: rows of `channels`, and of `columns`.
    Floats { x: &'a [f32], zeros: Vec<f32>, channels: usize, dy: &'a [f32], columns: usize },
    /// Pairs of rows in bf16. Those of `x` are put together tap by tap; `dy` has all of a panel's, panel by panel.
    Pairs { x: Operand<'a>, zeros: Vec<u32>, dy: Buffer, pairs: usize },
}

/// Rows of the left side, from the first of a task's inputs on.
#[derive(Default)]
struct Left {
    rows: Vec<*const u32>,
    /// What they point at, where it is not the tensor.
    pairs: Vec<u32>,
}

impl<'a> Sides<'a> {
    fn new(cpu: &Cpu, op: &'static str, [x, dy]: [&'a Tensor; 2]) -> Result<Self> {
        let (channels, columns, rows) = (x.shape().last(), dy.shape().last(), dy.shape().rows());
        if Arithmetic::of(cpu.isa, cpu.products) != Arithmetic::Bf16 {
            let zeros = vec![0.0; channels + WIDEST];
            return Ok(Self::Floats { x: x.f32(op)?, zeros, channels, dy: dy.f32(op)?, columns });
        }
        let (x, from) = (cpu.operand(x, Arithmetic::Bf16)?, cpu.operand(dy, Arithmetic::Bf16)?);
        let pairs = rows.div_ceil(2);
        let panels: Vec<Panel> = Panel::all(cpu.isa, columns).collect();
        let padded = panels.iter().map(|panel| panel.width).sum::<usize>();
        let mut dy = cpu.buffer::<u32>(pairs * padded)?;
        let to = Shared::new(dy.slice_mut::<u32>());
        let zeros = vec![0; x.width.max(from.width) + WIDEST];
        let blocks = rows.div_ceil(BLOCK);
        cpu.each(panels.len() * blocks, |task| {
            let (panel, block) = (panels[task / blocks], task % blocks);
            for first in (block * BLOCK..rows.min((block + 1) * BLOCK)).step_by(2) {
                let words = |row: usize| if row < rows { &from.row(row)[panel.start / 2..] } else { &zeros[..] };
                // SAFETY: no other task has these rows of this panel.
                let to = unsafe { to.slice(pairs * panel.start + first / 2 * panel.width, panel.width) };
                let (used, rest) = to.split_at_mut(panel.columns.next_multiple_of(2).min(panel.width));
                pair_rows(cpu.isa, words(first), words(first + 1), used);
                rest.fill(0);
            }
            Ok(())
        })?;
        Ok(Self::Pairs { x, zeros, dy, pairs })
    }

    fn arithmetic(&self) -> Arithmetic {
        match self {
            Self::Floats { .. } => Arithmetic::F32,
            Self::Pairs { .. } => Arithmetic::Bf16,
        }
    }

    /// The rows at `sources`, from input `first` on; it is even.
    fn gather(&self, isa: Isa, sources: &[u32], first: usize, left: &mut Left) {
        left.rows.clear();
        match self {
            Self::Floats { x, zeros, channels, .. } => left.rows.extend(sources.iter().map(|&source| {
                let row = if source == NONE { zeros } else { &x[source as usize * channels..][..*channels] };
                bits(&row[first..]).as_ptr()
            })),
            Self::Pairs { x, zeros, .. } => {
                let row = |source: u32| if source == NONE { &zeros[..x.width] } else { x.row(source as usize) };
                left.pairs.resize(BLOCK / 2 * INPUTS + WIDEST, 0);
                for (pair, to) in sources.chunks(2).zip(left.pairs.chunks_exact_mut(INPUTS)) {
                    let [a, b] =
                        [Some(pair[0]), pair.get(1).copied()].map(|source| &row(source.unwrap_or(NONE))[first / 2..]);
                    pair_rows(isa, a, b, &mut to[..(2 * a.len()).min(INPUTS)]);
                    left.rows.push(to.as_ptr());
                }
            }
        }
    }

    /// The right side from `row` on, which is even, in the columns of a panel, and how far apart its rows are.
    fn right(&self, row: usize, panel: Panel) -> (&[u32], usize) {
        match self {
            Self::Floats { dy, columns, .. } => (bits(&dy[row * columns + panel.start..]), *columns),
            Self::Pairs { dy, pairs, .. } => {
                (&dy.slice::<u32>()[pairs * panel.start + row / 2 * panel.width..], panel.width)
            }
        }
    }
}
