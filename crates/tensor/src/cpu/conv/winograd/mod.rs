//! 3×3 convolutions with stride 1 by tiles of the picture. A tile's inputs and the weights are transformed, so that the tile's
//! outputs are, transformed back, a product of channels for each point: `points` matrix products `(tiles, I) · (I, O)`.
//!
//! Everything is in `f32`, whatever the elements are. What is transformed is laid out by point, `(points, rows, ·)`.

mod plan;
mod transform;

use std::ops::Range;

use crate::cpu::{
    Cpu,
    element::{Elements, ElementsMut, SharedElements},
    gemm::{
        Epilogue, Place, finish,
        kernel::{ROWS, WIDEST},
        multiply_tile,
        packed::{Format, Packed, Panel, bits},
    },
    memory::buffer::Buffer,
    parallel::Shared,
};
use crate::{DType, Result};
use plan::Kept;
use transform::{ByPoint, MOST_POINTS, Products, transform_input, transform_output, transform_weight};

pub use plan::Convolution;
pub(crate) use plan::Plan;

/// Kernel positions.
const TAPS: usize = 9;
/// Channels of a weight that a task transforms.
const CHANNELS: usize = 64;
/// Tiles of a task when weights are kept.
const BLOCK_TILES: usize = 8 * ROWS;

/// Floats from point to point where each has `length`: not a multiple of a power of two, so that points do not share cache sets.
fn stride(length: usize) -> usize {
    length + 16
}

/// Matrices of a point each, to be read.
#[derive(Clone, Copy)]
struct Matrices<'a> {
    data: &'a [f32],
    stride: usize,
}

impl Cpu {
    /// `y = epilogue(conv(x, weight))`, as planned.
    pub(super) fn convolve_tiles(
        &self,
        tiles: &Plan,
        weight: &Packed,
        x: Elements<'_>,
        y: ElementsMut<'_>,
        epilogue: Epilogue<'_>,
    ) -> Result<()> {
        Job { cpu: self, tiles, weight, x, y: y.share(), epilogue }.run(tiles.kept(self.isa, weight.columns))
    }
}

/// A convolution at work.
struct Job<'a> {
    cpu: &'a Cpu,
    tiles: &'a Plan,
    weight: &'a Packed,
    x: Elements<'a>,
    y: SharedElements,
    epilogue: Epilogue<'a>,
}

