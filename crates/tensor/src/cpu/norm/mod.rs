//! Group and layer normalisation, and rows of length 1.

mod backward;

use crate::cpu::{Cpu, Param, Tensor, elementwise::CHUNK, isa::for_each_isa, math};
use crate::{Activation, Result, op_shapes};

/// The mean and the reciprocal standard deviation that each channel of each image is normalised with, `(B, C)` each.
pub(in crate::cpu) struct Statistics {
    pub(in crate::cpu) mean: Vec<f32>,
    pub(in crate::cpu) rstd: Vec<f32>,
}

/// `(B, H·W, C)` divided into tasks of whole rows.
pub(in crate::cpu) struct Chunks {
    pub(in crate::cpu) per_image: usize,
    rows: usize,
    pixels: usize,
    channels: usize,
}

impl Chunks {
    pub(in crate::cpu) fn new(pixels: usize, channels: usize) -> Self {
        let rows = (CHUNK / channels.max(1)).clamp(1, pixels.max(1));
        Self { per_image: pixels.div_ceil(rows), rows, pixels, channels }
    }

    /// The image of a task, and its elements.
    pub(in crate::cpu) fn range(&self, task: usize) -> (usize, std::ops::Range<usize>) {
        let (image, part) = (task / self.per_image, task % self.per_image);
        let row = |part: usize| (image * self.pixels + (part * self.rows).min(self.pixels)) * self.channels;
        (image, row(part)..row(part + 1))
    }
}

impl Cpu {
    /// The statistics of each group, by channel, in one walk: each task finds the mean of its part and the squares about that, which are
    /// then joined in a fixed order (Chan, Golub & LeVeque 1983, equation 2.1), so that no digits are lost where the mean is large.
    pub(in crate::cpu) fn group_statistics(
        &self,
        x: &Tensor,
        extents: [usize; 3],
        groups: usize,
        eps: f32,
    ) -> Result<Statistics> {
        let [batch, pixels, channels] = extents;
        let size = channels / groups;
        let chunks = Chunks::new(pixels, channels);
        let tasks = batch * chunks.per_image;
        let parts = self.map_each(tasks, |task| {
            let (_, range) = chunks.range(task);
            let mut scratch = Vec::new();
            let x = x.rows(self.isa, range.start / channels, range.len() / channels, &mut scratch);
            let mut moments = vec![Moments::default(); groups];
            chunk_moments(self.isa, x, channels, &mut moments);
            Ok(moments)
        })?;
        let mut totals = vec![Moments::default(); batch * groups];
        for (task, part) in parts.into_iter().enumerate() {
            let totals = &mut totals[task / chunks.per_image * groups..][..groups];
            totals.iter_mut().zip(part).for_each(|(total, part)| total.join(part));
        }
        let spread = |value: &dyn Fn(&Moments) -> f64| -> Vec<f32> {
            totals.iter().flat_map(|total| std::iter::repeat_n(value(total) as f32, size)).collect()
        };
        Ok(Statistics {
            mean: spread(&|total| total.mean),
            rstd: spread(&|total| 1.0 / (total.squares / total.count + f64::from(eps)).sqrt()),
        })
    }

    pub(in crate::cpu) fn normalise_groups(
        &self,
        x: &Tensor,
        gamma: &Param,
        beta: &Param,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Tensor> {
        let op = "group_norm";
        let extents = op_shapes::group_norm(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
        let [_, pixels, channels] = extents;
        let silu = activation == Activation::Silu;
        let (gamma, beta) = (gamma.vector(op)?, beta.vector(op)?);
        let Statistics { mean, rstd } = self.group_statistics(x, extents, groups, eps)?;
        let scale: Vec<f32> =
            rstd.chunks_exact(channels).flat_map(|rstd| rstd.iter().zip(gamma).map(|(r, g)| r * g)).collect();
        self.make_rows(x.shape(), |[scratch, _], pixel, y| {
            let x = x.rows(self.isa, pixel, y.len() / channels, scratch);
            for (i, (y, x)) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)).enumerate() {
                let image = (pixel + i) / pixels * channels;
                let parameters = [&mean[image..][..channels], &scale[image..][..channels], beta];
                scale_and_shift(self.isa, x, parameters, silu, y);
            }
        })
    }

    pub(in crate::cpu) fn normalise_layers(&self, x: &Tensor, gamma: &Param, beta: &Param, eps: f32) -> Result<Tensor> {
        let op = "layer_norm";
        let (gamma, beta) = (gamma.vector(op)?, beta.vector(op)?);
        self.map_rows(x, x.shape().last(), |x, y| {
            let (mean, rstd) = row_statistics(self.isa, x, eps);
            scale_row(self.isa, x, mean, rstd, gamma, beta, y);
        })
    }
}

impl Cpu {
    pub(super) fn normalise_rows(&self, x: &Tensor, eps: f32) -> Result<Tensor> {
        self.map_rows(x, x.shape().last(), |x, y| scale_to_unit(self.isa, x, eps, y))
    }

