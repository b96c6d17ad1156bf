//! The start of a first pass: from noise, or from an image.

use calotype_diffusion::{Batch, BatchNoise, Latents};
use calotype_image::Interpolation;
use calotype_models::CircularPadding;

use super::{
    Pipeline,
    networks::{encode_image, encode_values},
    start::{Start, inpaint_channels, resized},
};
use crate::{
    Plan, Result,
    mask_blend::MaskBlend,
    networks::EncodeImage,
    prepare::Prepared,
    request::{Fill, Init, ResizeMode},
};

/// In which order noise is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DrawOrder {
    /// For the latents of the image, for the start itself, for the latents of what is left of a masked image.
    Diffusers,
    /// For the start and the steps only: what A1111 takes for latents has no seed, and their mean is nearest to that.
    A1111,
}

/// An image to start from, at the size of what is worked on.
pub(super) struct InitImage<'a> {
    init: &'a Init,
    prepared: Prepared,
    order: DrawOrder,
}

impl<'a> InitImage<'a> {
    pub(super) fn new(init: &'a Init, plan: &Plan) -> Result<Self> {
        let order = if init.strength_rule.is_a1111() { DrawOrder::A1111 } else { DrawOrder::Diffusers };
        Ok(Self { init, prepared: Prepared::new(init, plan)?, order })
    }

    /// Whether it is encoded at the size of the results, and not its latents stretched to it.
    fn has_own_size(&self) -> bool {
        self.init.resize_mode != ResizeMode::Latent || self.prepared.mask.is_some()
    }

    /// Whether a pass begins with its latents: diffusers starts an inpainting model from noise alone at strength 1.
    fn begins(&self, for_inpainting: bool) -> bool {
        let from_noise = for_inpainting && self.prepared.mask.is_some() && self.init.strength >= 1.0;
        !from_noise || self.order == DrawOrder::A1111
    }
}

impl Pipeline {
    /// The start of a request's first pass. `encoder` is there where [`Plan::encodes`] says so.
    pub(super) fn start(&self, plan: &Plan, encoder: Option<&dyn EncodeImage>) -> Result<Start> {
        let request = plan.request();
        let (model, wrap) = (self.model(), request.tiling.wrap());
        let [batch, h, w, channels] = plan.latents_shape;
        let scaling_factor = model.vae_config().scaling_factor;
        let for_inpainting = model.is_inpainting();
        let image = request.init.as_ref().map(|init| InitImage::new(init, plan)).transpose()?;
        let order = image.as_ref().map_or(DrawOrder::Diffusers, |image| image.order);
        let begins_with = image.as_ref().filter(|image| image.begins(for_inpainting));
        // Of what has no variance nothing is drawn.
        let draws = order == DrawOrder::Diffusers && !model.vae_config().is_deterministic();
        let drawn = Batch {
            start_given: request.latents.is_some(),
            has_picture: draws && begins_with.is_some_and(InitImage::has_own_size),
            ..Batch::default()
        };
        let mut noise = plan.batch_noise(model, &plan.sampler, [h, w, channels], drawn)?;
        let mut init_latents = match (begins_with, encoder) {
            (Some(image), Some(encoder)) => Some(self.init_latents(image, plan, encoder, &mut noise, wrap)?),
            _ => None,
        };
        let start_noise = request.latents.as_deref().cloned().unwrap_or_else(|| noise.randn());
        let mut blend = None;
        if let (Some(image), Some(latents)) = (&image, &mut init_latents)
            && let Some(mask) = image.prepared.latent_mask([h, w])?
        {
            let mask: Vec<f32> = mask.iter().flat_map(|&x| vec![x; channels]).collect::<Vec<_>>().repeat(batch);
            let fill = match image.prepared.fill {
                Fill::LatentNoise => Some(start_noise.clone()),
                Fill::LatentNothing => Some(latents.map(|_| 0.0)),
                Fill::Fill | Fill::Original => None,
            };
            if let Some(mut fill) = fill {
                MaskBlend { init_latents: latents.clone(), mask: mask.clone() }.apply(&mut fill);
                *latents = fill;
            }
            // A1111 holds the rest with inpainting models too.
            if !for_inpainting || order == DrawOrder::A1111 {
                blend = Some(MaskBlend { init_latents: latents.clone(), mask });
            }
        }
        let mut extra_channels = None;
        if let Some(encoder) = encoder.filter(|_| for_inpainting) {
            let [wide, high] = plan.canvas();
            // Where nothing is masked, everything is generated.
            let (mask, masked_image) = image
                .as_ref()
                .and_then(|image| image.prepared.conditioning([h, w]))
                .unwrap_or_else(|| (vec![1.0; h * w], vec![0.0; wide * high * 3]));
            let posterior = encode_values(encoder, masked_image, [high, wide], wrap)?;
            let latents = match draws {
                false => posterior.mean(batch, scaling_factor),
                true => posterior.sample(&noise.draw(), scaling_factor),
            };
            extra_channels = Some(inpaint_channels(&mask, &latents, channels));
        }
        let overlay = image.and_then(|image| image.prepared.overlay);
        let noise_multiplier = request.init_noise_multiplier;
        Ok(Start { init_latents, start_noise, noise_multiplier, blend, extra_channels, overlay, noise })
    }

    /// The latents of an image to start from, for each image of the batch.
    fn init_latents(
        &self,
        image: &InitImage<'_>,
        plan: &Plan,
        encoder: &dyn EncodeImage,
        noise: &mut BatchNoise,
        wrap: CircularPadding,
    ) -> Result<Latents> {
        let vae = self.model().vae_config();
        let shape = plan.latents_shape;
        let [batch, h, w, channels] = shape;
        let picture = &image.prepared.picture;
        if image.has_own_size() {
            let posterior = encode_image(encoder, picture, wrap)?;
            let latents = match image.order {
                DrawOrder::Diffusers if !vae.is_deterministic() => {
                    posterior.sample(&noise.for_picture(), vae.scaling_factor)
                }
                DrawOrder::A1111 | DrawOrder::Diffusers => posterior.mean(batch, vae.scaling_factor),
            };
            return Ok(Latents::new(shape, latents)?);
        }
        let downscale = vae.downscale() as u32;
        let whole = |side: u32| (side / downscale).max(1) * downscale;
        let picture = picture.crop(0, 0, whole(picture.width()), whole(picture.height()));
        // Noise has the size of the result: of other latents the mean is taken.
        let posterior = encode_image(encoder, &picture, wrap)?;
        let [high, wide] = posterior.size;
        let mean = Latents::new([1, high, wide, channels], posterior.mean(1, vae.scaling_factor))?;
        let latents = resized(&mean, [h, w], Interpolation::Bilinear { antialias: false })?;
        Ok(Latents::new(shape, latents.data().repeat(batch))?)
    }
}
