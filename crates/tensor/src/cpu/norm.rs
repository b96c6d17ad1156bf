//! Group and layer normalisation, with their gradients.

use super::{Cpu, Param, Tensor, buffer::Buffer, isa::for_each_isa, math, parallel::Shared};
use crate::{Activation, Result, infer};

/// Elements of a picture that one task walks over.
const CHUNK: usize = 1 << 15;
/// Rows that are summed in single precision before the sum goes to double.
const RUN: usize = 32;

/// The mean and the reciprocal standard deviation that each channel of each image is normalised with, `(B, C)` each.
struct Statistics {
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

/// `(B, H·W, C)` divided into tasks of whole rows.
struct Chunks {
    per_image: usize,
    rows: usize,
    pixels: usize,
    channels: usize,
}

impl Chunks {
    fn new(pixels: usize, channels: usize) -> Self {
        let rows = (CHUNK / channels.max(1)).clamp(1, pixels.max(1));
        Self { per_image: pixels.div_ceil(rows), rows, pixels, channels }
    }

    /// The image of a task, and its elements.
    fn range(&self, task: usize) -> (usize, std::ops::Range<usize>) {
        let (image, part) = (task / self.per_image, task % self.per_image);
        let row = |part: usize| (image * self.pixels + (part * self.rows).min(self.pixels)) * self.channels;
        (image, row(part)..row(part + 1))
    }
}

impl Cpu {
    /// Per image, sums over pixels of what `sum(elements, image, sums)` adds to `channels · terms` sums, in a fixed order.
    fn sum_images(
        &self,
        [batch, pixels, channels]: [usize; 3],
        terms: usize,
        sum: impl Fn(std::ops::Range<usize>, usize, &mut [f64]) + Sync,
    ) -> Vec<f64> {
        let chunks = Chunks::new(pixels, channels);
        let width = channels * terms;
        let tasks = batch * chunks.per_image;
        let parts: Vec<std::sync::Mutex<Vec<f64>>> = (0..tasks).map(|_| std::sync::Mutex::default()).collect();
        self.threads.each(tasks, |task| {
            let (image, range) = chunks.range(task);
            let mut sums = vec![0.0; width];
            sum(range, image, &mut sums);
            *parts[task].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = sums;
        });
        let mut totals = vec![0.0; batch * width];
        for (task, part) in parts.into_iter().enumerate() {
            let part = part.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (total, x) in totals[task / chunks.per_image * width..][..width].iter_mut().zip(part) {
                *total += x;
            }
        }
        totals
    }

    fn group_statistics(&self, x: &Tensor, extents: [usize; 3], groups: usize, eps: f32) -> Statistics {
        let [batch, pixels, channels] = extents;
        let size = channels / groups;
        let count = (pixels * size) as f64;
        let by_group =
            |sums: &[f64]| -> Vec<f64> { sums.chunks_exact(size).map(|s| s.iter().sum::<f64>() / count).collect() };
        let spread = |per_group: Vec<f32>| -> Vec<f32> {
            per_group.iter().flat_map(|&x| std::iter::repeat_n(x, size)).collect()
        };
        let sums = self.sum_images(extents, 1, |range, _, sums| sum_channels(self.isa, &x.data()[range], sums));
        let mean = spread(by_group(&sums).into_iter().map(|m| m as f32).collect());
        let squares = self.sum_images(extents, 1, |range, image, sums| {
            sum_squares(self.isa, &x.data()[range], &mean[image * channels..][..channels], sums);
        });
        let rstd = spread(by_group(&squares).into_iter().map(|v| (1.0 / (v + f64::from(eps)).sqrt()) as f32).collect());
        debug_assert_eq!(rstd.len(), batch * channels);
        Statistics { mean, rstd }
    }

