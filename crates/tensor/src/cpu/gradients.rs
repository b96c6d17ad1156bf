//! The derivatives of the op set on the CPU, and the optimiser.

use super::{Cpu, Param, Tensor, elementwise as ew, elementwise::CHUNK, gemm};
use crate::{Activation, AdamW, Attention, Conv2d, Differentiable, Error, ParamKind, Result, Shape, op_shapes};

impl Differentiable for Cpu {
    fn conv2d_backward_input(&self, dy: &Tensor, weight: &Param, input: Shape, options: Conv2d) -> Result<Tensor> {
        self.convolve_backward_input(dy, weight, input, options)
    }

    fn conv2d_backward_weight(&self, x: &Tensor, dy: &Tensor, kernel: [usize; 2], options: Conv2d) -> Result<Tensor> {
        self.convolve_backward_weight(x, dy, kernel, options)
    }

    fn linear_backward_input(&self, dy: &Tensor, weight: &Param) -> Result<Tensor> {
        self.multiply_backward_input(dy, weight)
    }

    fn linear_backward_weight(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        self.multiply_backward_weight(x, dy)
    }

    fn depthwise_conv2d_backward_input(
        &self,
        dy: &Tensor,
        weight: &Param,
        input: Shape,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Tensor> {
        self.convolve_depthwise_backward_input(dy, weight, input, kernel, options)
    }

    fn depthwise_conv2d_backward_weight(
        &self,
        x: &Tensor,
        dy: &Tensor,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Tensor> {
        self.convolve_depthwise_backward_weight(x, dy, kernel, options)
    }

    fn sum_rows(&self, dy: &Tensor) -> Result<Tensor> {
        let shape = dy.shape();
        let extents = [1, shape.rows(), shape.last()];
        self.sum_channels(dy.f32("sum_rows")?, extents, [shape.last()].into())
    }

    fn sum_pixels(&self, dy: &Tensor) -> Result<Tensor> {
        let [b, h, w, c] = op_shapes::picture("sum_pixels", "dy", dy.shape())?;
        self.sum_channels(dy.f32("sum_pixels")?, [b, h * w, c], [b, c].into())
    }

    fn attention_backward(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        dy: &Tensor,
        options: Attention,
    ) -> Result<[Tensor; 3]> {
        self.attend_backward(q, k, v, dy, options)
    }

    fn group_norm_backward(
        &self,
        x: &Tensor,
        gamma: &Param,
        beta: &Param,
        dy: &Tensor,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<[Tensor; 3]> {
        self.normalise_groups_backward(x, gamma, beta, dy, groups, eps, activation)
    }

    fn layer_norm_backward(&self, x: &Tensor, gamma: &Param, dy: &Tensor, eps: f32) -> Result<[Tensor; 3]> {
        self.normalise_layers_backward(x, gamma, dy, eps)
    }

    fn unit_rows_backward(&self, x: &Tensor, dy: &Tensor, eps: f32) -> Result<Tensor> {
        self.normalise_rows_backward(x, dy, eps)
    }

    fn activation_backward(&self, x: &Tensor, dy: &Tensor, activation: Activation) -> Result<Tensor> {
        self.zip("activation_backward", x, dy, |x, dy, dx| ew::activate_backward(self.isa, x, dy, dx, activation))
    }

    fn prelu_backward(&self, x: &Tensor, slope: &Param, dy: &Tensor) -> Result<Tensor> {
        self.prelu_slopes(x, slope, dy)
    }

    fn geglu_backward(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let half = op_shapes::geglu(x.shape())?;
        op_shapes::same("geglu_backward", "dy", half, dy.shape())?;
        let (columns, width) = (half.last(), x.shape().last());
        self.make_rows(x.shape(), |[scratch_x, scratch_dy], row, dx| {
            let rows = dx.len() / width;
            let x = x.rows(self.isa, row, rows, scratch_x);
            let dy = dy.rows(self.isa, row, rows, scratch_dy);
            for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(columns)) {
                ew::gate_backward(self.isa, x, dy, dx);
            }
        })
    }

    fn abs_backward(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        self.zip("abs_backward", x, dy, |x, dy, dx| {
            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = if *x == 0.0 { 0.0 } else { dy * x.signum() };
            }
        })
    }

    fn clamp_backward(&self, x: &Tensor, dy: &Tensor, low: f32, high: f32) -> Result<Tensor> {
        self.zip("clamp_backward", x, dy, |x, dy, dx| {
            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = if (low..=high).contains(x) { *dy } else { 0.0 };
            }
        })
    }

