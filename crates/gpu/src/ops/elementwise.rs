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
        self.each(&y, Program::Unary, &[x], &[code, f32::to_bits(a), f32::to_bits(b)])?;
        Ok(y)
    }

    pub(crate) fn binary(&self, a: &Tensor, b: &Tensor, code: u32) -> Result<Tensor> {
        let y = self.tensor(a.shape)?;
        self.each(&y, Program::Binary, &[a, b], &[code])?;
        Ok(y)
    }

    /// Four elements at a time, whatever the shape: a place has room for those after the last.
    fn each(&self, y: &Tensor, program: Program, arguments: &[&Tensor], rest: &[u32]) -> Result<()> {
        let spans: Vec<_> = [y].into_iter().chain(arguments.iter().copied()).map(|x| Some(x.span())).collect();
        self.launch_each("elementwise", program, [y.shape.count(), 4], &spans, rest)
    }

    pub(crate) fn add_to_channels(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let op = "add_channels";
        let [_, pixels, channels] = op_shapes::add_channels(x.shape, v.shape)?;
        let lanes = lanes(&[channels]);
        let y = self.tensor(x.shape)?;
        let spans = [Some(y.span()), Some(x.span()), Some(v.span())];
        let rest = words(op, [pixels * channels / lanes, channels / lanes])?;
        self.launch_each(op, Program::Channels, [x.shape.count(), lanes], &spans, &rest)?;
        Ok(y)
    }

    pub(crate) fn leak(&self, x: &Tensor, slope: &Param) -> Result<Tensor> {
        let (op, channels) = ("prelu", x.shape.last());
        let lanes = lanes(&[channels]);
        let slope = slope.vector(op)?;
        let y = self.tensor(x.shape)?;
        let spans = [Some(y.span()), Some(x.span()), Some(slope)];
        self.launch_each(op, Program::PRelu, [x.shape.count(), lanes], &spans, &words(op, [channels / lanes])?)?;
        Ok(y)
    }

    pub(crate) fn gate(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let lanes = lanes(&[shape.last()]);
        let y = self.tensor(shape)?;
        let rest = words("geglu", [shape.last() / lanes])?;
        self.launch_each("geglu", Program::Geglu, [shape.count(), lanes], &[Some(y.span()), Some(x.span())], &rest)?;
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
        let extents = [channels / lanes, width, height, shape[2], shape[1]];
        let padding = options.padding;
        let walk = [kernel[1], kernel[0] * kernel[1], options.stride, padding.top, padding.left];
        let spans = [Some(y.span()), Some(x.span()), Some(weight), bias];
        let rest = [&words(op, extents)?[..], &words(op, walk)?, &[bias.is_some().into()]].concat();
        self.launch_each(op, Program::Depthwise, [shape.count(), lanes], &spans, &rest)?;
        Ok(y)
    }
}
