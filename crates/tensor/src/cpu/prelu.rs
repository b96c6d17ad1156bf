//! The ReLU with a slope for each channel, and its derivative.

use super::{Cpu, Param, Tensor, isa::for_each_isa, math};
use crate::{Result, op_shapes};

impl Cpu {
    pub(super) fn prelu(&self, x: &Tensor, slope: &Param) -> Result<Tensor> {
        let slope = slope.vector("prelu")?;
        self.map_rows(x, x.shape().last(), |x, y| leak(self.isa, x, slope, y))
    }

    pub(super) fn prelu_slopes(&self, x: &Tensor, slope: &Param, dy: &Tensor) -> Result<Tensor> {
        let (op, channels) = ("prelu_backward", x.shape().last());
        op_shapes::vector(op, "slope", channels, slope.shape())?;
        op_shapes::same(op, "dy", x.shape(), dy.shape())?;
        let slope = slope.vector(op)?;
        self.make_rows(x.shape(), |[scratch_x, scratch_dy], row, dx| {
            let rows = dx.len() / channels;
            let x = x.rows(self.isa, row, rows, scratch_x);
            let dy = dy.rows(self.isa, row, rows, scratch_dy);
            for ((dx, x), dy) in
                dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).zip(dy.chunks_exact(channels))
            {
                leak_backward(self.isa, x, slope, dy, dx);
            }
        })
    }
}

for_each_isa! {
    fn leak(x: &[f32], slope: &[f32], y: &mut [f32]) {
        for ((y, &x), &slope) in y.iter_mut().zip(x).zip(slope) {
            *y = math::leaky_relu(x, slope);
        }
    }

    fn leak_backward(x: &[f32], slope: &[f32], dy: &[f32], dx: &mut [f32]) {
        for (((dx, &x), &slope), dy) in dx.iter_mut().zip(x).zip(slope).zip(dy) {
            *dx = dy * math::leaky_relu_derivative(x, slope);
        }
    }
}
