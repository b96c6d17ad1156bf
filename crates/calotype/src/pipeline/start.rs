//! What a pass of the sampler starts from.

use calotype_diffusion::{Batch, BatchNoise, Latents};
use calotype_image::{Interpolation, RgbImage, interpolate};
use calotype_models::{Wrap, posterior};
use calotype_tensor::Backend;

use crate::{
    Fill, Init, Pipeline, Plan, Request, ResizeMode, Result,
    masked::Kept,
    prepare::{Overlay, Prepared},
    request::SecondPass,
    resident::Resident,
};

/// What a pass is made of.
pub(super) struct Start {
    /// Those of a picture, scaled; without them a pass starts from noise alone.
    pub(super) picture: Option<Latents>,
    /// Unit variance.
    pub(super) noise: Latents,
    /// What it is multiplied by where it is laid over the picture.
    pub(super) noise_multiplier: f64,
    /// What stays.
    pub(super) kept: Option<Kept>,
    /// What a model made for inpainting sees beside the latents, `(B, h, w, 1 + C)`.
    pub(super) beside: Option<Vec<f32>>,
    pub(super) overlay: Option<Overlay>,
}

/// Mean and standard deviation of one picture's latents, each `(h, w, C)`, not scaled.
pub(super) struct Posterior {
    pub(super) size: [usize; 2],
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Posterior {
    /// The mean for each of so many pictures, scaled.
    fn mean(&self, pictures: usize, scaling_factor: f32) -> Vec<f32> {
        self.mean.iter().map(|mean| scaling_factor * mean).collect::<Vec<_>>().repeat(pictures)
    }

    /// The middle of it.
    fn middle(&self, size: [usize; 2]) -> Self {
        let of = |values: &[f32]| middle(values, self.size, size);
        Self { size, mean: of(&self.mean), deviation: of(&self.deviation) }
    }

    /// A sample for each picture of the batch, scaled; `noise` of unit variance.
    fn sample(&self, noise: &Latents, scaling_factor: f32) -> Vec<f32> {
        let one = self.mean.iter().zip(&self.deviation);
        let values = noise.images().flat_map(|noise| noise.iter().zip(one.clone()));
        values.map(|(noise, (mean, deviation))| scaling_factor * (mean + deviation * noise)).collect()
    }
}

impl Pipeline<'_> {
    /// The start of a request's first pass. Noise is drawn in diffusers' order: for the latents of the picture, for the
    /// start itself, for the latents of what is left of a masked picture. A1111 draws that of the start and of the steps
    /// only: what it takes for the latents has no seed, and their mean is nearest to that.
    /// Gives the noise of the steps too.
    pub(super) fn start(&self, request: &Request, plan: &Plan) -> Result<(Start, BatchNoise)> {
        let wrap = request.tiling.wrap();
        let [batch, h, w, channels] = plan.latents_shape;
        let scaling_factor = self.model.vae_config().scaling_factor;
        let prepared =
            request.init.as_ref().map(|init| Prepared::new(init, plan).map(|prepared| (init, prepared))).transpose()?;
        let for_inpainting = self.model.is_inpainting();
        let is_a1111 = request.init.as_ref().is_some_and(|init| init.strength_rule.is_a1111());
        // diffusers starts a model made for inpainting from noise alone at strength 1.
        let begins_with = |(init, prepared): &&(&Init, Prepared)| {
            !(for_inpainting && prepared.mask.is_some() && init.strength >= 1.0 && !is_a1111)
        };
        let encoded = prepared.as_ref().filter(begins_with);
        let drawn = Batch {
            start_given: request.latents.is_some(),
            has_picture: !is_a1111 && encoded.is_some_and(|(init, prepared)| has_own_size(init, prepared)),
            ..Batch::default()
        };
        let mut noise = request.batch_noise(self.model, &plan.sampler, [h, w, channels], drawn)?;
        let mut picture =
            encoded.map(|(init, prepared)| self.encode_init(init, prepared, plan, &mut noise, wrap)).transpose()?;
        let start = match &request.latents {
            Some(latents) => latents.clone(),
            None => noise.randn(),
        };
        let mut kept = None;
        if let (Some((_, prepared)), Some(latents)) = (&prepared, &mut picture)
            && let Some(mask) = prepared.latent_mask([h, w])?
        {
            let mask: Vec<f32> = mask.iter().flat_map(|&x| vec![x; channels]).collect::<Vec<_>>().repeat(batch);
            let fresh = match prepared.fill {
                Fill::LatentNoise => Some(start.clone()),
                Fill::LatentNothing => Some(latents.map(|_| 0.0)),
                Fill::Fill | Fill::Original => None,
            };
            if let Some(fresh) = fresh {
                *latents = Kept { latents: latents.clone(), mask: mask.clone() }.fill(fresh);
            }
            // A1111 holds the rest with models made for inpainting too.
            if !for_inpainting || is_a1111 {
                kept = Some(Kept { latents: latents.clone(), mask });
            }
        }
        let mut beside = None;
        if for_inpainting {
            // Where nothing is masked, all is made anew.
            let (mask, left) = prepared
                .as_ref()
                .and_then(|(_, prepared)| prepared.conditioning([h, w]))
                .unwrap_or_else(|| (vec![1.0; h * w], vec![0.0; plan.width * plan.height * 3]));
            let left = self.encode_picture(left, [plan.height, plan.width], wrap)?;
            let left = match is_a1111 {
                true => left.mean(batch, scaling_factor),
                false => left.sample(&noise.draw(), scaling_factor),
            };
            beside = Some(with_mask(&mask, &left, channels));
        }
        let overlay = prepared.and_then(|(_, prepared)| prepared.overlay);
        let noise_multiplier = request.noise.init_multiplier;
        Ok((Start { picture, noise: start, noise_multiplier, kept, beside, overlay }, noise))
    }