impl Job<'_> {
    fn run(&self, kept: Kept) -> Result<()> {
        let memory = self.cpu.buffer::<f32>(self.tiles.kept_floats(kept, self.cpu.isa, self.weight.columns))?;
        match kept {
            Kept::Inputs => self.with_inputs_kept(memory),
            Kept::Weights { panels } => self.with_weights_kept(panels, memory),
        }
    }

    /// Transforms all inputs into `inputs`, then panel by panel as many weights as stay in L2.
    fn with_inputs_kept(&self, mut inputs: Buffer) -> Result<()> {
        let (points, channels, count) = (self.tiles.size.points(), self.weight.channels, self.tiles.count);
        let inputs_stride = stride(count * channels);
        let to = Shared::new(inputs.slice_mut::<f32>());
        self.cpu.each(count, |tile| {
            self.transform_inputs(tile..tile + 1, ByPoint { to, start: tile * channels, stride: inputs_stride });
            Ok(())
        })?;
        let inputs = Matrices { data: inputs.slice(), stride: inputs_stride };
        let panels: Vec<Panel> = self.weight.panels().collect();
        self.cpu.each(panels.len(), |p| {
            let panel = panels[p];
            let sums_stride = stride(count.next_multiple_of(ROWS) * panel.width);
            let mut sums = self.cpu.buffer::<f32>(points * sums_stride)?;
            let sums = sums.slice_mut::<f32>();
            let weights_stride = stride(CHANNELS * panel.width);
            let mut weights = self.cpu.buffer::<f32>(points * weights_stride)?;
            for from in (0..channels).step_by(CHANNELS) {
                let range = from..channels.min(from + CHANNELS);
                let to = Shared::new(weights.slice_mut::<f32>());
                self.transform_weights(panel, range.clone(), ByPoint { to, start: 0, stride: weights_stride });
                let weights = Matrices { data: weights.slice(), stride: weights_stride };
                self.multiply(count, inputs, range, weights, panel.width, sums, sums_stride);
            }
            self.transform_outputs(0..count, panel, sums, sums_stride);
            Ok(())
        })
    }

    /// Transforms the weights of so many panels at a time into `weights`, then block by block of tiles the inputs.
    fn with_weights_kept(&self, per_group: usize, mut weights: Buffer) -> Result<()> {
        let (points, channels, count) = (self.tiles.size.points(), self.weight.channels, self.tiles.count);
        let panels: Vec<Panel> = self.weight.panels().collect();
        let width = panels[0].width;
        let weights_stride = self.tiles.weights_stride(self.cpu.isa, self.weight.columns);
        let blocks = count.div_ceil(BLOCK_TILES);
        let parts = channels.div_ceil(CHANNELS);
        for group in panels.chunks(per_group) {
            let to = Shared::new(weights.slice_mut::<f32>());
            self.cpu.each(group.len() * parts, |task| {
                let (p, from) = (task / parts, task % parts * CHANNELS);
                let start = p * points * weights_stride + from * group[p].width;
                let to = ByPoint { to, start, stride: weights_stride };
                self.transform_weights(group[p], from..channels.min(from + CHANNELS), to);
                Ok(())
            })?;
            let weights = weights.slice::<f32>();
            self.cpu.each(blocks, |task| {
                let range = count * task / blocks..count * (task + 1) / blocks;
                let inputs_stride = stride(range.len() * channels);
                let mut inputs = self.cpu.buffer::<f32>(points * inputs_stride)?;
                let to = Shared::new(inputs.slice_mut::<f32>());
                self.transform_inputs(range.clone(), ByPoint { to, start: 0, stride: inputs_stride });
                let inputs = Matrices { data: inputs.slice(), stride: inputs_stride };
                let sums_stride = stride(range.len().next_multiple_of(ROWS) * width);
                let mut sums = self.cpu.buffer::<f32>(points * sums_stride)?;
                let sums = sums.slice_mut::<f32>();
                for (p, &panel) in group.iter().enumerate() {
                    let data = &weights[p * points * weights_stride..];
                    let weights = Matrices { data, stride: weights_stride };
                    self.multiply(range.len(), inputs, 0..channels, weights, panel.width, sums, sums_stride);
                    self.transform_outputs(range.clone(), panel, sums, sums_stride);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Image, first line and first column of a tile of outputs.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.tiles.tiles;
        let side = self.tiles.size.outputs();
        [tile / (down * across), tile / across % down * side, tile % across * side]
    }

    /// The input pixels of a tile, line by line, those outside of the picture `None`.
    fn pixels(&self, tile: usize, pixels: &mut [Option<usize>]) {
        let ([height, width], padding) = (self.tiles.input, self.tiles.padding);
        let [image, line, column] = self.place(tile);
        let inside = |at: usize, before: usize, extent: usize| at.checked_sub(before).filter(|&at| at < extent);
        for (y, pixels) in pixels.chunks_exact_mut(self.tiles.size.inputs()).enumerate() {
            let line = inside(line + y, padding.top, height);
            for (x, pixel) in pixels.iter_mut().enumerate() {
                let column = inside(column + x, padding.left, width);
                *pixel = line.zip(column).map(|(line, column)| (image * height + line) * width + column);
            }
        }
    }

    /// To `to (points, tiles, I)`, which must be the caller's alone.
    fn transform_inputs(&self, tiles: Range<usize>, to: ByPoint) {
        let channels = self.weight.channels;
        let mut next = [None; MOST_POINTS];
        let points = self.tiles.size.points();
        self.pixels(tiles.start, &mut next[..points]);
        for (i, tile) in tiles.clone().enumerate() {
            let pixels = next;
            if tile + 1 < tiles.end {
                self.pixels(tile + 1, &mut next[..points]);
                for pixel in next.iter().flatten() {
                    self.x.prefetch(pixel * channels, channels);
                }
            }
            let to = ByPoint { start: to.start + i * channels, ..to };
            transform_input(self.cpu.isa, self.tiles.size, self.x, &pixels[..points], channels, to);
        }
    }

    /// Some channels of a panel, from a word's first on, to `to (points, channels, width)`, which must be the caller's alone.
    fn transform_weights(&self, panel: Panel, channels: Range<usize>, to: ByPoint) {
        let (words, per_word) = (self.weight.words(), self.weight.format.arithmetic.per_word());
        let (first, count) = (channels.start / per_word, channels.len().div_ceil(per_word));
        let mut scratch = [const { Vec::new() }; TAPS];
        let mut taps = [[].as_slice(); TAPS];
        for (i, (tap, scratch)) in taps.iter_mut().zip(&mut scratch).enumerate() {
            let i = if self.tiles.turned { TAPS - 1 - i } else { i };
            *tap = self.weight.rows(panel, i * words + first, count, scratch);
        }
        transform_weight(self.cpu.isa, self.tiles.size, self.weight.format.arithmetic, taps, panel.width, to);
    }

    /// For each point, `sums (rows, width) = inputs (rows, I)` of some channels by `weights (channels, width)`; added to what is
    /// there but for the first channels.
    fn multiply(
        &self,
        rows: usize,
        inputs: Matrices<'_>,
        channels: Range<usize>,
        weights: Matrices<'_>,
        width: usize,
        sums: &mut [f32],
        sums_stride: usize,
    ) {
        let (all, format) = (self.weight.channels, Format::new(self.cpu.isa, DType::F32));
        for point in 0..self.tiles.size.points() {
            let right = &bits(weights.data)[point * weights.stride..][..channels.len() * width];
            for first in (0..rows).step_by(ROWS) {
                let row = |r: usize| {
                    let start = point * inputs.stride + (first + r).min(rows - 1) * all;
                    bits(&inputs.data[start..][channels.clone()])
                };
                let to = &mut sums[point * sums_stride + first * width..][..ROWS * width];
                multiply_tile(format, row, right, width, to, width, channels.start > 0);
            }
        }
    }

    /// Writes a panel's columns of tiles, whose `sums (points, tiles, width)` are finished.
    fn transform_outputs(&self, tiles: Range<usize>, panel: Panel, sums: &[f32], sums_stride: usize) {
        let ([height, width], side) = (self.tiles.output, self.tiles.size.outputs());
        let columns = self.weight.columns;
        let places = |tile: usize| {
            let [image, line, column] = self.place(tile);
            (line..height.min(line + side)).map(move |line| Place {
                rows: side.min(width - column),
                width: WIDEST,
                columns: panel.columns,
                column: panel.start,
                targets: std::array::from_fn(|x| ((image * height + line) * width + column + x) * columns),
            })
        };
        let mut pixels = vec![0.0; side * side * WIDEST];
        for (i, tile) in tiles.clone().enumerate() {
            if tile + 1 < tiles.end {
                places(tile + 1).for_each(|place| place.prefetch(&self.epilogue, self.y));
            }
            let products = Products { sums: &sums[i * panel.width..], stride: sums_stride, width: panel.width };
            transform_output(self.cpu.isa, self.tiles.size, products, &mut pixels);
            for (place, pixels) in places(tile).zip(pixels.chunks_exact(side * WIDEST)) {
                finish(self.cpu.isa, pixels, None, place, &self.epilogue, self.y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{plan::WEIGHTS, *};
    use crate::{Backend, Conv2d, Error, ParamKind, Precision, Shape, cases::Values, cpu::CpuOptions};

    /// Either order of the loops, panels together or one at a time, gives the same bits.
    #[test]
    fn what_is_kept_changes_no_bit() -> Result<(), Error> {
        for precision in [Precision::F32, Precision::BF16, Precision::F16] {
            let options =
                CpuOptions { threads: 2, precision, convolution: Convolution::Winograd, ..CpuOptions::default() };
            let cpu = Cpu::with_options(options)?;
            let (x, weight) = ([2, 21, 26, 131].into(), Shape::from([150, 131, 3, 3]));
            let data = |stream, count| Values::Uniform { low: -1.0, high: 1.0 }.draw(1, stream, count);
            let x = cpu.from_f32(x, data(0, x.count()))?;
            let weight = cpu.param("weight", ParamKind::Conv, weight, &data(1, weight.count()))?;
            let expected = cpu.to_f32(&cpu.conv2d(&x, &weight, None, None, Conv2d::padded(1))?)?;
            let shape = [2, 21, 26, 150].into();
            let weight = &weight.weight("test")?.packed;
            let dims = (weight.format.arithmetic, weight.channels);
            let plan =
                Plan::new(&cpu, dims, [x.shape(), shape], [3, 3], Conv2d::padded(1)).expect("Winograd is forced");
            for most in [None, Some(0), Some(WEIGHTS)] {
                let kept = most.map_or(Kept::Inputs, |most| plan.weights_kept(cpu.isa, weight.columns, most));
                let elements = x.elements()?;
                let y = cpu.make(shape, |y| {
                    let epilogue = Epilogue::default();
                    Job { cpu: &cpu, tiles: &plan, weight, x: elements, y: y.share(), epilogue }.run(kept)
                })?;
                assert_eq!(cpu.to_f32(&y)?, expected, "{precision}, {most:?}");
            }
        }
        Ok(())
    }
}
