//! Products: linear maps and convolutions, by one kernel.

use calotype_tensor::{Activation, Backend, Conv2d, DType, Op, Padding, Result, Shape, op_shapes};

use super::{Run, activation_code, lanes, words};
use crate::{Gpu, Param, Tensor, arena::Span, kernel::Program, param::padded};

/// What follows on a product.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    bias: Option<&'a Param>,
    residual: Option<&'a Tensor>,
    activation: Activation,
}

impl<'a> Epilogue<'a> {
    pub(crate) fn new(bias: &[&'a Param], residual: &[&'a Tensor], activation: Activation) -> Self {
        Self { bias: bias.first().copied(), residual: residual.first().copied(), activation }
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
        let Epilogue { bias, residual, activation } = epilogue;
        let &Taps { picture: [images, height, width, inputs], out, kernel, stride, padding, phases } = taps;
        let columns = shape.last();
        let geglu = weight_columns != columns;
        let bias = bias.map(|bias| bias.vector(op)).transpose()?;
        let y = self.tensor(shape)?;
        let rows = images * out[0] * out[1];
        let extents = [rows, inputs, columns, padded(weight_columns) / 4, width, height, out[1], out[0]];
        let walk = [kernel[1], kernel[0] * kernel[1], stride, padding[0], padding[1], phases];
        let flags = u32::from(bias.is_some()) + 2 * u32::from(residual.is_some());
        let words = [&words(op, extents)?[..], &words(op, walk)?, &[activation_code(activation), flags]].concat();
        let wide = lanes(&[inputs, columns]) == 4;
        // None of this depends on the number of rows, as the batch may not.
        let (program, block) = match self.context.matrices.filter(|_| wide && self.dtype == DType::F16) {
            Some(matrices) => (Program::MatrixProduct { geglu, matrices }, matrices.block() as usize),
            None => (Program::Product { geglu }, 64),
        };
        let column_blocks = columns.div_ceil(if geglu { block / 2 } else { block });
        let [x_blocks, y_blocks, _] = self.blocks(rows.div_ceil(block) * column_blocks);
        self.launch(Run {
            program,
            wide,
            // What is not read may be anything.
            spans: &[Some(y.span()), Some(x.span()), Some(residual.map_or(y.span(), Tensor::span)), Some(weight), bias],
            words: &words,
            grid: [x_blocks, y_blocks, phases],
        })?;
        Ok(y)
    }
}

/// Whether GEGLU is computed apart from its linear map.
pub(crate) fn gates_apart(columns: usize) -> bool {
    !columns.is_multiple_of(4)
}
