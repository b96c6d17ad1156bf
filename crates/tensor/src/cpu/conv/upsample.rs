//! A 3×3 convolution of a picture whose pixels are doubled, as four 2×2 convolutions of the picture itself: the pixels of
//! the result at even and odd lines and columns each see two lines and two columns, where the taps that fall together are added up.

use crate::cpu::{
    Cpu, Param, Tensor,
    gemm::{
        Epilogue, Gather,
        packed::{Format, Packed},
    },
};
use crate::{Activation, ParamData, Result, Shape, backend::upsample_then_conv2d, op_shapes};

/// The kernel lines (or columns) that read the first and the second source line of a result's line, even and odd.
const TAPS: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];

/// Kernels that are read from a file at a time.
const AT_ONCE: usize = 512;

/// The source pixels of the result's pixels at one parity: source line `y` of `(h, w)` gives line `2y + parity`.
struct Subpixel {
    /// Of the source.
    size: [usize; 2],
    /// Of line and column of the result.
    parity: [usize; 2],
}

impl Gather for Subpixel {
    fn taps(&self) -> usize {
        4
    }

    #[inline]
    fn visit(&self, row: usize, mut place: impl FnMut(usize, usize)) {
        let [h, w] = self.size;
        let (line, x) = (row / w, row % w);
        // The first tap of an even line lies one line above, that of an odd one on the line.
        let source = |at: usize, parity: usize, tap: usize, extent: usize| {
            (at + parity + tap).checked_sub(1).filter(|&at| at < extent)
        };
        for ky in 0..2 {
            if let Some(y) = source(line % h, self.parity[0], ky, h) {
                for kx in 0..2 {
                    if let Some(x) = source(x, self.parity[1], kx, w) {
                        place(ky * 2 + kx, (line / h * h + y) * w + x);
                    }
                }
            }
        }
    }

    #[inline]
    fn target(&self, row: usize) -> usize {
        let [h, w] = self.size;
        let (line, x) = (row / w, row % w);
        let y = line / h * 2 * h + 2 * (line % h) + self.parity[0];
        y * 2 * w + 2 * x + self.parity[1]
    }
}

/// The four kernels, `[2 · line parity + column parity]`.
pub(in crate::cpu) type SubpixelKernels = [Packed; 4];

impl Packed {
    /// The four kernels of a 3×3 one that is kept in `f32`.
    pub(in crate::cpu) fn subpixel_kernels(&self, cpu: &Cpu, format: Format) -> Result<SubpixelKernels> {
        debug_assert!(self.taps == 9);
        let kernel = |parity: usize| {
            let (lines, columns) = (TAPS[parity / 2], TAPS[parity % 2]);
            let shape = [4, self.channels, self.columns];
            Self::new(cpu, format, shape, |tap, channel, n, row| {
                row.fill(0.0);
                for ky in lines[tap / 2] {
                    for kx in columns[tap % 2] {
                        let from = self.row(ky * 3 + kx, channel, n);
                        row.iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
                    }
                }
            })
        };
        Ok([kernel(0)?, kernel(1)?, kernel(2)?, kernel(3)?])
    }
}

/// The four kernels of a 3×3 one in the layout of files.
pub(in crate::cpu) fn load_subpixel_kernels(
    cpu: &Cpu,
    format: Format,
    [_, channels, columns]: [usize; 3],
    data: &dyn ParamData,
) -> Result<SubpixelKernels> {
    let load = |parity| Packed::load(cpu, format, [4, channels, columns], &FileKernel { data, parity });
    Ok([load(0)?, load(1)?, load(2)?, load(3)?])
}

/// One of the four kernels, `(O, I, 2, 2)`, of a 3×3 one `(O, I, 3, 3)`.
struct FileKernel<'a> {
    data: &'a dyn ParamData,
    parity: usize,
}

impl ParamData for FileKernel<'_> {
    fn count(&self) -> usize {
        self.data.count() / 9 * 4
    }

    fn read(&self, start: usize, to: &mut [f32]) -> Result<()> {
        let (lines, columns) = (TAPS[self.parity / 2], TAPS[self.parity % 2]);
        let end = (start + to.len()).div_ceil(4);
        let mut kernels = vec![0.0; 9 * AT_ONCE.min(end - start / 4)];
        for first in (start / 4..end).step_by(AT_ONCE) {
            let kernels = &mut kernels[..9 * AT_ONCE.min(end - first)];
            self.data.read(9 * first, kernels)?;
            for (i, kernel) in kernels.chunks_exact(9).enumerate() {
                for tap in 0..4 {
                    let taps = lines[tap / 2].iter().flat_map(|ky| columns[tap % 2].iter().map(move |kx| ky * 3 + kx));
                    if let Some(to) = (4 * (first + i) + tap).checked_sub(start).and_then(|at| to.get_mut(at)) {
                        *to = taps.fold(0.0, |sum, from| sum + kernel[from]);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Cpu {
    pub(in crate::cpu) fn convolve_upsampled(
        &self,
        x: &Tensor,
        weight: &Param,
        bias: Option<&Param>,
        shape: Shape,
    ) -> Result<Tensor> {
        let op = "upsample_conv2d";
        let Some(kernels) = weight.subpixel_kernels(self)? else {
            return upsample_then_conv2d(self, x, weight, bias);
        };
        let epilogue = Epilogue::new(op, bias, None, Activation::None)?;
        let [_, h, w, _] = op_shapes::picture(op, "x", x.shape())?;
        let rows = x.shape().rows();
        let x = self.operands(x, kernels[0].format.arithmetic)?;
        self.make(shape, |y| {
            let y = y.share();
            kernels.iter().enumerate().try_for_each(|(i, kernel)| {
                let gather = Subpixel { size: [h, w], parity: [i / 2, i % 2] };
                self.gather_multiply(kernel, &gather, &x, rows, y, epilogue)
            })
        })
    }
}
