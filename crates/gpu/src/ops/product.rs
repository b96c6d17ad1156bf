//! Products: linear maps and convolutions, by one kernel.

use calotype_tensor::{Activation, Backend, Conv2d, DType, Op, Padding, Result, Shape, op_shapes};

use super::{Run, activation_code, lanes, words};
use crate::{
    Gpu, Param, Tensor,
    arena::Span,
    kernel::{Form, Program},
    param::padded,
    recorder::parts,
};

/// What follows on a product.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    bias: Option<&'a Param>,
    added: Option<Added<'a>>,
    activation: Activation,
}

/// What is added to a product.
#[derive(Clone, Copy)]
enum Added<'a> {
    /// Of its shape.
    Residual(&'a Tensor),
    /// A row for each image.
    Shift(&'a Tensor),
}

impl<'a> Epilogue<'a> {
    pub(crate) fn new(bias: &[&'a Param], residual: &[&'a Tensor], activation: Activation) -> Self {
        let added = residual.first().copied().map(Added::Residual);
        Self { bias: bias.first().copied(), added, activation }
    }

    /// With a row that is added to all pixels of an image.
    pub(crate) fn shifted(bias: &[&'a Param], shift: &'a Tensor) -> Self {
        Self { bias: bias.first().copied(), added: Some(Added::Shift(shift)), activation: Activation::None }
    }
}

/// How rows of `x` are gathered.
struct Taps {
    /// Of `x`: images, height, width and channels.
    picture: [usize; 4],
    /// Height and width of what a phase makes.
    out: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    phases: usize,
}

impl Taps {
    /// Those of a linear map: each row is a pixel.
    fn linear(x: Shape) -> Self {
        let picture = [1, 1, x.rows(), x.last()];
        Self { picture, out: [1, x.rows()], kernel: [1, 1], stride: 1, padding: [0, 0], phases: 1 }
    }
}

impl Gpu {
    pub(crate) fn multiply(&self, x: &Tensor, weight: &Param, epilogue: Epilogue, shape: Shape) -> Result<Tensor> {
        // A row for each image, not for each pixel: whatever the batch, they are few.
        if let (2, 4) = (x.shape.len(), lanes(&[x.shape.last(), shape.last()])) {
            return self.multiply_rows(x, weight, epilogue, shape);
        }
        let span = weight.weight("linear")?;
        self.product("linear", x, span, weight.shape().last(), &Taps::linear(x.shape), epilogue, shape)
    }

    /// In one kernel where four outputs at a time have four gates.
    pub(crate) fn multiply_gated(
        &self,
        x: &Tensor,
        weight: &Param,
        epilogue: Epilogue,
        shape: Shape,
    ) -> Result<Tensor> {
        if gates_apart(shape.last()) {
            let whole = x.shape.with_last(2 * shape.last());
            return self.gate(&self.multiply(x, weight, epilogue, whole)?, shape);
        }
        let span = weight.weight("linear_geglu")?;
        self.product("linear_geglu", x, span, weight.shape().last(), &Taps::linear(x.shape), epilogue, shape)
    }

    pub(crate) fn convolve(
        &self,
        x: &Tensor,
        weight: &Param,
        epilogue: Epilogue,
        options: Conv2d,
        shape: Shape,
    ) -> Result<Tensor> {
        let op = "conv2d";
        let span = weight.weight(op)?;
        let picture = op_shapes::picture(op, "x", x.shape)?;
        let [kh, kw, _, columns] = op_shapes::picture(op, "weight", weight.shape())?;
        let Padding { top, left, .. } = options.padding;
        let taps = Taps {
            picture,
            out: [shape[1], shape[2]],
            kernel: [kh, kw],
            stride: options.stride,
            padding: [top, left],
            phases: 1,
        };
        self.product(op, x, span, columns, &taps, epilogue, shape)
    }

    /// By the four kernels of 2×2, if the weight is kept as those.
    pub(crate) fn convolve_upsampled(
        &self,
        x: &Tensor,
        weight: &Param,
        epilogue: Epilogue,
        shape: Shape,
    ) -> Result<Tensor> {
        let op = "upsample_conv2d";
        if !weight.is_subpixel() {
            let large = self.run(&Op::UpsampleNearest2x, &[x], &[])?;
            return self.convolve(&large, weight, epilogue, Conv2d::padded(1), shape);
        }
        let picture = op_shapes::picture(op, "x", x.shape)?;
        let [_, height, width, _] = picture;
        let taps = Taps { picture, out: [height, width], kernel: [2, 2], stride: 1, padding: [1, 1], phases: 4 };
        self.product(op, x, weight.subpixel(op)?, weight.shape().last(), &taps, epilogue, shape)
    }

    /// `weight_columns` are twice those of the result for GEGLU.
    fn product(
        &self,
        op: &'static str,
        x: &Tensor,
        weight: Span,
        weight_columns: usize,
        taps: &Taps,
        epilogue: Epilogue,
        shape: Shape,
    ) -> Result<Tensor> {
        let Epilogue { bias, added, activation } = epilogue;
        let columns = shape.last();
        let geglu = weight_columns != columns;
        let bias = bias.map(|bias| bias.vector(op)).transpose()?;
        let y = self.tensor(shape)?;
        let flags = u32::from(bias.is_some())
            + match added {
                None => 0,
                Some(Added::Residual(_)) => 2,
                Some(Added::Shift(_)) => 6,
            };
        let added = match added {
            Some(Added::Residual(x) | Added::Shift(x)) => x.span(),
            // What is not read may be anything.
            None => y.span(),
        };
        let form = if geglu { Form::Gated } else { Form::One };
        let spans = [Some(y.span()), Some(x.span()), Some(added), Some(weight), bias];
        let columns = [columns, weight_columns];
        self.launch_product(op, form, columns, taps, &spans, [activation_code(activation), flags])?;
        Ok(y)
    }

    /// Runs the product for results of so many columns, of a weight of so many.
    fn launch_product(
        &self,
        op: &'static str,
        form: Form,
        [columns, weight_columns]: [usize; 2],
        taps: &Taps,
        spans: &[Option<Span>],
        [activation, flags]: [u32; 2],
    ) -> Result<()> {
        let &Taps { picture: [images, height, width, inputs], out, kernel, stride, padding, phases } = taps;
        let rows = images * out[0] * out[1];
        let extents = [rows, inputs, columns, padded(weight_columns) / 4, width, height, out[1], out[0]];
        let walk = [kernel[1], kernel[0] * kernel[1], stride, padding[0], padding[1], phases];
        let wide = lanes(&[inputs, columns]) == 4;
        // None of this depends on the number of rows, as the batch may not.
        let (program, block) = match self.context.matrices.filter(|_| wide && self.dtype == DType::F16) {
            Some(matrices) => (Program::MatrixProduct { form, matrices }, matrices.block() as usize),
            None => (Program::Product { form }, 64),
        };
        let column_blocks = columns.div_ceil(if form == Form::Gated { block / 2 } else { block });
        let told = [&words(op, extents)?[..], &words(op, walk)?, &[activation, flags]].concat();
        let layers = if form == Form::Three { 3 } else { phases };
        let taps = (kernel[0] * kernel[1] * inputs * layers) as f64;
        let flops = 2.0 * taps * rows as f64 * weight_columns as f64;
        self.in_parts(rows.div_ceil(block) * column_blocks, flops, |first, count| {
            let [x_blocks, y_blocks, _] = self.blocks(count);
            let words = [&told[..], &[first]].concat();
            self.launch(Run { program, wide, spans, words: &words, grid: [x_blocks, y_blocks, layers] })
        })
    }

    /// Runs `run(first block, blocks)` for all blocks: at once, or in parts of which each may be submitted alone.
    pub(crate) fn in_parts(&self, blocks: usize, flops: f64, run: impl Fn(u32, usize) -> Result<()>) -> Result<()> {
        let parts = parts(flops).min(blocks.max(1));
        let step = blocks.div_ceil(parts).max(1);
        for first in (0..blocks).step_by(step) {
            let count = step.min(blocks - first);
            let share = count as f64 / blocks as f64;
            self.context.works(flops * share, share)?;
            run(first as u32, count)?;
        }
        Ok(())
    }

    /// [`Backend::linear_three`], in one run if their channels are multiples of four.
    pub(crate) fn multiply_three(&self, x: &Tensor, weights: [&Param; 3]) -> Result<[Tensor; 3]> {
        let op = "linear";
        let shape = op_shapes::linear(x.shape, weights[0].shape())?;
        let columns = shape.last();
        let [q, k, v] = weights;
        if lanes(&[x.shape.last(), columns]) != 4 || weights.iter().any(|weight| weight.shape() != q.shape()) {
            let one = |weight| self.linear(x, weight, None, None, Activation::None);
            return Ok([one(q)?, one(k)?, one(v)?]);
        }
        let results = [self.tensor(shape)?, self.tensor(shape)?, self.tensor(shape)?];
        let [of_q, of_k, of_v] = &results;
        let spans = [
            Some(of_q.span()),
            Some(x.span()),
            Some(of_k.span()),
            Some(of_v.span()),
            Some(q.weight(op)?),
            Some(k.weight(op)?),
            Some(v.weight(op)?),
        ];
        self.launch_product(op, Form::Three, [columns; 2], &Taps::linear(x.shape), &spans, [0, 0])?;
        Ok(results)
    }

    /// A linear map of rows that are few: one for each image.
    fn multiply_rows(&self, x: &Tensor, weight: &Param, epilogue: Epilogue, shape: Shape) -> Result<Tensor> {
        let op = "linear";
        let Epilogue { bias, added, activation } = epilogue;
        let bias = bias.map(|bias| bias.vector(op)).transpose()?;
        let y = self.tensor(shape)?;
        let residual = match added {
            Some(Added::Residual(x) | Added::Shift(x)) => Some(x.span()),
            None => None,
        };
        let (rows, inputs, columns) = (x.shape.rows(), x.shape.last(), shape.last());
        let flags = u32::from(bias.is_some()) + 2 * u32::from(residual.is_some());
        let extents = words(op, [inputs / 4, columns / 4, padded(columns) / 4])?;
        self.context.works(2.0 * (rows * inputs * columns) as f64, 1.0)?;
        self.launch(Run {
            program: Program::RowProduct,
            wide: true,
            spans: &[Some(y.span()), Some(x.span()), residual.or(Some(y.span())), Some(weight.weight(op)?), bias],
            words: &[&extents[..], &[activation_code(activation), flags]].concat(),
            grid: [(columns / 4).div_ceil(8), rows, 1],
        })?;
        Ok(y)
    }
}

/// Whether GEGLU is computed apart from its linear map.
pub(crate) fn gates_apart(columns: usize) -> bool {
    !columns.is_multiple_of(4)
}
