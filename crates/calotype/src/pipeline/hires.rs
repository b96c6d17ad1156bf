//! The start of a second, larger pass (A1111's "hires fix").

use calotype_diffusion::{Batch, Latents};

use super::{
    Pipeline,
    networks::{encode_image, encode_values},
    start::{Posterior, Start, inpaint_channels, resized},
};
use crate::{
    Plan, Result,
    networks::Lease,
    request::SecondPass,
    upscale::{Target, Upscaler},
};

impl Pipeline {
    /// The start of the second pass: the first one's latents enlarged. As in A1111 the seeds' first noise, of the larger
    /// size, is that of the start, and the next the steps'. Where pixels are enlarged, it is by the network of `upscaler` if one is
    /// given.
    pub(super) fn enlarge(
        &self,
        plan: &Plan,
        hires: &SecondPass,
        latents: &Latents,
        upscaler: Option<&Upscaler>,
        lease: &mut Lease,
    ) -> Result<Start> {
        let request = plan.request();
        let (model, wrap) = (self.model(), request.tiling.wrap());
        let vae = model.vae_config();
        let [batch, h, w, channels] = hires.latents_shape;
        let [wide, high] = hires.enlarged;
        let large = [high / vae.downscale(), wide / vae.downscale()];
        let mut noise = plan.batch_noise(model, &hires.sampler, [h, w, channels], Batch::default())?;
        let start_noise = noise.randn();
        let enlarged: Vec<f32> = match hires.interpolation {
            Some(method) => {
                let all = resized(latents, large, method)?;
                all.images().flat_map(|image| middle(image, large, [h, w])).collect()
            }
            None => {
                let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                // Decoded before the encoder is read, so that one of them is in memory at a time.
                let images = self.decode_images(latents, wrap, request.rounding(), lease)?;
                let encoder = self.networks().vae_encoder(lease)?;
                let mut enlarged = Vec::new();
                for image in images {
                    let image = match upscaler {
                        Some(network) => {
                            network.enlarge_to(image, Target::Size([side(wide), side(high)]), &lease.cancel)?
                        }
                        None => hires.upscaler.enlarge(&image, side(wide), side(high))?,
                    };
                    let posterior = encode_image(&*encoder, &image, wrap)?;
                    enlarged.extend(posterior.middle([h, w]).mean(1, vae.scaling_factor));
                }
                enlarged
            }
        };
        let mut extra_channels = None;
        if model.is_inpainting() {
            let size = [h, w].map(|side| side * vae.downscale());
            let nothing = vec![0.0; size[0] * size[1] * 3];
            let masked_image = encode_values(&*self.networks().vae_encoder(lease)?, nothing, size, wrap)?;
            extra_channels = Some(inpaint_channels(&[1.0], &masked_image.mean(batch, vae.scaling_factor), channels));
        }
        let init_latents = Some(Latents::new(hires.latents_shape, enlarged)?);
        let (noise_multiplier, blend, overlay) = (1.0, None, None);
        Ok(Start { init_latents, start_noise, noise_multiplier, blend, extra_channels, overlay, noise })
    }
}

impl Posterior {
    /// The middle of it, `[h, w]`.
    fn middle(&self, size: [usize; 2]) -> Self {
        let of = |values: &[f32]| middle(values, self.size, size);
        Self { size, mean: of(&self.mean), deviation: of(&self.deviation) }
    }
}

/// The middle `(h, w, C)` of larger latents of one image, of an odd rest the less before it (A1111's `truncate_x`).
fn middle(latents: &[f32], [high, wide]: [usize; 2], [h, w]: [usize; 2]) -> Vec<f32> {
    let channels = latents.len() / (high * wide).max(1);
    let [top, left] = [(high - h) / 2, (wide - w) / 2];
    let rows = latents.chunks_exact((wide * channels).max(1)).skip(top).take(h);
    rows.flat_map(|row| &row[left * channels..(left + w) * channels]).copied().collect()
}
