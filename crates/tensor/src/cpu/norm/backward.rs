//! The gradients of group and layer normalisation, in `f32`.

use crate::cpu::{
    Cpu, Param, Tensor,
    isa::for_each_isa,
    math,
    norm::{Chunks, row_statistics},
    parallel::Shared,
};
use crate::{Activation, DType, Result, Shape, op_shapes};

/// Rows that are summed in single precision before the sum goes to double.
const RUN: usize = 32;

impl Cpu {
    /// Per image, sums over pixels of what `sum(elements, image, sums)` adds to `channels · terms` sums, in a fixed order.
    fn sum_images(
        &self,
        [batch, pixels, channels]: [usize; 3],
        terms: usize,
        sum: impl Fn(std::ops::Range<usize>, usize, &mut [f64]) + Sync,
    ) -> Result<Vec<f64>> {
        let chunks = Chunks::new(pixels, channels);
        let width = channels * terms;
        let tasks = batch * chunks.per_image;
        let parts = self.map_each(tasks, |task| {
            let (image, range) = chunks.range(task);
            let mut sums = vec![0.0; width];
            sum(range, image, &mut sums);
            Ok(sums)
        })?;
        let mut totals = vec![0.0; batch * width];
        for (task, part) in parts.into_iter().enumerate() {
            for (total, x) in totals[task / chunks.per_image * width..][..width].iter_mut().zip(part) {
                *total += x;
            }
        }
        Ok(totals)
    }

    pub(in crate::cpu) fn normalise_groups_backward(
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
        let extents = op_shapes::group_norm(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
        let [batch, pixels, channels] = extents;
        op_shapes::same(op, "dy", x.shape(), dy.shape())?;
        let silu = activation == Activation::Silu;
        let (gamma, beta) = (gamma.vector(op)?, beta.vector(op)?);
        let [data, slopes] = [x.f32(op)?, dy.f32(op)?];
        let statistics = self.group_statistics(x, extents, groups, eps)?;
        let of_image = |image: usize| {
            let range = image * channels..(image + 1) * channels;
            (&statistics.mean[range.clone()], &statistics.rstd[range])
        };
        // Per image and channel: Σ dz, then Σ dz · x̂, where z is what the activation is applied to.
        let sums = self.sum_images(extents, 2, |range, image, sums| {
            let (mean, rstd) = of_image(image);
            norm_sums(self.isa, &data[range.clone()], &slopes[range], [mean, rstd, gamma, beta], silu, sums);
        })?;
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
        let dx = self.make_f32(x.shape(), |dx| {
            let dx = Shared::new(dx);
            self.each(batch * chunks.per_image, |task| {
                let (image, range) = chunks.range(task);
                let (mean, rstd) = of_image(image);
                let spread = |term: usize| -> Vec<f32> {
                    (0..channels).map(|c| means[image * groups + c / size][term]).collect()
                };
                // SAFETY: ranges of tasks do not overlap.
                let dx = unsafe { dx.slice(range.start, range.len()) };
                norm_backward(
                    self.isa,
                    &data[range.clone()],
                    &slopes[range],
                    [mean, rstd, gamma, beta],
                    [&spread(0), &spread(1)],
                    silu,
                    dx,
                );
                Ok(())
            })
        })?;
        let vector = |v: Vec<f32>| {
            self.make_f32([channels].into(), |to| {
                to.copy_from_slice(&v);
                Ok(())
            })
        };
        Ok([dx, vector(total(1))?, vector(total(0))?])
    }

    pub(in crate::cpu) fn normalise_layers_backward(
        &self,
        x: &Tensor,
        gamma: &Param,
        dy: &Tensor,
        eps: f32,
    ) -> Result<[Tensor; 3]> {
        let op = "layer_norm_backward";
        let channels = x.shape().last();
        op_shapes::vector(op, "gamma", channels, gamma.shape())?;
        op_shapes::same(op, "dy", x.shape(), dy.shape())?;
        let gamma = gamma.vector(op)?;
        let [data, slopes] = [x.f32(op)?, dy.f32(op)?];
        let rows = x.shape().rows();
        let mut dx = self.buffer::<f32>(x.shape().count())?;
        let out = Shared::new(dx.slice_mut::<f32>());
        // All rows as one image: the sums for gamma and beta go the same fixed way.
        let sums = self.sum_images([1, rows, channels], 2, |range, _, sums| {
            // SAFETY: ranges of tasks do not overlap.
            let dx = unsafe { out.slice(range.start, range.len()) };
            let (dbeta, dgamma) = sums.split_at_mut(channels);
            let rows = data[range.clone()].chunks_exact(channels).zip(slopes[range].chunks_exact(channels));
            for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(channels)) {
                let (mean, rstd) = row_statistics(self.isa, x, eps);
                row_backward(self.isa, x, dy, mean, rstd, gamma, dx, dgamma, dbeta);
            }
        })?;
        let [dgamma, dbeta] = [&sums[channels..], &sums[..channels]].map(|sums| self.narrowed(sums, [channels].into()));
        Ok([Tensor::new(x.shape(), DType::F32, dx), dgamma?, dbeta?])
    }

    /// Sums over pixels: `x (B, pixels, C)` to `shape`, `(B, C)`.
    pub(in crate::cpu) fn sum_channels(&self, x: &[f32], extents: [usize; 3], shape: Shape) -> Result<Tensor> {
        let sums = self.sum_images(extents, 1, |range, _, sums| sum_channels(self.isa, &x[range], sums))?;
        self.narrowed(&sums, shape)
    }

    /// A tensor of sums.
    fn narrowed(&self, sums: &[f64], shape: Shape) -> Result<Tensor> {
        self.make_f32(shape, |to| {
            to.iter_mut().zip(sums).for_each(|(to, &x)| *to = x as f32);
            Ok(())
        })
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