    pub(super) fn normalise_rows_backward(&self, x: &Tensor, dy: &Tensor, eps: f32) -> Result<Tensor> {
        op_shapes::same("unit_rows_backward", "dy", x.shape(), dy.shape())?;
        let columns = x.shape().last();
        self.make_rows(x.shape(), |[scratch_x, scratch_dy], row, dx| {
            let count = dx.len() / columns;
            let x = x.rows(self.isa, row, count, scratch_x);
            let dy = dy.rows(self.isa, row, count, scratch_dy);
            for ((dx, x), dy) in dx.chunks_exact_mut(columns).zip(x.chunks_exact(columns)).zip(dy.chunks_exact(columns))
            {
                scale_to_unit_backward(self.isa, x, dy, eps, dx);
            }
        })
    }
}

/// How many elements there are, their mean, and the sum of the squares of their distances from it.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn join(&mut self, other: Self) {
        let count = self.count + other.count;
        if count == 0.0 {
            return;
        }
        let distance = other.mean - self.mean;
        self.squares += other.squares + distance * distance * self.count * other.count / count;
        self.mean += distance * other.count / count;
        self.count = count;
    }
}

for_each_isa! {
    /// The moments of each group of channels over the rows of `x`.
    fn chunk_moments(x: &[f32], channels: usize, moments: &mut [Moments]) {
        let size = channels / moments.len();
        let rows = x.len() / channels;
        let count = (rows * size) as f64;
        let mut sums = vec![0.0f32; channels];
        for row in x.chunks_exact(channels) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        let mut means = vec![0.0f32; channels];
        for (moments, (sums, means)) in moments.iter_mut().zip(sums.chunks_exact(size).zip(means.chunks_exact_mut(size))) {
            let mean = (sums.iter().map(|&x| f64::from(x)).sum::<f64>() / count) as f32;
            means.fill(mean);
            *moments = Moments { count, mean: f64::from(mean), squares: 0.0 };
        }
        sums.fill(0.0);
        let mut squares = vec![0.0f32; channels];
        for row in x.chunks_exact(channels) {
            for (((sum, square), x), mean) in sums.iter_mut().zip(&mut squares).zip(row).zip(&means) {
                let distance = x - mean;
                *sum += distance;
                *square += distance * distance;
            }
        }
        // The mean was rounded: what the distances sum to is what it is off by.
        for (moments, (sums, squares)) in moments.iter_mut().zip(sums.chunks_exact(size).zip(squares.chunks_exact(size))) {
            let off = sums.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            moments.squares = squares.iter().map(|&x| f64::from(x)).sum::<f64>() - off * off * count;
            moments.mean += off;
        }
    }

    /// `silu((x - mean) · scale + beta)` of a pixel.
    fn scale_and_shift(x: &[f32], parameters: [&[f32]; 3], silu: bool, y: &mut [f32]) {
        let [mean, scale, beta] = parameters;
        for ((((y, x), m), s), b) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(beta) {
            *y = (x - m) * s + b;
        }
        if silu {
            y.iter_mut().for_each(|y| *y = math::swish(*y, 1.0));
        }
    }

    /// `x / (‖x‖ + eps)`.
    fn scale_to_unit(x: &[f32], eps: f32, y: &mut [f32]) {
        let scale = 1.0 / (dot(x, x).sqrt() + eps);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
    }

    /// `(dy - x (x · dy) / (‖x‖ (‖x‖ + eps))) / (‖x‖ + eps)`.
    fn scale_to_unit_backward(x: &[f32], dy: &[f32], eps: f32, dx: &mut [f32]) {
        let norm = dot(x, x).sqrt();
        let length = norm + eps;
        let back = if norm > 0.0 { dot(x, dy) / (norm * length) } else { 0.0 };
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = (dy - x * back) / length;
        }
    }

    /// The mean and the reciprocal standard deviation of a row.
    pub(in crate::cpu) fn row_statistics(x: &[f32], eps: f32) -> (f32, f32) {
        const LANES: usize = 16;
        let count = x.len() as f32;
        let mut sums = [0.0f32; LANES];
        for block in x.chunks(LANES) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += x;
            }
        }
        let mean = sums.iter().sum::<f32>() / count;
        let mut sums = [0.0f32; LANES];
        for block in x.chunks(LANES) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += (x - mean) * (x - mean);
            }
        }
        (mean, 1.0 / (sums.iter().sum::<f32>() / count + eps).sqrt())
    }

    /// `γ (x - mean) rstd + β`.
    fn scale_row(x: &[f32], mean: f32, rstd: f32, gamma: &[f32], beta: &[f32], y: &mut [f32]) {
        for (((y, x), g), b) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
            *y = (x - mean) * rstd * g + b;
        }
    }
}

/// `a · b`, in sixteen interleaved sums.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}