    /// The latents of a picture to start from, for each picture of the batch.
    fn encode_init(
        &self,
        init: &Init,
        prepared: &Prepared,
        plan: &Plan,
        noise: &mut BatchNoise,
        wrap: Wrap,
    ) -> Result<Latents> {
        let scaling_factor = self.model.vae_config().scaling_factor;
        let shape = plan.latents_shape;
        let [batch, h, w, channels] = shape;
        if has_own_size(init, prepared) {
            let posterior = self.encode_rgb(&prepared.picture, wrap)?;
            let latents = match init.strength_rule.is_a1111() {
                true => posterior.mean(batch, scaling_factor),
                false => posterior.sample(&noise.for_picture(), scaling_factor),
            };
            return Ok(Latents::new(shape, latents)?);
        }
        let downscale = self.model.vae_config().downscale() as u32;
        let whole = |side: u32| (side / downscale).max(1) * downscale;
        let picture = prepared.picture.crop(0, 0, whole(prepared.picture.width()), whole(prepared.picture.height()));
        // Noise has the size of the result: of other latents the mean is taken.
        let posterior = self.encode_rgb(&picture, wrap)?;
        let [high, wide] = posterior.size;
        let mean = Latents::new([1, high, wide, channels], posterior.mean(1, scaling_factor))?;
        let latents = resized(&mean, [h, w], Interpolation::Bilinear { antialias: false })?;
        Ok(Latents::new(shape, latents.data().repeat(batch))?)
    }

    /// The posterior of a picture's latents.
    pub(super) fn encode_rgb(&self, picture: &RgbImage, wrap: Wrap) -> Result<Posterior> {
        self.encode_picture(picture.to_unit_f32(), [picture.height() as usize, picture.width() as usize], wrap)
    }

