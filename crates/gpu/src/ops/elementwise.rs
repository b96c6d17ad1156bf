//! Functions of each element, of two, or of few.

use calotype_tensor::{Activation, Conv2d, Result, Shape, op_shapes};

use super::{Run, activation_code, lanes, words};
use crate::{Gpu, Param, Tensor, kernel::Program};

/// A function of one element, numbered as in `unary.wgsl`.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    Activation(Activation),
    Scale(f32),
    Abs,
    Exp,
    Clamp(f32, f32),
}

impl Gpu {
    pub(crate) fn unary(&self, x: &Tensor, function: Function) -> Result<Tensor> {
        let (code, a, b) = match function {
            Function::Activation(activation) => (activation_code(activation), 0.0, 0.0),
            Function::Scale(factor) => (16, factor, 0.0),
            Function::Abs => (17, 0.0, 0.0),
            Function::Exp => (18, 0.0, 0.0),
            Function::Clamp(low, high) => (19, low, high),
        };
        let y = self.tensor(x.shape)?;
        let numbers: [f32; 2] = [a, b];
        self.each(&y, Program::Unary, &[x], &[code, numbers[0].to_bits(), numbers[1].to_bits()])?;
        Ok(y)
    }

    pub(crate) fn binary(&self, a: &Tensor, b: &Tensor, code: u32) -> Result<Tensor> {
        let y = self.tensor(a.shape)?;
        self.each(&y, Program::Binary, &[a, b], &[code])?;
        Ok(y)
    }

    /// Four elements at a time, whatever the shape: a place has room for those after the last.
    fn each(&self, y: &Tensor, program: Program, arguments: &[&Tensor], rest: &[u32]) -> Result<()> {
        let count = y.shape.count().div_ceil(4);
        let spans: Vec<_> = [y].into_iter().chain(arguments.iter().copied()).map(|x| Some(x.span())).collect();
        self.launch(Run {
            program,
            wide: true,
            spans: &spans,
            words: &[&words("elementwise", [count])?[..], rest].concat(),
            grid: self.blocks(count.div_ceil(256))?,
        })
    }

    pub(crate) fn add_to_channels(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let [_, pixels, channels] = op_shapes::add_channels(x.shape, v.shape)?;
        let lanes = lanes(&[channels]);
        let y = self.tensor(x.shape)?;
        let count = x.shape.count() / lanes;
        self.launch(Run {
            program: Program::Channels,
            wide: lanes == 4,
            spans: &[Some(y.span()), Some(x.span()), Some(v.span())],
            words: &words("add_channels", [count, pixels * channels / lanes, channels / lanes])?,
            grid: self.blocks(count.div_ceil(256))?,
        })?;
        Ok(y)
    }

    pub(crate) fn gate(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let lanes = lanes(&[shape.last()]);
        let y = self.tensor(shape)?;
        let count = shape.count() / lanes;
        self.launch(Run {
            program: Program::Geglu,
            wide: lanes == 4,
            spans: &[Some(y.span()), Some(x.span())],
            words: &words("geglu", [count, shape.last() / lanes])?,
            grid: self.blocks(count.div_ceil(256))?,
        })?;
        Ok(y)
    }

    pub(crate) fn average(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let y = self.tensor(shape)?;
        self.launch(Run {
            program: Program::Mean,
            wide: false,
            spans: &[Some(y.span()), Some(x.span())],
            words: &words("mean", [x.shape.count()])?,
            grid: [1; 3],
        })?;
        Ok(y)
    }

    pub(crate) fn convolve_depthwise(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        kernel: [usize; 2],
        options: Conv2d,
        shape: Shape,
    ) -> Result<Tensor> {
        let op = "depthwise_conv2d";
        let [_, height, width, channels] = op_shapes::picture(op, "x", x.shape)?;
        let lanes = lanes(&[channels]);
        let bias = bias.map(|bias| bias.vector(op)).transpose()?;
        let weight = weight.table(op)?;
        let y = self.tensor(shape)?;
        let count = shape.count() / lanes;
        let extents = [count, channels / lanes, width, height, shape[2], shape[1]];
        let padding = options.padding;
        let walk = [kernel[1], kernel[0] * kernel[1], options.stride, padding.top, padding.left];
        self.launch(Run {
            program: Program::Depthwise,
            wide: lanes == 4,
            spans: &[Some(y.span()), Some(x.span()), Some(weight), bias],
            words: &[&words(op, extents)?[..], &words(op, walk)?, &[bias.is_some().into()]].concat(),
            grid: self.blocks(count.div_ceil(256))?,
        })?;
        Ok(y)
    }
}
