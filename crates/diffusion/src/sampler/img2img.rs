//! Runs that start in the middle, from a picture with noise on it (SDEdit, Meng et al. 2022).

use super::{Run, Sampler};
use crate::{Denoiser, Error, NoiseLevel, NoiseSource};

/// How a strength is turned into the steps that are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StrengthRule {
    /// `int(strength · steps)` steps, all of them at strength 1: diffusers' `StableDiffusionImg2ImgPipeline`, and the
    /// number of steps of CompVis' `img2img.py`.
    #[default]
    Diffusers,
    /// `int(min(strength, 0.999) · steps) + 1` steps, never fewer than one: A1111's `setup_img2img_steps`.
    A1111,
}

impl Sampler {
    /// The end of this sampler's run that a strength from 0 to 1 asks for: its last levels.
    /// Start it with [`Sampler::run_from`].
    ///
    /// # Errors
    /// [`Error::Strength`] when the strength is out of range, [`Error::NoSteps`] when it leaves no step.
    pub fn img2img(&self, strength: f64, rule: StrengthRule) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(Error::Strength(strength));
        }
        let steps = self.steps();
        let kept = match rule {
            StrengthRule::Diffusers => ((strength * steps as f64) as usize).min(steps),
            StrengthRule::A1111 => ((strength.min(0.999) * steps as f64) as usize + 1).min(steps),
        };
        if kept == 0 {
            return Err(Error::NoSteps { strength, steps, least: 1.0 / steps as f64 });
        }
        let levels = self.levels.iter().skip(steps - kept).copied().collect();
        Ok(Self { levels, ..self.clone() })
    }

    /// The level at which [`Sampler::run_from`] mixes noise with the picture.
    #[must_use]
    pub fn noised_level(&self) -> NoiseLevel {
        self.levels.first().copied().unwrap_or(NoiseLevel::CLEAN)
    }

    /// Starts a run from latents of a picture, in variance-preserving scale, and unit-variance noise:
    /// `x = latents + sigma · noise` in variance-exploding form, which is diffusers' `add_noise`.
    ///
    /// # Errors
    /// [`Error::Length`] when latents and noise differ in length.
    pub fn run_from<'a, D, N>(
        &self,
        denoiser: D,
        init_latents: &[f32],
        noise_latents: &[f32],
        noise: N,
    ) -> Result<Run<'a, D, N>, Error>
    where
        D: Denoiser + 'a,
        N: NoiseSource + 'a,
    {
        let (got, expected) = (noise_latents.len(), init_latents.len());
        if got != expected {
            return Err(Error::Length { what: "the starting noise", got, expected });
        }
        let sigma = self.noised_level().sigma;
        let mixed = init_latents.iter().zip(noise_latents);
        let x = mixed.map(|(&x0, &noise)| (f64::from(x0) + sigma * f64::from(noise)) as f32).collect();
        Ok(Run::new(self, denoiser, x, noise))
    }
}
