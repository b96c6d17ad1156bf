//! What a pass of the sampler starts from.

use calotype_diffusion::{BatchNoise, Latents, Sampler};

use crate::{Result, mask_blend::MaskBlend, prepare::Overlay};

/// The latents of a pass, and the noise of its steps.
pub(super) struct Start {
    /// Those of an image, scaled; without them a pass starts from noise alone.
    pub(super) init_latents: Option<Latents>,
    /// Unit variance.
    pub(super) start_noise: Latents,
    /// What it is multiplied by where it is added to the latents of an image.
    pub(super) noise_multiplier: f64,
    /// What stays of the image.
    pub(super) blend: Option<MaskBlend>,
    /// What an inpainting model takes beside the latents, `(B, h, w, 1 + C)`.
    pub(super) extra_channels: Option<Vec<f32>>,
    /// What is laid over the result.
    pub(super) overlay: Option<Overlay>,
    /// The noise of the steps.
    pub(super) noise: BatchNoise,
}

impl Start {
    /// The noise at the strength at which it is added to the latents of an image. `extra` is A1111's "Extra noise": so much
    /// is added to that of the first noise level.
    pub(super) fn scaled_noise(&self, sampler: &Sampler, extra: f64) -> Latents {
        let sigma = sampler.noised_level().sigma;
        let factor = self.noise_multiplier * (1.0 + extra / sigma);
        self.start_noise.map(|x| (f64::from(x) * factor) as f32)
    }
}

/// Mean and standard deviation of one image's latents, each `(h, w, C)`, not scaled.
pub(super) struct Posterior {
    pub(super) size: [usize; 2],
    pub(super) mean: Vec<f32>,
    pub(super) deviation: Vec<f32>,
}

impl Posterior {
    /// Of means and log-variances `(1, h, w, 2C)`.
    pub(super) fn new(moments: &Latents) -> Self {
        let [_, h, w, both] = moments.shape();
        let (mut mean, mut deviation) = (Vec::new(), Vec::new());
        for pixel in moments.data().chunks_exact(both.max(1)) {
            let (means, logvars) = pixel.split_at(both / 2);
            mean.extend_from_slice(means);
            deviation.extend(logvars.iter().map(|logvar| (0.5 * logvar).exp()));
        }
        Self { size: [h, w], mean, deviation }
    }

    /// The mean for each of so many images, scaled.
    pub(super) fn mean(&self, images: usize, scaling_factor: f32) -> Vec<f32> {
        self.mean.iter().map(|mean| scaling_factor * mean).collect::<Vec<_>>().repeat(images)
    }

    /// A sample for each image of the batch, scaled; `noise` of unit variance.
    pub(super) fn sample(&self, noise: &Latents, scaling_factor: f32) -> Vec<f32> {
        let one = self.mean.iter().zip(&self.deviation);
        let values = noise.images().flat_map(|noise| noise.iter().zip(one.clone()));
        values.map(|(noise, (mean, deviation))| scaling_factor * (mean + deviation * noise)).collect()
    }
}

/// What an inpainting model takes at each place, `(B, h, w, 1 + C)`: the mask, repeated for each image, and the latents
/// `(B, h, w, C)` of the image that is left.
pub(super) fn inpaint_channels(mask: &[f32], masked_image_latents: &[f32], channels: usize) -> Vec<f32> {
    let rows = masked_image_latents.chunks_exact(channels.max(1)).zip(mask.iter().cycle());
    rows.flat_map(|(latents, &mask)| [&[mask][..], latents].concat()).collect()
}

/// Latents at another size, `[h, w]`.
pub(super) fn resized(latents: &Latents, size: [usize; 2], method: calotype_image::Interpolation) -> Result<Latents> {
    let [batch, channels, h, w] = latents.shape_nchw();
    let resized = calotype_image::interpolate(&latents.to_nchw(), [h, w], size, method);
    Ok(Latents::from_nchw([batch, channels, size[0], size[1]], &resized)?)
}
