//! The op set on the CPU, by its kernels.

use super::{
    Cpu, Param, Tensor,
    element::{narrow, widen},
    elementwise as ew,
};
use crate::{
    Backend, DType, Op, ParamData, ParamRole, Precision, Result, Shape, Threads,
    backend::conv2d_then_shift,
    op_shapes,
    param_data::{Cancellable, zeros},
};

impl Backend for Cpu {
    type Tensor = Tensor;
    type Param = Param;

    fn dtype(&self) -> DType {
        self.precision.activations()
    }

    fn threads(&self) -> &Threads {
        &self.threads
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Tensor> {
        op_shapes::data("from_f32", shape, data.len())?;
        self.make(shape, |to| {
            narrow(self.isa, &data, to);
            Ok(())
        })
    }

    fn to_f32(&self, x: &Tensor) -> Result<Vec<f32>> {
        let mut data = zeros(x.shape().count())?;
        widen(self.isa, x.elements()?, &mut data);
        Ok(data)
    }

    fn shape(&self, x: &Tensor) -> Shape {
        x.shape()
    }

    fn param(&self, _name: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<Param> {
        Param::load(self, role.into(), shape, &Cancellable { data, cancel: &self.cancel })
    }

    fn param_shape(&self, p: &Param) -> Shape {
        p.shape()
    }

    fn compute(&self, op: &Op, tensors: &[&Tensor], params: &[&Param], shape: Shape) -> Result<Tensor> {
        self.cancel.check()?;
        let isa = self.isa;
        match (op, tensors, params) {
            (&Op::Conv2d(options), [x, residual @ ..], [weight, bias @ ..]) => {
                self.convolve(x, weight, bias.first().copied(), residual.first().copied(), options, shape)
            }
            (&Op::Linear(activation), [x, residual @ ..], [weight, bias @ ..]) => {
                self.multiply(x, weight, bias.first().copied(), residual.first().copied(), activation, shape)
            }
            (&Op::ShiftedConv2d(options), [x, shift], [weight, bias @ ..]) => {
                conv2d_then_shift(self, [x, shift], weight, bias.first().copied(), options)
            }
            (Op::UpsampleConv2d, [x], [weight, bias @ ..]) => {
                self.convolve_upsampled(x, weight, bias.first().copied(), shape)
            }
            (Op::LinearGeglu, [x], [weight, bias @ ..]) => self.multiply_gated(x, weight, bias.first().copied(), shape),
            (&Op::DepthwiseConv2d { kernel, options }, [x], [weight, bias @ ..]) => {
                self.convolve_depthwise(x, weight, bias.first().copied(), kernel, options, shape)
            }
            (&Op::Attention(options), [q, k, v], _) => self.attend(q, k, v, options),
            (&Op::GroupNorm { groups, eps, activation }, [x], [gamma, beta]) => {
                self.normalise_groups(x, gamma, beta, groups, eps, activation)
            }
            (&Op::LayerNorm { eps }, [x], [gamma, beta]) => self.normalise_layers(x, gamma, beta, eps),
            (&Op::UnitRows { eps }, [x], _) => self.normalise_rows(x, eps),
            (&Op::Activation(activation), [x], _) => self.map(x, |x, y| ew::activate(isa, x, y, activation)),
            (Op::PRelu, [x], [slope]) => self.prelu(x, slope),
            (Op::Geglu, [x], _) => self.map_rows(x, shape.last(), |x, y| ew::gate(isa, x, y)),
            (Op::Add, [a, b], _) => self.zip("add", a, b, |a, b, y| ew::combine(isa, a, b, y, 1.0)),
            (Op::Sub, [a, b], _) => self.zip("sub", a, b, |a, b, y| ew::combine(isa, a, b, y, -1.0)),
            (Op::Mul, [a, b], _) => self.zip("mul", a, b, |a, b, y| ew::products(isa, a, b, y)),
            (&Op::Scale(factor), [x], _) => self.map(x, |x, y| ew::scaled(isa, x, y, factor)),
            (Op::AddChannels, [x, v], _) => self.add_to_channels(x, v),
            (Op::Abs, [x], _) => self.map(x, |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.abs())),
            (Op::Exp, [x], _) => self.map(x, |x, y| ew::exponentials(isa, x, y)),
            (&Op::Clamp { low, high }, [x], _) => {
                self.map(x, |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(low).min(high)))
            }
            (Op::Mean, [x], _) => {
                let mean = self.sum_chunks(x, |x| ew::total(isa, x))? / x.shape().count() as f64;
                self.from_f32(shape, vec![mean as f32])
            }
            (Op::Reshape(_), [x], _) => x.reshaped(shape),
            (&Op::Narrow { start, length }, [x], _) => {
                self.map_rows(x, length, |x, y| y.copy_from_slice(&x[start..start + length]))
            }
            // Whoever reads it next can read both where they are.
            (Op::Concat, [a, b], _) if self.precision != Precision::F32 && a.dtype() == b.dtype() => {
                Ok(Tensor::join(shape, a, b))
            }
            (Op::Concat, [a, b], _) => {
                let joined = Tensor::join(shape, a, b);
                self.make_rows(shape, |_, row, y| joined.read_rows(isa, row, y))
            }
            (Op::UpsampleNearest2x, [x], _) => self.double_pixels(x, shape),
            (Op::MaxPool2x, [x], _) => self.pool(x, shape),
            (&Op::PixelShuffle(factor), [x], _) => self.shuffle(x, factor, shape),
            (&Op::PixelUnshuffle(factor), [x], _) => self.unshuffle(x, factor, shape),
            (Op::Embedding { ids, .. }, _, [table]) => {
                let table = table.plain(op.name())?;
                self.make_rows(shape, |[scratch, _], row, y| {
                    for (y, &id) in y.chunks_exact_mut(shape.last()).zip(&ids[row..]) {
                        y.copy_from_slice(table.rows(isa, id as usize, 1, scratch));
                    }
                })
            }
            _ => op.refuse(tensors.len(), params.len()),
        }
    }
}