    fn mean_backward(&self, dy: &Tensor, input: Shape) -> Result<Tensor> {
        op_shapes::same("mean_backward", "dy", [1].into(), dy.shape())?;
        let value = (f64::from(dy.f32("mean_backward")?[0]) / input.count() as f64) as f32;
        self.make_f32(input, |dx| {
            dx.fill(value);
            Ok(())
        })
    }

    fn narrow_backward(&self, dy: &Tensor, start: usize, input: Shape) -> Result<Tensor> {
        let length = dy.shape().last();
        op_shapes::same("narrow_backward", "dy", op_shapes::narrow(input, start, length)?, dy.shape())?;
        self.map_rows(dy, input.last(), |dy, dx| {
            dx.fill(0.0);
            dx[start..start + length].copy_from_slice(dy);
        })
    }

    fn upsample_nearest_2x_backward(&self, dy: &Tensor) -> Result<Tensor> {
        let shape = op_shapes::upsample_nearest_2x_backward(dy.shape())?;
        let (line, channels) = (shape[2] * shape[3], shape[3]);
        let dy = dy.f32("upsample_nearest_2x_backward")?;
        self.make_f32(shape, |dx| {
            self.threads.chunks(dx, line, |start, dx| {
                let pair = &dy[start * 4..][..line * 4];
                for half in pair.chunks_exact(2 * line) {
                    let first = std::ptr::eq(half.as_ptr(), pair.as_ptr());
                    for (dx, from) in dx.chunks_exact_mut(channels).zip(half.chunks_exact(2 * channels)) {
                        for (c, dx) in dx.iter_mut().enumerate() {
                            let sum = from[c] + from[channels + c];
                            *dx = if first { sum } else { *dx + sum };
                        }
                    }
                }
            });
            Ok(())
        })
    }

    fn max_pool_2x_backward(&self, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        self.pool_backward(x, dy)
    }

    fn embedding_backward(&self, dy: &Tensor, ids: &[u32], rows: usize) -> Result<Tensor> {
        let op = "embedding_backward";
        let [batch, _, c] = op_shapes::sequence(op, "dy", dy.shape())?;
        op_shapes::same(op, "dy", op_shapes::embedding([rows, c].into(), ids, batch)?, dy.shape())?;
        let dy = dy.f32(op)?;
        self.make_f32([rows, c].into(), |table| {
            table.fill(0.0);
            for (dy, &id) in dy.chunks_exact(c).zip(ids) {
                gemm::add(self.isa, &mut table[id as usize * c..][..c], dy);
            }
            Ok(())
        })
    }

    fn accumulate(&self, into: &mut Tensor, x: &Tensor) -> Result<()> {
        op_shapes::same("accumulate", "x", into.shape(), x.shape())?;
        let x = x.f32("accumulate")?;
        self.update("accumulate", into, |start, y| gemm::add(self.isa, y, &x[start..][..y.len()]))
    }

    fn sum_squares(&self, x: &Tensor) -> Result<f64> {
        self.sum_chunks(x, |x| ew::squares(self.isa, x))
    }

    fn pack(&self, kind: ParamKind, value: &Tensor) -> Result<Param> {
        Param::new(self, kind, value.shape(), value.f32("pack")?)
    }

    fn adamw(&self, value: &mut Tensor, m: &mut Tensor, v: &mut Tensor, gradient: &Tensor, step: &AdamW) -> Result<()> {
        let op = "adamw";
        for (what, shape) in [("m", m.shape()), ("v", v.shape()), ("gradient", gradient.shape())] {
            op_shapes::same(op, what, value.shape(), shape)?;
        }
        if step.step == 0 {
            return Err(Error::Invalid { op, message: "steps count from 1".into() });
        }
        let gradient = gradient.f32(op)?;
        for x in [&mut *value, m, v] {
            self.update(op, x, |_, _| {})?;
        }
        if let (Some(value), Some(m), Some(v)) = (value.f32_mut(), m.f32_mut(), v.f32_mut()) {
            let [m, v] = [m, v].map(super::parallel::Shared::new);
            self.threads.chunks(value, CHUNK, |start, value| {
                let length = value.len();
                // SAFETY: chunks do not overlap.
                let (m, v) = unsafe { (m.slice(start, length), v.slice(start, length)) };
                ew::adamw(self.isa, value, m, v, &gradient[start..][..length], step);
            });
        }
        Ok(())
    }

    fn lerp(&self, average: &mut Tensor, value: &Tensor, weight: f32) -> Result<()> {
        op_shapes::same("lerp", "value", average.shape(), value.shape())?;
        let value = value.f32("lerp")?;
        self.update("lerp", average, |start, y| ew::towards(self.isa, y, &value[start..][..y.len()], weight))
    }
}
