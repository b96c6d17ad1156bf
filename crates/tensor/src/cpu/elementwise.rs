//! Operations that touch each element once, and those that only move elements.

use super::{Cpu, Tensor, isa::for_each_isa, math};
use crate::{Activation, AdamW, Result, Shape, op_shapes};

/// Elements that one task works on.
pub(super) const CHUNK: usize = 1 << 15;
/// Elements that are widened, worked on and narrowed together, in the first-level cache.
pub(super) const RUN: usize = 1 << 11;

impl Cpu {
    /// `f(x, y)` over runs of elements.
    pub(super) fn map(&self, x: &Tensor, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Result<Tensor> {
        let flat = Shape::from([x.shape().count(), 1]);
        let elements = x.elements()?;
        let y = self.make_rows(flat, |[scratch, _], start, y| {
            f(elements.part(start, y.len()).read(self.isa, scratch), y);
        });
        y?.reshaped(x.shape())
    }

    /// `f(a, b, y)` over runs of elements of two tensors of one shape.
    pub(super) fn zip(
        &self,
        op: &'static str,
        a: &Tensor,
        b: &Tensor,
        f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
    ) -> Result<Tensor> {
        op_shapes::same(op, "b", a.shape(), b.shape())?;
        let (shape, flat) = (a.shape(), Shape::from([a.shape().count(), 1]));
        let (a, b) = (a.elements()?, b.elements()?);
        let y = self.make_rows(flat, |[scratch_a, scratch_b], start, y| {
            let a = a.part(start, y.len()).read(self.isa, scratch_a);
            f(a, b.part(start, y.len()).read(self.isa, scratch_b), y);
        });
        y?.reshaped(shape)
    }

    /// `f(row of x, row of y)` over rows of the last dimension, where the result has `last` columns.
    pub(super) fn map_rows(&self, x: &Tensor, last: usize, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Result<Tensor> {
        let columns = x.shape().last();
        self.make_rows(x.shape().with_last(last), |[scratch, _], row, y| {
            let x = x.rows(self.isa, row, y.len() / last, scratch);
            y.chunks_exact_mut(last).zip(x.chunks_exact(columns)).for_each(|(y, x)| f(x, y));
        })
    }

    /// [`Op::AddChannels`](crate::Op::AddChannels).
    pub(super) fn add_to_channels(&self, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let [_, pixels, channels] = op_shapes::add_channels(x.shape(), v.shape())?;
        self.make_rows(x.shape(), |[scratch_x, scratch_v], pixel, y| {
            let rows = x.rows(self.isa, pixel, y.len() / channels, scratch_x);
            for (i, (y, x)) in y.chunks_exact_mut(channels).zip(rows.chunks_exact(channels)).enumerate() {
                combine(self.isa, x, v.rows(self.isa, (pixel + i) / pixels, 1, scratch_v), y, 1.0);
            }
        })
    }

    /// [`Op::UpsampleNearest2x`](crate::Op::UpsampleNearest2x).
    pub(super) fn double_pixels(&self, x: &Tensor, shape: Shape) -> Result<Tensor> {
        let [_, height, width, channels] = op_shapes::picture("upsample_nearest_2x", "y", shape)?;
        self.make_rows(shape, |[scratch, _], pixel, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                let (line, column) = ((pixel + i) / width, (pixel + i) % width);
                let from = (line / height * (height / 2) + line % height / 2) * (width / 2) + column / 2;
                y.copy_from_slice(x.rows(self.isa, from, 1, scratch));
            }
        })
    }

    /// The sum of `f(chunk)` over chunks of elements, in order.
    pub(super) fn sum_chunks(&self, x: &Tensor, f: impl Fn(&[f32]) -> f64) -> Result<f64> {
        let (count, x) = (x.shape().count(), x.elements()?);
        let mut scratch = Vec::new();
        let starts = (0..count).step_by(CHUNK);
        Ok(starts.map(|start| f(x.part(start, CHUNK.min(count - start)).read(self.isa, &mut scratch))).sum())
    }

    /// Changes floats in place, after copying them when they are shared; `f(first index, chunk)`.
    pub(super) fn update(&self, op: &'static str, y: &mut Tensor, f: impl Fn(usize, &mut [f32]) + Sync) -> Result<()> {
        if y.f32_mut().is_none() {
            let data = y.f32(op)?;
            *y = self.make_f32(y.shape(), |to| {
                to.copy_from_slice(data);
                Ok(())
            })?;
        }
        if let Some(data) = y.f32_mut() {
            self.threads.chunks(data, CHUNK, f);
        }
        Ok(())
    }
}

