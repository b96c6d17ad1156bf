//! Runs that start in the middle, from a picture with noise on it (SDEdit, Meng et al. 2022).

use super::levels::Levels;
use super::{Run, Sampler, SamplerKind, timesteps};
use crate::{Denoiser, Error, NoiseLevel, NoiseSource};

/// How a strength is turned into the steps that are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StrengthRule {
    /// `int(strength · steps)` steps, all of them at strength 1: diffusers' `StableDiffusionImg2ImgPipeline`.
    #[default]
    Diffusers,
    /// `int(strength · steps)` steps, maybe none, from the noise of the level before the first: CompVis' `img2img.py`, whose
    /// `stochastic_encode` and `decode` count from 0 and from 1. At strength 1, where that crashes, from the first's own.
    Compvis,
    /// `int(min(strength, 0.999) · steps) + 1` steps, never fewer than one: A1111's `setup_img2img_steps`.
    A1111,
}

impl Sampler {
    /// The end of this sampler's run that a strength from 0 to 1 asks for: its last levels.
    /// Start it with [`Sampler::run_from`].
    ///
    /// On A1111's own timesteps (`automatic` of `ddim`, `ddim_cfgpp`, `plms` and `unipc`) its rule runs one or two steps
    /// fewer, and mixes the noise of the level before the first, as A1111 does there.
    ///
    /// # Errors
    /// [`Error::Strength`] when the strength is out of range, [`Error::NoSteps`] when it leaves no step.
    pub fn img2img(&self, strength: f64, rule: StrengthRule) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(Error::Strength(strength));
        }
        let (all, asked) = (&self.laid_out.all, self.options.steps);
        let steps = all.len() - 1;
        if self.laid_out.a1111_timesteps && rule == StrengthRule::A1111 {
            return self.a1111_timesteps_img2img(strength);
        }
        let skipped = match rule {
            StrengthRule::Diffusers => steps - ((strength * steps as f64) as usize).min(steps),
            StrengthRule::Compvis => steps - ((strength * asked as f64) as usize).min(steps),
            StrengthRule::A1111 => asked.saturating_sub((strength.min(0.999) * asked as f64) as usize + 1),
        };
        if skipped >= steps && rule != StrengthRule::Compvis {
            return Err(Error::NoSteps { strength, steps, least: 1.0 / steps as f64 });
        }
        let mut part = self.on(all.iter().skip(skipped).copied().collect());
        if let (StrengthRule::Compvis, Some(&before)) = (rule, all.get(skipped.wrapping_sub(1))) {
            part.noised = before;
        }
        Ok(part)
    }

    /// `timesteps[:t_enc]` of A1111, with the noise of `timesteps[t_enc]`.
    fn a1111_timesteps_img2img(&self, strength: f64) -> Result<Self, Error> {
        let asked = self.options.steps;
        let mut falling = timesteps::uniform(&self.noise_schedule, asked);
        let kept = (strength.min(0.999) * asked as f64) as usize;
        let unipc = self.kind == SamplerKind::UniPc;
        let needed = if unipc { 1 } else { 2 };
        if kept < needed {
            return Err(Error::NoSteps { strength, steps: asked, least: needed as f64 / asked as f64 });
        }
        let kept = falling.split_off(falling.len().saturating_sub(kept));
        let levels = match kept.first() {
            Some(first) if unipc => timesteps::time_uniform_from(&self.noise_schedule, first.timestep, kept.len()),
            _ => kept,
        };
        let mut part = self.on(levels);
        part.noised = falling.last().copied().unwrap_or(part.noised);
        Ok(part)
    }

    /// This sampler on other levels.
    fn on(&self, all: Vec<NoiseLevel>) -> Self {
        let mut options = self.options;
        if self.kind == SamplerKind::DpmFast {
            options.steps = all.len() - 1;
        }
        // Of the levels' sigmas the last is 0, which λ has no value for.
        let of = |level: Option<&NoiseLevel>| level.map_or(f64::NAN, |level| level.sigma);
        let ends = [of(all.first()), of(all.iter().rev().nth(1))];
        let laid_out = Levels { all, ..self.laid_out.clone() };
        let part = Self::planned(self.kind, options, self.noise_schedule.clone(), laid_out, ends);
        Self { sigma_range: self.sigma_range, ..part }
    }

    /// The level at which [`Sampler::run_from`] mixes noise with the picture.
    #[must_use]
    pub fn noised_level(&self) -> NoiseLevel {
        self.noised
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
        // Where noise is mixed at another level than the first, it is in variance-preserving scale that the sample is taken
        // for one of the first level.
        let first = self.levels.first().copied().unwrap_or(NoiseLevel::CLEAN);
        let (sigma, scale) = (self.noised.sigma, first.scale() / self.noised.scale());
        let mixed = init_latents.iter().zip(noise_latents);
        let x = mixed.map(|(&x0, &noise)| ((f64::from(x0) + sigma * f64::from(noise)) * scale) as f32).collect();
        Ok(Run::new(self, denoiser, x, noise))
    }
}
