//! Convolutions: by products of the pixels that a kernel's positions see, or with fewer products where the shape allows it.

pub(super) mod upsample;
pub(super) mod winograd;

use crate::cpu::{
    Cpu, Param, Tensor,
    conv::winograd::Plan,
    gemm::{Epilogue, Gather, outer::gather_outer},
};
use crate::{Conv2d, Result, Shape, op_shapes};

/// Which pixels a convolution connects: `(B, H, W, ·)` to `(B, H', W', ·)`.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    input: [usize; 2],
    output: [usize; 2],
    kernel: [usize; 2],
    options: Conv2d,
}

/// The input pixels that an output pixel reads.
pub(super) struct Inputs(pub(super) Geometry);

/// The output pixels that read an input pixel.
pub(super) struct Outputs(pub(super) Geometry);

impl Geometry {
    pub(super) fn new(input: Shape, output: Shape, kernel: [usize; 2], options: Conv2d) -> Self {
        Self { input: [input[1], input[2]], output: [output[1], output[2]], kernel, options }
    }

    /// Calls `place(tap, y, x)` for the kernel positions where both coordinates exist.
    #[inline]
    fn visit(
        &self,
        y: impl Fn(usize) -> Option<usize>,
        x: impl Fn(usize) -> Option<usize>,
        mut place: impl FnMut(usize, usize, usize),
    ) {
        let [kh, kw] = self.kernel;
        for ky in 0..kh {
            if let Some(y) = y(ky) {
                for kx in 0..kw {
                    if let Some(x) = x(kx) {
                        place(ky * kw + kx, y, x);
                    }
                }
            }
        }
    }
}

/// Image, line and column of a pixel.
fn position(pixel: usize, [h, w]: [usize; 2]) -> [usize; 3] {
    let line = pixel / w;
    [line / h, line % h, pixel % w]
}

impl Gather for Inputs {
    fn taps(&self) -> usize {
        self.0.kernel[0] * self.0.kernel[1]
    }

    #[inline]
    fn visit(&self, row: usize, mut place: impl FnMut(usize, usize)) {
        let Geometry { input: [h, w], output, options: Conv2d { stride, padding, .. }, .. } = self.0;
        let [b, y, x] = position(row, output);
        let along = |at: usize, k: usize, before: usize, extent: usize| {
            (at * stride + k).checked_sub(before).filter(|&i| i < extent)
        };
        self.0.visit(
            |ky| along(y, ky, padding.top, h),
            |kx| along(x, kx, padding.left, w),
            |tap, y, x| place(tap, (b * h + y) * w + x),
        );
    }
}

impl Gather for Outputs {
    fn taps(&self) -> usize {
        self.0.kernel[0] * self.0.kernel[1]
    }

    #[inline]
    fn visit(&self, row: usize, mut place: impl FnMut(usize, usize)) {
        let Geometry { input, output: [h, w], options: Conv2d { stride, padding, .. }, .. } = self.0;
        let [b, y, x] = position(row, input);
        let along = |at: usize, k: usize, extent: usize| {
            let distance = at.checked_sub(k)?;
            (distance.is_multiple_of(stride) && distance / stride < extent).then_some(distance / stride)
        };
        self.0.visit(
            |ky| along(y + padding.top, ky, h),
            |kx| along(x + padding.left, kx, w),
            |tap, y, x| place(tap, (b * h + y) * w + x),
        );
    }
}

impl Cpu {
    pub(in crate::cpu) fn convolve(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        residual: Option<&Tensor>,
        options: Conv2d,
        shape: Shape,
    ) -> Result<Tensor> {
        let [kh, kw, ..] = op_shapes::picture("conv2d", "weight", weight.shape())?;
        let epilogue = Epilogue::new("conv2d", bias, residual, options.activation)?;
        let weight = &weight.weight("conv2d")?.packed;
        if let Some(plan) =
            Plan::new(self, (weight.format.arithmetic, weight.channels), [x.shape(), shape], [kh, kw], options)
        {
            let x = x.elements()?;
            return self.make(shape, |y| self.convolve_tiles(&plan, weight, x, y, epilogue));
        }
        let inputs = Inputs(Geometry::new(x.shape(), shape, [kh, kw], options));
        let x = self.operands(x, weight.format.arithmetic)?;
        self.make(shape, |y| self.gather_multiply(weight, &inputs, &x, shape.rows(), y.share(), epilogue))
    }

    pub(in crate::cpu) fn convolve_backward_input(
        &self,
        dy: &Tensor,
        weight: &Param,
        input: Shape,
        options: Conv2d,
    ) -> Result<Tensor> {
        let op = "conv2d_backward_input";
        op_shapes::same(op, "dy", op_shapes::conv2d(input, weight.shape(), &options)?, dy.shape())?;
        let [kh, kw, _, _] = op_shapes::picture(op, "weight", weight.shape())?;
        let weight = weight.weight(op)?.transposed(self, op)?;
        if let Some(plan) =
            Plan::backward(self, (weight.format.arithmetic, weight.channels), [dy.shape(), input], [kh, kw], options)
        {
            let (dy, epilogue) = (dy.elements()?, Epilogue::default());
            return self.make(input, |dx| self.convolve_tiles(&plan, weight, dy, dx, epilogue));
        }
        let outputs = Outputs(Geometry::new(input, dy.shape(), [kh, kw], options));
        let dy = self.operands(dy, weight.format.arithmetic)?;
        self.make(input, |dx| {
            self.gather_multiply(weight, &outputs, &dy, input.rows(), dx.share(), Epilogue::default())
        })
    }

    pub(in crate::cpu) fn convolve_backward_weight(
        &self,
        x: &Tensor,
        dy: &Tensor,
        [kh, kw]: [usize; 2],
        options: Conv2d,
    ) -> Result<Tensor> {
        let op = "conv2d_backward_weight";
        let [_, _, _, channels] = op_shapes::picture(op, "x", x.shape())?;
        let [_, _, _, columns] = op_shapes::picture(op, "dy", dy.shape())?;
        let shape = [kh, kw, channels, columns].into();
        op_shapes::same(op, "dy", op_shapes::conv2d(x.shape(), shape, &options)?, dy.shape())?;
        let inputs = Inputs(Geometry::new(x.shape(), dy.shape(), [kh, kw], options));
        self.make_f32(shape, |dw| gather_outer(self, op, &inputs, [x, dy], dw))
    }
}
