//! Convolution of each channel by itself.

use super::{
    Cpu, Param, Tensor,
    conv::{Geometry, Inputs, Outputs},
    gemm::Gather,
    isa::for_each_isa,
};
use crate::{Conv2d, Result, Shape, op_shapes};

/// Tasks that a weight's gradient is divided into, so that its sums have one order on any number of threads.
const TASKS: usize = 16;

impl Cpu {
    pub(super) fn convolve_depthwise(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        kernel: [usize; 2],
        options: Conv2d,
        shape: Shape,
    ) -> Result<Tensor> {
        let op = "depthwise_conv2d";
        let bias = bias.map(|bias| bias.vector(op)).transpose()?;
        let inputs = Inputs(Geometry::new(x.shape(), shape, kernel, options));
        self.gather_channels(&inputs, x, &self.taps(weight.plain(op)?), bias, shape)
    }

    pub(super) fn convolve_depthwise_backward_input(
        &self,
        dy: &Tensor,
        weight: &Param,
        input: Shape,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Tensor> {
        let op = "depthwise_conv2d_backward_input";
        op_shapes::same(op, "dy", op_shapes::depthwise_conv2d(input, weight.shape(), kernel, &options)?, dy.shape())?;
        let outputs = Outputs(Geometry::new(input, dy.shape(), kernel, options));
        self.gather_channels(&outputs, dy, &self.taps(weight.plain(op)?), None, input)
    }

    pub(super) fn convolve_depthwise_backward_weight(
        &self,
        x: &Tensor,
        dy: &Tensor,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Tensor> {
        let op = "depthwise_conv2d_backward_weight";
        let channels = x.shape().last();
        let shape = Shape::new(&[kernel[0] * kernel[1], channels])?;
        op_shapes::same(op, "dy", op_shapes::depthwise_conv2d(x.shape(), shape, kernel, &options)?, dy.shape())?;
        let inputs = Inputs(Geometry::new(x.shape(), dy.shape(), kernel, options));
        let (x, rows, dy) = (x.f32(op)?, dy.shape().rows(), dy.f32(op)?);
        let per_task = rows.div_ceil(TASKS);
        let parts = self.map_each(rows.div_ceil(per_task), |task| {
            let mut sums = vec![0.0f32; shape.count()];
            for row in task * per_task..rows.min((task + 1) * per_task) {
                let dy = &dy[row * channels..][..channels];
                inputs.visit(row, |tap, from| {
                    let sums = &mut sums[tap * channels..][..channels];
                    multiply_add(self.isa, sums, &x[from * channels..][..channels], dy);
                });
            }
            Ok(sums)
        })?;
        self.make_f32(shape, |dw| {
            dw.fill(0.0);
            parts.iter().for_each(|part| super::gemm::add(self.isa, dw, part));
            Ok(())
        })
    }

    /// A table as floats.
    fn taps(&self, table: &Tensor) -> Vec<f32> {
        let mut scratch = Vec::new();
        table.rows(self.isa, 0, table.shape().rows(), &mut scratch).to_vec()
    }

    /// `y[row] = bias + Σ_tap weight[tap] · x[row at the tap]`, channel by channel.
    fn gather_channels(
        &self,
        gather: &impl Gather,
        x: &Tensor,
        weight: &[f32],
        bias: Option<&[f32]>,
        shape: Shape,
    ) -> Result<Tensor> {
        let channels = shape.last();
        self.make_rows(shape, |[scratch, _], first, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                match bias {
                    Some(bias) => y.copy_from_slice(bias),
                    None => y.fill(0.0),
                }
                gather.visit(first + i, |tap, from| {
                    let x = x.rows(self.isa, from, 1, scratch);
                    multiply_add(self.isa, y, x, &weight[tap * channels..][..channels]);
                });
            }
        })
    }
}

for_each_isa! {
    fn multiply_add(y: &mut [f32], a: &[f32], b: &[f32]) {
        for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
            *y += a * b;
        }
    }
}