    /// [`Self::encode_rgb`] of values `(H, W, 3)` in `-1..1`.
    fn encode_picture(&self, values: Vec<f32>, [height, width]: [usize; 2], wrap: Wrap) -> Result<Posterior> {
        let Resident { backend, mut network } = self.vae_encoder()?;
        network.set_wrap(wrap);
        let pixels = backend.from_f32([1, height, width, 3].into(), values)?;
        let (mean, logvar) = posterior(&backend, &network.forward(&backend, &pixels, false)?)?;
        let shape = backend.shape(&mean);
        let deviation = backend.to_f32(&logvar)?.into_iter().map(|logvar| (0.5 * logvar).exp()).collect();
        Ok(Posterior { size: [shape[1], shape[2]], mean: backend.to_f32(&mean)?, deviation })
    }

    /// The start of the second pass, the first one's latents enlarged, and the noise of its steps. As in A1111
    /// the seeds' first noise is that of the start, and the next the steps'.
    pub(super) fn enlarged(
        &self,
        request: &Request,
        hires: &SecondPass,
        latents: &Latents,
    ) -> Result<(Start, BatchNoise)> {
        let [batch, h, w, channels] = hires.latents_shape;
        let downscale = self.model.vae_config().downscale();
        let [wide, high] = hires.enlarged;
        let large = [high / downscale, wide / downscale];
        let wrap = request.tiling.wrap();
        let scaling_factor = self.model.vae_config().scaling_factor;
        // Noise of the larger size, as from the same seeds at the start.
        let mut noise = request.batch_noise(self.model, &hires.sampler, [h, w, channels], Batch::default())?;
        let start = noise.randn();
        let picture = match hires.upscaler.interpolation() {
            Some(method) => {
                let all = resized(latents, large, method)?;
                all.images().flat_map(|picture| middle(picture, large, [h, w])).collect()
            }
            None => {
                let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let mut pictures = Vec::new();
                for picture in self.decode_as(latents, wrap, request.rounding())? {
                    let picture = hires.upscaler.enlarge(&picture, side(wide), side(high))?;
                    pictures.extend(self.encode_rgb(&picture, wrap)?.middle([h, w]).mean(1, scaling_factor));
                }
                pictures
            }
        };
        let mut beside = None;
        if self.model.is_inpainting() {
            let [height, width] = [h, w].map(|side| side * downscale);
            let left = self.encode_picture(vec![0.0; width * height * 3], [height, width], wrap)?;
            beside = Some(with_mask(&[1.0], &left.mean(batch, scaling_factor), channels));
        }
        let picture = Some(Latents::new(hires.latents_shape, picture)?);
        Ok((Start { picture, noise: start, noise_multiplier: 1.0, kept: None, beside, overlay: None }, noise))
    }
}

/// What a model made for inpainting sees of each place, `(B, h, w, 1 + C)`: the mask, again and again, and the latents
/// `(B, h, w, C)` of what is left.
fn with_mask(mask: &[f32], left: &[f32], channels: usize) -> Vec<f32> {
    let rows = left.chunks_exact(channels.max(1)).zip(mask.iter().cycle());
    rows.flat_map(|(left, &mask)| [&[mask][..], left].concat()).collect()
}

/// Whether a picture is encoded at the size of the result, and not its latents stretched to it.
fn has_own_size(init: &Init, prepared: &Prepared) -> bool {
    init.resize_mode != ResizeMode::Latent || prepared.mask.is_some()
}

/// The middle `(h, w, C)` of larger latents of one picture, of an odd rest the less before it (A1111's `truncate_x`).
fn middle(latents: &[f32], [high, wide]: [usize; 2], [h, w]: [usize; 2]) -> Vec<f32> {
    let channels = latents.len() / (high * wide).max(1);
    let [top, left] = [(high - h) / 2, (wide - w) / 2];
    let rows = latents.chunks_exact((wide * channels).max(1)).skip(top).take(h);
    rows.flat_map(|row| &row[left * channels..(left + w) * channels]).copied().collect()
}

/// Latents at another size, `[h, w]`.
fn resized(latents: &Latents, size: [usize; 2], method: Interpolation) -> Result<Latents> {
    let [batch, channels, h, w] = latents.shape_nchw();
    let larger = interpolate(&latents.to_nchw(), [h, w], size, method);
    Ok(Latents::from_nchw([batch, channels, size[0], size[1]], &larger)?)
}
