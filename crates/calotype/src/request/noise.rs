//! Where the noise of a request comes from.

use calotype_diffusion::{Batch, BatchNoise, NoiseOptions, Rng, Sampler, SeedPer, Variation};

use super::check::MAX_BATCH;
use crate::{Error, Model, Request, Result};

/// Where noise comes from, besides the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseRequest {
    /// The generator.
    pub rng: Rng,
    /// Whether each picture has a seed of its own: picture `k` the seed `seed + k`, so each can be made again alone.
    pub seed_per: SeedPer,
    /// A second seed to mix in. Picture `k` then has its seed plus `k`, and all have the same main seed.
    pub variation: Option<Variation>,
    /// The starting noise is that of pictures of this width and height, put in the middle.
    pub seed_resize: Option<[usize; 2]>,
    /// If not 0, the noise of stochastic samplers' steps has this much added to its seed (A1111's ENSD).
    pub eta_noise_seed_delta: i64,
    /// What the noise is multiplied by that is laid over a picture to start from, 0 to 1.5.
    pub init_multiplier: f64,
    /// Noise beyond that of the first noise level, laid over a picture to start from and over the enlarged one of a second
    /// pass, 0 to 1: so many times unit variance where that of the level is so many as its sigma.
    pub extra: f64,
    /// Every batch starts from the noise of the first one.
    pub fixed_code: bool,
    /// How many batches of a run came before this one; [`Request::seed`] is that of the run's first picture.
    pub batch_index: usize,
    /// The picture is one of a larger batch, of which the others are not made.
    pub one_of: Option<OneOf>,
}

impl Default for NoiseRequest {
    /// A seed for each picture on torch's CPU generator, and nothing else.
    fn default() -> Self {
        Self {
            rng: Rng::default(),
            seed_per: SeedPer::default(),
            variation: None,
            seed_resize: None,
            eta_noise_seed_delta: 0,
            init_multiplier: 1.0,
            extra: 0.0,
            fixed_code: false,
            batch_index: 0,
            one_of: None,
        }
    }
}

/// A place in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneOf {
    /// Pictures in the batch.
    pub batch_size: usize,
    /// Which one, from 0.
    pub position: usize,
}

impl Request {
    /// The options of the noise for latents `downscale` times smaller than pictures.
    fn noise_options(&self, downscale: usize) -> NoiseOptions {
        let NoiseRequest { rng, seed_per, variation, seed_resize, eta_noise_seed_delta, fixed_code, .. } = self.noise;
        let seed_resize = seed_resize.map(|[width, height]| [height / downscale, width / downscale]);
        NoiseOptions { rng, seed: self.seed, seed_per, variation, seed_resize, eta_noise_seed_delta, fixed_code }
    }

    /// Checks the noise against the size of pictures.
    pub(crate) fn check_noise(&self, downscale: usize) -> Result<()> {
        self.noise_options(downscale).check()?;
        if let Some([width, height]) = self.noise.seed_resize {
            let most = calotype_checkpoint::MAX_SIDE;
            if width > most || height > most {
                let problem =
                    format!("the seed is resized from {width} x {height} pixels: give at most {most} x {most}");
                return Err(Error::Request(problem));
            }
        }
        let NoiseRequest { init_multiplier, extra, .. } = self.noise;
        for (name, value, most) in [("noise multiplier", init_multiplier, 1.5), ("extra noise", extra, 1.0)] {
            if !(0.0..=most).contains(&value) {
                return Err(Error::Request(format!("{name} {value} is out of range: give 0 to {most}")));
            }
        }
        match self.noise.one_of {
            Some(OneOf { batch_size, .. }) if !(1..=MAX_BATCH).contains(&batch_size) => {
                Err(Error::Request(format!("batch size {batch_size} is out of range: give 1 to {MAX_BATCH}")))
            }
            Some(OneOf { batch_size, position }) if self.batch_size != 1 || position >= batch_size => {
                let asked = format!("picture {position} of a batch of {batch_size} in a batch of {}", self.batch_size);
                Err(Error::Request(format!("{asked}: make it alone, and count from 0")))
            }
            _ => Ok(()),
        }
    }

    /// The noise of a checked request, for latents `[h, w, C]`; `drawn` says what is drawn besides that of the steps.
    pub(crate) fn batch_noise(
        &self,
        model: &Model,
        sampler: &Sampler,
        shape: [usize; 3],
        drawn: Batch,
    ) -> Result<BatchNoise> {
        let index = self.noise.batch_index;
        let is_a1111 = self.init.as_ref().is_some_and(|init| init.strength_rule.is_a1111());
        let draws = match self.noise.seed_per {
            // One more where the latents of what is left of a masked picture are drawn.
            SeedPer::Batch if index > 0 => sampler.noise_draws() + usize::from(model.is_inpainting() && !is_a1111),
            _ => 0,
        };
        let size = self.noise.one_of.map_or(self.batch_size, |one| one.batch_size);
        let options = self.noise_options(model.vae_config().downscale());
        let noise = BatchNoise::with_options(&options, Batch { size, index, draws, ..drawn }, shape)?;
        let [sigma_min, sigma_max] = sampler.sigma_range();
        let noise = noise.brownian(sigma_min, sigma_max);
        Ok(match self.noise.one_of {
            Some(one) => noise.only(one.position),
            None => noise,
        })
    }

    /// The seed of picture `position` of the batch, and the variation seed.
    pub(crate) fn seeds(&self, position: usize) -> (u64, Option<Variation>) {
        let before = self.noise.batch_index.saturating_mul(self.batch_size).saturating_add(position) as u64;
        match self.noise.variation {
            Some(v) if v.strength != 0.0 => (self.seed, Some(Variation { seed: v.seed.wrapping_add(before), ..v })),
            _ => (self.seed.wrapping_add(before), None),
        }
    }
}
