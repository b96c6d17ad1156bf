//! The noise of a request.

use calotype_diffusion::{Batch, BatchNoise, NoiseOptions, Sampler, SeedPer, Variation};

use super::{BatchPlace, OneOf, Plan, Request, check::MAX_BATCH};
use crate::{Error, Model, Result};

impl Request {
    /// The second seed, and how much of it is mixed in.
    fn variation(&self) -> Option<Variation> {
        self.variation_seed.map(|seed| Variation { seed, strength: self.variation_strength })
    }

    /// The options of the noise for latents `downscale` times smaller than images.
    fn noise_options(&self, downscale: usize) -> NoiseOptions {
        let &Self { rng, seed, seed_per, seed_resize, eta_noise_seed_delta, fixed_code, .. } = self;
        let seed_resize = seed_resize.map(|[width, height]| [height / downscale, width / downscale]);
        let variation = self.variation();
        NoiseOptions { rng, seed, seed_per, variation, seed_resize, eta_noise_seed_delta, fixed_code }
    }

    /// Checks the noise against the size of images.
    pub(super) fn check_noise(&self, downscale: usize) -> Result<()> {
        self.noise_options(downscale).check()?;
        if let Some([width, height]) = self.seed_resize {
            let most = calotype_checkpoint::MAX_SIDE;
            if width > most || height > most {
                let message =
                    format!("the seed is resized from {width} x {height} pixels: give at most {most} x {most}");
                return Err(Error::OutOfRange { field: "seed_resize", message });
            }
        }
        for (field, name, value, most) in [
            ("init_noise_multiplier", "noise multiplier", self.init_noise_multiplier, 1.5),
            ("extra_noise", "extra noise", self.extra_noise, 1.0),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(Error::out_of_range(field, name, value, format!("0 to {most}")));
            }
        }
        Ok(())
    }

    /// The seed and the variation seed of the image that comes `before` images after the first.
    #[must_use]
    pub fn seeds(&self, before: usize) -> (u64, Option<u64>) {
        let before = before as u64;
        match self.variation_seed {
            Some(seed) if self.variation_strength != 0.0 => (self.seed, Some(seed.wrapping_add(before))),
            variation => (self.seed.wrapping_add(before), variation),
        }
    }
}

impl BatchPlace {
    /// Checks the place of a batch of so many images.
    pub(super) fn check(self, images: usize) -> Result<()> {
        match self.one_of {
            Some(OneOf { batch_size, .. }) if !(1..=MAX_BATCH).contains(&batch_size) => {
                Err(Error::out_of_range("batch_size", "batch size", batch_size, format!("1 to {MAX_BATCH}")))
            }
            Some(OneOf { batch_size, position }) if images != 1 || position >= batch_size => {
                let asked = format!("picture {position} of a batch of {batch_size} in a batch of {images}");
                Err(Error::Conflict(format!("{asked}: make it alone, and count from 0")))
            }
            _ => Ok(()),
        }
    }
}

impl Plan {
    /// The noise of one of its passes, for latents `[h, w, C]`; `drawn` says what is drawn besides that of the steps.
    pub(crate) fn batch_noise(
        &self,
        model: &Model,
        sampler: &Sampler,
        shape: [usize; 3],
        drawn: Batch,
    ) -> Result<BatchNoise> {
        let (request, BatchPlace { index, one_of }) = (self.request(), self.place());
        let is_a1111 = request.init.as_ref().is_some_and(|init| init.strength_rule.is_a1111());
        let draws = match request.seed_per {
            // One more where the latents of what is left of a masked image are drawn.
            SeedPer::Batch if index > 0 => sampler.noise_draws() + usize::from(model.is_inpainting() && !is_a1111),
            _ => 0,
        };
        let size = one_of.map_or(request.batch_size, |one| one.batch_size);
        let options = request.noise_options(model.vae_config().downscale());
        let noise = BatchNoise::with_options(&options, Batch { size, index, draws, ..drawn }, shape)?;
        let [sigma_min, sigma_max] = sampler.sigma_range();
        let noise = noise.brownian(sigma_min, sigma_max);
        Ok(match one_of {
            Some(one) => noise.only(one.position),
            None => noise,
        })
    }
}
