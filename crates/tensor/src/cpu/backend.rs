//! The op set on the CPU: shape checks, then the kernels.

use super::{Cpu, Param, Tensor, elementwise as ew, elementwise::CHUNK};
use crate::{Activation, Attention, Backend, Conv2d, DType, ParamKind, Result, Shape, infer};

impl Backend for Cpu {
    type Tensor = Tensor;
    type Param = Param;

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Tensor> {
        infer::data("from_f32", shape, data.len())?;
        Ok(self.make(shape, |to| to.copy_from_slice(&data)))
    }

    fn to_f32(&self, x: &Tensor) -> Vec<f32> {
        x.data().to_vec()
    }

    fn shape(&self, x: &Tensor) -> Shape {
        x.shape()
    }

    fn param(&self, _name: &str, kind: ParamKind, shape: Shape, data: Vec<f32>) -> Result<Param> {
        Param::new(self, kind, shape, &data)
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
        self.multiply(x, weight, bias, residual, activation)
    }

    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<Tensor> {
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
        self.normalise_groups(x, gamma, beta, groups, eps, activation)
    }

    fn layer_norm(&self, x: &Tensor, gamma: &Param, beta: &Param, eps: f32) -> Result<Tensor> {
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
        Ok(self.make(x.shape(), |y| {
            self.threads.chunks(y, pixels * channels, |start, y| {
                let v = &v.data()[start / pixels.max(1)..][..channels];
                for (y, x) in y.chunks_exact_mut(channels).zip(x.data()[start..].chunks_exact(channels)) {
                    ew::combine(self.isa, x, v, y, 1.0);
                }
            });
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
        let total: f64 = x.data().chunks(CHUNK).map(|x| ew::total(self.isa, x)).sum();
        Ok(self.make([1].into(), |y| y.fill((total / x.data().len() as f64) as f32)))
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
        let (left, right) = (a.shape().last(), b.shape().last());
        let rows = (CHUNK / shape.last().max(1)).max(1);
        Ok(self.make(shape, |y| {
            self.threads.chunks(y, rows * shape.last(), |start, y| {
                let row = start / shape.last();
                for (i, y) in y.chunks_exact_mut(shape.last()).enumerate() {
                    y[..left].copy_from_slice(&a.data()[(row + i) * left..][..left]);
                    y[left..].copy_from_slice(&b.data()[(row + i) * right..][..right]);
                }
            });
        }))
    }

    fn upsample_nearest_2x(&self, x: &Tensor) -> Result<Tensor> {
        let shape = infer::upsample_nearest_2x(x.shape())?;
        let line = shape[2] * shape[3];
        let channels = shape[3];
        Ok(self.make(shape, |y| {
            // Two lines of the result for each line of `x`.
            self.threads.chunks(y, 2 * line, |start, y| {
                let (upper, lower) = y.split_at_mut(line);
                let x = &x.data()[start / 4..][..line / 2];
                for (pair, pixel) in upper.chunks_exact_mut(2 * channels).zip(x.chunks_exact(channels)) {
                    pair[..channels].copy_from_slice(pixel);
                    pair[channels..].copy_from_slice(pixel);
                }
                lower.copy_from_slice(upper);
            });
        }))
    }

    fn embedding(&self, table: &Param, ids: &[u32], batch: usize) -> Result<Tensor> {
        let shape = infer::embedding(table.shape(), ids, batch)?;
        let (table, c) = (table.plain("embedding")?, shape.last());
        Ok(self.make(shape, |y| {
            for (y, &id) in y.chunks_exact_mut(c.max(1)).zip(ids) {
                y.copy_from_slice(&table[id as usize * c..][..c]);
            }
        }))
    }
}
