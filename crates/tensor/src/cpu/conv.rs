use super::{
    Cpu, Param, Tensor,
    gemm::{Epilogue, gather_multiply, gather_outer},
};
use crate::{Conv2d, Result, Shape, infer};

/// Which pixels a convolution connects. `(B, H, W, ·)` to `(B, H', W', ·)`.
struct Geometry {
    input: [usize; 2],
    output: [usize; 2],
    kernel_width: usize,
    options: Conv2d,
}

impl Geometry {
    fn new(input: Shape, output: Shape, kernel_width: usize, options: Conv2d) -> Self {
        Self { input: [input[1], input[2]], output: [output[1], output[2]], kernel_width, options }
    }

    /// The input pixel that kernel position `tap` of output pixel `row` reads, as an index over `(B, H, W)`.
    #[inline]
    fn input_of(&self, row: usize, tap: usize) -> Option<usize> {
        let [h, w] = self.output;
        let (b, y, x) = (row / (h * w), row / w % h, row % w);
        let (ky, kx) = (tap / self.kernel_width, tap % self.kernel_width);
        let p = self.options.padding;
        let y = (y * self.options.stride + ky).checked_sub(p.top).filter(|&y| y < self.input[0])?;
        let x = (x * self.options.stride + kx).checked_sub(p.left).filter(|&x| x < self.input[1])?;
        Some((b * self.input[0] + y) * self.input[1] + x)
    }

    /// The output pixel that reads input pixel `row` at kernel position `tap`.
    #[inline]
    fn output_of(&self, row: usize, tap: usize) -> Option<usize> {
        let [h, w] = self.input;
        let (b, y, x) = (row / (h * w), row / w % h, row % w);
        let (ky, kx) = (tap / self.kernel_width, tap % self.kernel_width);
        let (p, stride) = (self.options.padding, self.options.stride);
        let along = |at: usize, k: usize, extent: usize| {
            let distance = at.checked_sub(k)?;
            (distance.is_multiple_of(stride) && distance / stride < extent).then_some(distance / stride)
        };
        let y = along(y + p.top, ky, self.output[0])?;
        let x = along(x + p.left, kx, self.output[1])?;
        Some((b * self.output[0] + y) * self.output[1] + x)
    }
}

impl Cpu {
    pub(super) fn convolve(&self, x: &Tensor, weight: &Param, bias: Option<&Param>, residual: Option<&Tensor>, options: Conv2d) -> Result<Tensor> {
        let shape = infer::conv2d(x.shape(), weight.shape(), &options)?;
        let [_, kernel_width, channels, columns] = infer::picture("conv2d", "weight", weight.shape())?;
        let epilogue = self.epilogue("conv2d", shape, columns, bias, residual, options.activation)?;
        let weight = weight.weight("conv2d")?;
        let geometry = Geometry::new(x.shape(), shape, kernel_width, options);
        let taps = weight.packed.depth / channels.max(1);
        Ok(self.make(shape, |y| {
            let source = |row, tap| geometry.input_of(row, tap).map(|pixel| &x.data()[pixel * channels..][..channels]);
            gather_multiply(&self.threads, &weight.packed, taps, y, source, epilogue);
        }))
    }

    pub(super) fn convolve_backward_input(&self, dy: &Tensor, weight: &Param, input: Shape, options: Conv2d) -> Result<Tensor> {
        let op = "conv2d_backward_input";
        infer::same(op, "dy", infer::conv2d(input, weight.shape(), &options)?, dy.shape())?;
        let [_, kernel_width, channels, columns] = infer::picture(op, "weight", weight.shape())?;
        let weight = weight.weight(op)?;
        let geometry = Geometry::new(input, dy.shape(), kernel_width, options);
        let taps = weight.packed.depth / channels.max(1);
        Ok(self.make(input, |dx| {
            let source = |row, tap| geometry.output_of(row, tap).map(|pixel| &dy.data()[pixel * columns..][..columns]);
            gather_multiply(&self.threads, weight.transposed(self), taps, dx, source, Epilogue::default());
        }))
    }

    pub(super) fn convolve_backward_weight(&self, x: &Tensor, dy: &Tensor, [kh, kw]: [usize; 2], options: Conv2d) -> Result<Tensor> {
        let op = "conv2d_backward_weight";
        let [_, _, _, channels] = infer::picture(op, "x", x.shape())?;
        let [_, _, _, columns] = infer::picture(op, "dy", dy.shape())?;
        let shape = [kh, kw, channels, columns].into();
        infer::same(op, "dy", infer::conv2d(x.shape(), shape, &options)?, dy.shape())?;
        let geometry = Geometry::new(x.shape(), dy.shape(), kw, options);
        Ok(self.make(shape, |dw| {
            let source = |row, tap| geometry.input_of(row, tap).map(|pixel| &x.data()[pixel * channels..][..channels]);
            gather_outer(self.isa, &self.threads, [kh * kw, channels, columns], dy.data(), dw, source);
        }))
    }
}