for_each_isa! {
    pub(super) fn activate(x: &[f32], y: &mut [f32], activation: Activation) {
        let pairs = y.iter_mut().zip(x);
        match activation {
            Activation::None => y.copy_from_slice(x),
            Activation::Silu => pairs.for_each(|(y, &x)| *y = math::swish(x, 1.0)),
            Activation::Gelu => pairs.for_each(|(y, &x)| *y = math::gelu(x)),
            Activation::QuickGelu => pairs.for_each(|(y, &x)| *y = math::swish(x, math::QUICK_GELU)),
            Activation::Relu => pairs.for_each(|(y, &x)| *y = math::leaky_relu(x, 0.0)),
            Activation::LeakyRelu => pairs.for_each(|(y, &x)| *y = math::leaky_relu(x, math::LEAK)),
            Activation::Sigmoid => pairs.for_each(|(y, &x)| *y = math::sigmoid(x)),
        }
    }

    pub(super) fn activate_backward(x: &[f32], dy: &[f32], dx: &mut [f32], activation: Activation) {
        let triples = dx.iter_mut().zip(x).zip(dy);
        match activation {
            Activation::None => dx.copy_from_slice(dy),
            Activation::Silu => triples.for_each(|((dx, &x), dy)| *dx = dy * math::swish_derivative(x, 1.0)),
            Activation::Gelu => triples.for_each(|((dx, &x), dy)| *dx = dy * math::gelu_derivative(x)),
            Activation::QuickGelu => triples.for_each(|((dx, &x), dy)| *dx = dy * math::swish_derivative(x, math::QUICK_GELU)),
            Activation::Relu => triples.for_each(|((dx, &x), dy)| *dx = dy * math::leaky_relu_derivative(x, 0.0)),
            Activation::LeakyRelu => triples.for_each(|((dx, &x), dy)| *dx = dy * math::leaky_relu_derivative(x, math::LEAK)),
            Activation::Sigmoid => triples.for_each(|((dx, &x), dy)| {
                let s = math::sigmoid(x);
                *dx = dy * s * (1.0 - s);
            }),
        }
    }

    pub(super) fn gate(x: &[f32], y: &mut [f32]) {
        let (a, gate) = x.split_at(y.len());
        for ((y, a), &g) in y.iter_mut().zip(a).zip(gate) {
            *y = a * math::gelu(g);
        }
    }

    pub(super) fn gate_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let (a, gate) = x.split_at(dy.len());
        let (da, dgate) = dx.split_at_mut(dy.len());
        for ((((da, dg), a), &g), dy) in da.iter_mut().zip(dgate).zip(a).zip(gate).zip(dy) {
            *da = dy * math::gelu(g);
            *dg = dy * a * math::gelu_derivative(g);
        }
    }

    pub(super) fn exponentials(x: &[f32], y: &mut [f32]) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = math::exp(x));
    }

    pub(super) fn combine(a: &[f32], b: &[f32], y: &mut [f32], sign: f32) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a + sign * b;
        }
    }

    pub(super) fn products(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y = a * b;
        }
    }

    pub(super) fn scaled(x: &[f32], y: &mut [f32], factor: f32) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * factor);
    }

    pub(super) fn towards(average: &mut [f32], value: &[f32], weight: f32) {
        for (a, v) in average.iter_mut().zip(value) {
            *a += (v - *a) * weight;
        }
    }

    /// Σ x² in double precision, in sixteen interleaved sums.
    pub(super) fn squares(x: &[f32]) -> f64 {
        let mut sums = [0.0f64; 16];
        for block in x.chunks(16) {
            for (sum, &x) in sums.iter_mut().zip(block) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        sums.iter().sum()
    }

    /// Σ x in double precision, likewise.
    pub(super) fn total(x: &[f32]) -> f64 {
        let mut sums = [0.0f64; 16];
        for block in x.chunks(16) {
            for (sum, &x) in sums.iter_mut().zip(block) {
                *sum += f64::from(x);
            }
        }
        sums.iter().sum()
    }

    /// AdamW on part of a parameter.
    pub(super) fn adamw(value: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], step: &AdamW) {
        let correction = |beta: f64| 1.0 - beta.powf(step.step as f64);
        let rate = (step.learning_rate / correction(step.beta1)) as f32;
        let keep = (1.0 - step.learning_rate * step.weight_decay) as f32;
        let root = correction(step.beta2).sqrt() as f32;
        let [new_m, keep_v, new_v] = [1.0 - step.beta1, step.beta2, 1.0 - step.beta2].map(|x| x as f32);
        let [scale, eps] = [step.gradient_scale, step.eps].map(|x| x as f32);
        for (((x, m), v), g) in value.iter_mut().zip(m).zip(v).zip(gradient) {
            let g = g * scale;
            *m += (g - *m) * new_m;
            *v = *v * keep_v + g * g * new_v;
            *x = *x * keep - rate * *m / (v.sqrt() / root + eps);
        }
    }
}
