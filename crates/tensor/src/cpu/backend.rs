//! The op set on the CPU: shape checks, then the kernels.

use super::{Cpu, Param, Tensor, element::narrow, element::widen, elementwise as ew, tensor::join_rows};
use crate::{
    Activation, Attention, Backend, Conv2d, DType, ParamData, ParamRole, Precision, Result, Shape, infer,
    param_data::Cancellable,
};

impl Backend for Cpu {
    type Tensor = Tensor;
    type Param = Param;

    fn dtype(&self) -> DType {
        self.precision.activations()
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Tensor> {
        infer::data("from_f32", shape, data.len())?;
        Ok(self.make(shape, |to| narrow(self.isa, &data, to)))
    }

    fn to_f32(&self, x: &Tensor) -> Result<Vec<f32>> {
        let mut data = vec![0.0; x.shape().count()];
        widen(self.isa, x.elements(), &mut data);
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

    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        residual: Option<&Tensor>,
        options: Conv2d,
    ) -> Result<Tensor> {
        self.cancel.check()?;
        self.convolve(x, weight, bias, residual, options)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        residual: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        self.cancel.check()?;
        self.multiply(x, weight, bias, residual, activation)
    }

    fn upsample_conv2d(&self, x: &Tensor, weight: &Param, bias: Option<&Param>) -> Result<Tensor> {
        self.cancel.check()?;
        self.convolve_upsampled(x, weight, bias)
    }

    fn linear_geglu(&self, x: &Tensor, weight: &Param, bias: Option<&Param>) -> Result<Tensor> {
        self.cancel.check()?;
        self.multiply_gated(x, weight, bias)
    }

    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
        self.cancel.check()?;
        self.attend(q, k, v, options)
    }

    fn group_norm(
        &self,
        x: &Tensor,
        gamma: &Param,
        beta: &Param,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Tensor> {
        self.cancel.check()?;
        self.normalise_groups(x, gamma, beta, groups, eps, activation)
    }

    fn layer_norm(&self, x: &Tensor, gamma: &Param, beta: &Param, eps: f32) -> Result<Tensor> {
        self.cancel.check()?;
        self.normalise_layers(x, gamma, beta, eps)
    }

    fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        Ok(self.map(x, |x, y| ew::activate(self.isa, x, y, activation)))
    }

    fn geglu(&self, x: &Tensor) -> Result<Tensor> {
        let shape = infer::geglu(x.shape())?;
        Ok(self.map_rows(x, shape.last(), |x, y| ew::gate(self.isa, x, y)))
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.zip("add", a, b, |a, b, y| ew::combine(self.isa, a, b, y, 1.0))
    }

    fn sub(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.zip("sub", a, b, |a, b, y| ew::combine(self.isa, a, b, y, -1.0))
    }

    fn mul(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.zip("mul", a, b, |a, b, y| ew::products(self.isa, a, b, y))
    }

    fn scale(&self, x: &Tensor, factor: f32) -> Result<Tensor> {
        Ok(self.map(x, |x, y| ew::scaled(self.isa, x, y, factor)))
    }

    fn add_channels(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let [_, pixels, channels] = infer::add_channels(x.shape(), v.shape())?;
        Ok(self.make_rows(x.shape(), |[scratch_x, scratch_v], pixel, y| {
            let rows = x.rows(self.isa, pixel, y.len() / channels, scratch_x);
            for (i, (y, x)) in y.chunks_exact_mut(channels).zip(rows.chunks_exact(channels)).enumerate() {
                ew::combine(self.isa, x, v.rows(self.isa, (pixel + i) / pixels, 1, scratch_v), y, 1.0);
            }
        }))
    }

    fn abs(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.map(x, |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.abs())))
    }

    fn exp(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.map(x, |x, y| ew::exponentials(self.isa, x, y)))
    }

    fn clamp(&self, x: &Tensor, low: f32, high: f32) -> Result<Tensor> {
        Ok(self.map(x, |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(low).min(high))))
    }

    fn mean(&self, x: &Tensor) -> Result<Tensor> {
        let mean = self.sum_chunks(x, |x| ew::total(self.isa, x)) / x.shape().count() as f64;
        Ok(self.make([1].into(), |y| narrow(self.isa, &[mean as f32], y)))
    }

    fn reshape(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        infer::reshape(x.shape(), shape)?;
        Ok(x.reshaped(shape))
    }

    fn narrow(&self, x: &Tensor, start: usize, length: usize) -> Result<Tensor> {
        infer::narrow(x.shape(), start, length)?;
        Ok(self.map_rows(x, length, |x, y| y.copy_from_slice(&x[start..start + length])))
    }

    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let shape = infer::concat(a.shape(), b.shape())?;
        if self.precision != Precision::F32 && a.dtype() == b.dtype() {
            // Whoever reads it next can read both where they are.
            return Ok(Tensor::join(shape, a, b));
        }
        let parts = [a.clone(), b.clone()];
        Ok(self.make_rows(shape, |_, row, y| join_rows(self.isa, &parts, row, y)))
    }

    fn upsample_nearest_2x(&self, x: &Tensor) -> Result<Tensor> {
        self.cancel.check()?;
        let shape = infer::upsample_nearest_2x(x.shape())?;
        let [_, height, width, channels] = infer::picture("upsample_nearest_2x", "y", shape)?;
        Ok(self.make_rows(shape, |[scratch, _], pixel, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                let (line, column) = ((pixel + i) / width, (pixel + i) % width);
                let from = (line / height * (height / 2) + line % height / 2) * (width / 2) + column / 2;
                y.copy_from_slice(x.rows(self.isa, from, 1, scratch));
            }
        }))
    }

    fn embedding(&self, table: &Param, ids: &[u32], batch: usize) -> Result<Tensor> {
        let shape = infer::embedding(table.shape(), ids, batch)?;
        let (table, c) = (table.plain("embedding")?, shape.last());
        Ok(self.make_rows(shape, |[scratch, _], row, y| {
            for (i, y) in y.chunks_exact_mut(c).enumerate() {
                y.copy_from_slice(table.rows(self.isa, ids[row + i] as usize, 1, scratch));
            }
        }))
    }
}