    pub(super) fn normalise_groups(
        &self,
        x: &Tensor,
        gamma: &Param,
        beta: &Param,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Tensor> {
        let op = "group_norm";
        let extents = infer::group_norm(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
        let [batch, pixels, channels] = extents;
        let silu = activation == Activation::Silu;
        let (gamma, beta) = (gamma.plain(op)?, beta.plain(op)?);
        let statistics = self.group_statistics(x, extents, groups, eps);
        let chunks = Chunks::new(pixels, channels);
        Ok(self.make(x.shape(), |y| {
            let y = Shared::new(y);
            self.threads.each(batch * chunks.per_image, |task| {
                let (image, range) = chunks.range(task);
                let mean = &statistics.mean[image * channels..][..channels];
                let scale: Vec<f32> =
                    statistics.rstd[image * channels..].iter().zip(gamma).map(|(rstd, gamma)| rstd * gamma).collect();
                // SAFETY: ranges of tasks do not overlap.
                let y = unsafe { y.slice(range.start, range.len()) };
                scale_and_shift(self.isa, &x.data()[range], [mean, &scale, beta], silu, y);
            });
        }))
    }

    pub(super) fn normalise_groups_backward(
        &self,
        x: &Tensor,
        gamma: &Param,
        beta: &Param,
        dy: &Tensor,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<[Tensor; 3]> {
        let op = "group_norm_backward";
        let extents = infer::group_norm(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
        let [batch, pixels, channels] = extents;
        infer::same(op, "dy", x.shape(), dy.shape())?;
        let silu = activation == Activation::Silu;
        let (gamma, beta) = (gamma.plain(op)?, beta.plain(op)?);
        let statistics = self.group_statistics(x, extents, groups, eps);
        let of_image = |image: usize| {
            let range = image * channels..(image + 1) * channels;
            (&statistics.mean[range.clone()], &statistics.rstd[range])
        };
        // Per image and channel: Σ dz, then Σ dz · x̂, where z is what the activation is applied to.
        let sums = self.sum_images(extents, 2, |range, image, sums| {
            let (mean, rstd) = of_image(image);
            norm_sums(self.isa, &x.data()[range.clone()], &dy.data()[range], [mean, rstd, gamma, beta], silu, sums);
        });
        let size = channels / groups;
        let count = (pixels * size) as f64;
        let mut means = vec![[0.0f32; 2]; batch * groups];
        for (group, means) in means.iter_mut().enumerate() {
            let (image, first) = (group / groups, group % groups * size);
            for (term, mean) in means.iter_mut().enumerate() {
                let sums = &sums[image * 2 * channels + term * channels..][..channels];
                *mean = ((first..first + size).map(|c| sums[c] * f64::from(gamma[c])).sum::<f64>() / count) as f32;
            }
        }
        let total = |term: usize| -> Vec<f32> {
            (0..channels).map(|c| (0..batch).map(|b| sums[(b * 2 + term) * channels + c]).sum::<f64>() as f32).collect()
        };
        let chunks = Chunks::new(pixels, channels);
        let dx = self.make(x.shape(), |dx| {
            let dx = Shared::new(dx);
            self.threads.each(batch * chunks.per_image, |task| {
                let (image, range) = chunks.range(task);
                let (mean, rstd) = of_image(image);
                let spread = |term: usize| -> Vec<f32> {
                    (0..channels).map(|c| means[image * groups + c / size][term]).collect()
                };
                // SAFETY: ranges of tasks do not overlap.
                let dx = unsafe { dx.slice(range.start, range.len()) };
                norm_backward(
                    self.isa,
                    &x.data()[range.clone()],
                    &dy.data()[range],
                    [mean, rstd, gamma, beta],
                    [&spread(0), &spread(1)],
                    silu,
                    dx,
                );
            });
        });
        let vector = |v: Vec<f32>| self.make([channels].into(), |to| to.copy_from_slice(&v));
        Ok([dx, vector(total(1)), vector(total(0))])
    }

    pub(super) fn normalise_layers(&self, x: &Tensor, gamma: &Param, beta: &Param, eps: f32) -> Result<Tensor> {
        let op = "layer_norm";
        let channels = x.shape().last();
        infer::vector(op, "gamma", channels, gamma.shape())?;
        infer::vector(op, "beta", channels, beta.shape())?;
        let (gamma, beta) = (gamma.plain(op)?, beta.plain(op)?);
        let rows = (CHUNK / channels.max(1)).max(1);
        Ok(self.make(x.shape(), |y| {
            self.threads.chunks(y, rows * channels, |start, y| {
                for (y, x) in y.chunks_exact_mut(channels).zip(x.data()[start..].chunks_exact(channels)) {
                    let (mean, rstd) = row_statistics(self.isa, x, eps);
                    scale_row(self.isa, x, mean, rstd, gamma, beta, y);
                }
            });
        }))
    }

    pub(super) fn normalise_layers_backward(
        &self,
        x: &Tensor,
        gamma: &Param,
        dy: &Tensor,
        eps: f32,
    ) -> Result<[Tensor; 3]> {
        let op = "layer_norm_backward";
        let channels = x.shape().last();
        infer::vector(op, "gamma", channels, gamma.shape())?;
        infer::same(op, "dy", x.shape(), dy.shape())?;
        let gamma = gamma.plain(op)?;
        let rows = x.shape().rows();
        let mut dx = self.buffer(x.shape().count());
        let out = Shared::new(dx.as_mut());
        // All rows as one image: the sums for gamma and beta go the same fixed way.
        let sums = self.sum_images([1, rows, channels], 2, |range, _, sums| {
            // SAFETY: ranges of tasks do not overlap.
            let dx = unsafe { out.slice(range.start, range.len()) };
            let (dbeta, dgamma) = sums.split_at_mut(channels);
            let rows = x.data()[range.clone()].chunks_exact(channels).zip(dy.data()[range].chunks_exact(channels));
            for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(channels)) {
                let (mean, rstd) = row_statistics(self.isa, x, eps);
                row_backward(self.isa, x, dy, mean, rstd, gamma, dx, dgamma, dbeta);
            }
        });
        let vector =
            |v: &[f64]| self.make([channels].into(), |to| to.iter_mut().zip(v).for_each(|(to, &x)| *to = x as f32));
        Ok([Tensor::new(x.shape(), dx), vector(&sums[channels..]), vector(&sums[..channels])])
    }

    /// Sums over pixels: `(B, pixels, C)` to `(B, C)`.
    pub(super) fn sum_channels(&self, x: &Tensor, extents: [usize; 3]) -> Buffer {
        let sums = self.sum_images(extents, 1, |range, _, sums| sum_channels(self.isa, &x.data()[range], sums));
        let mut out = self.buffer(sums.len());
        out.as_mut().iter_mut().zip(sums).for_each(|(to, x)| *to = x as f32);
        out
    }
}

for_each_isa! {
    /// Adds the rows of `x` to `sums`.
    fn sum_channels(x: &[f32], sums: &mut [f64]) {
        let channels = sums.len();
        let mut run = vec![0.0f32; channels];
        for rows in x.chunks(RUN * channels) {
            run.fill(0.0);
            for row in rows.chunks_exact(channels) {
                for (sum, x) in run.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            for (sum, x) in sums.iter_mut().zip(&run) {
                *sum += f64::from(*x);
            }
        }
    }

    /// Adds the squares of `x - mean` to `sums`.
    fn sum_squares(x: &[f32], mean: &[f32], sums: &mut [f64]) {
        let channels = sums.len();
        let mut run = vec![0.0f32; channels];
        for rows in x.chunks(RUN * channels) {
            run.fill(0.0);
            for row in rows.chunks_exact(channels) {
                for ((sum, x), m) in run.iter_mut().zip(row).zip(mean) {
                    *sum += (x - m) * (x - m);
                }
            }
            for (sum, x) in sums.iter_mut().zip(&run) {
                *sum += f64::from(*x);
            }
        }
    }

    /// `silu((x - mean) · scale + beta)` by channel.
    fn scale_and_shift(x: &[f32], parameters: [&[f32]; 3], silu: bool, y: &mut [f32]) {
        let [mean, scale, beta] = parameters;
        let channels = mean.len();
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for ((((y, x), m), s), b) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(beta) {
                *y = (x - m) * s + b;
            }
            if silu {
                y.iter_mut().for_each(|y| *y = math::swish(*y, 1.0));
            }
        }
    }

    /// Adds `dz` to the first half of `sums` and `dz · x̂` to the second.
    fn norm_sums(x: &[f32], dy: &[f32], parameters: [&[f32]; 4], silu: bool, sums: &mut [f64]) {
        let [mean, rstd, gamma, beta] = parameters;
        let channels = mean.len();
        let mut run = vec![0.0f32; 2 * channels];
        for (xs, dys) in x.chunks(RUN * channels).zip(dy.chunks(RUN * channels)) {
            run.fill(0.0);
            let (plain, weighted) = run.split_at_mut(channels);
            for (x, dy) in xs.chunks_exact(channels).zip(dys.chunks_exact(channels)) {
                for c in 0..channels.min(x.len()).min(dy.len()).min(rstd.len()).min(gamma.len()).min(beta.len()).min(plain.len()).min(weighted.len()) {
                    let normal = (x[c] - mean[c]) * rstd[c];
                    let dz = if silu { dy[c] * math::swish_derivative(gamma[c] * normal + beta[c], 1.0) } else { dy[c] };
                    plain[c] += dz;
                    weighted[c] += dz * normal;
                }
            }
            for (sum, x) in sums.iter_mut().zip(&run) {
                *sum += f64::from(*x);
            }
        }
    }

    /// `dx = rstd (γ dz - mean(γ dz) - x̂ · mean(γ dz x̂))`.
    fn norm_backward(x: &[f32], dy: &[f32], parameters: [&[f32]; 4], means: [&[f32]; 2], silu: bool, dx: &mut [f32]) {
        let [mean, rstd, gamma, beta] = parameters;
        let [plain, weighted] = means;
        let channels = mean.len();
        for ((x, dy), dx) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)).zip(dx.chunks_exact_mut(channels)) {
            for c in 0..channels.min(x.len()).min(dy.len()).min(dx.len()).min(rstd.len()).min(gamma.len()).min(beta.len()).min(plain.len()).min(weighted.len()) {
                let normal = (x[c] - mean[c]) * rstd[c];
                let dz = if silu { dy[c] * math::swish_derivative(gamma[c] * normal + beta[c], 1.0) } else { dy[c] };
                dx[c] = rstd[c] * (gamma[c] * dz - plain[c] - normal * weighted[c]);
            }
        }
    }

    /// The mean and the reciprocal standard deviation of a row.
    fn row_statistics(x: &[f32], eps: f32) -> (f32, f32) {
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

    /// The gradient of one row, and what it adds to those of gamma and beta.
    fn row_backward(x: &[f32], dy: &[f32], mean: f32, rstd: f32, gamma: &[f32], dx: &mut [f32], dgamma: &mut [f64], dbeta: &mut [f64]) {
        const LANES: usize = 16;
        let count = x.len() as f32;
        let (mut plain, mut weighted) = ([0.0f32; LANES], [0.0f32; LANES]);
        for ((x, dy), g) in x.chunks(LANES).zip(dy.chunks(LANES)).zip(gamma.chunks(LANES)) {
            for (i, ((x, dy), g)) in x.iter().zip(dy).zip(g).enumerate() {
                plain[i % LANES] += g * dy;
                weighted[i % LANES] += g * dy * ((x - mean) * rstd);
            }
        }
        let plain = plain.iter().sum::<f32>() / count;
        let weighted = weighted.iter().sum::<f32>() / count;
        for ((((dx, x), dy), g), (dg, db)) in dx.iter_mut().zip(x).zip(dy).zip(gamma).zip(dgamma.iter_mut().zip(dbeta)) {
            let normal = (x - mean) * rstd;
            *dx = rstd * (g * dy - plain - normal * weighted);
            *dg += f64::from(dy * normal);
            *db += f64::from(*dy);
        }
    }
}
