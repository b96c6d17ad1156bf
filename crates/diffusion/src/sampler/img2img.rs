//! Runs that start in the middle, from a picture with noise on it (SDEdit, Meng et al. 2022).

use super::levels::LaidOut;
use super::{Run, SampleOptions, Sampler, SamplerKind, ScheduleKind, timesteps};
use crate::{Denoiser, Error, Latents, NoiseLevel, NoiseSchedule, NoiseSource};

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

/// A1111 takes a strength of 1 for this much.
const MOST: f64 = 0.999;

/// The strength that leaves so many of the steps, rounded up to what is easily read.
fn least(taken: usize, steps: usize) -> f64 {
    (1e4 * taken as f64 / steps as f64).ceil() / 1e4
}

impl Sampler {
    /// A sampler that takes all of its steps from a picture: the last `options.steps` of the `int(steps / min(strength, 0.999))`
    /// that are laid out. A1111's hires fix, and its "With img2img, do exactly the amount of steps the slider specifies"
    /// (`setup_img2img_steps`).
    ///
    /// # Errors
    /// As [`Sampler::new`], [`Error::LaidOut`] when too many steps would be laid out, [`Error::Strength`] when the strength is out of range,
    /// [`Error::NoSteps`] when it is 0.
    pub fn exact_img2img(
        kind: SamplerKind,
        schedule: ScheduleKind,
        noise_schedule: &NoiseSchedule,
        options: SampleOptions,
        strength: f64,
    ) -> Result<Self, Error> {
        let asked = options.steps;
        if !(0.0..=1.0).contains(&strength) {
            return Err(Error::Strength(strength));
        }
        if strength == 0.0 {
            let most = noise_schedule.num_train_timesteps();
            return Err(Error::NoSteps { strength, steps: asked, least: least(asked.min(most), most) });
        }
        let laid_out = (asked as f64 / strength.min(MOST)) as usize;
        let whole = match Self::new(kind, schedule, noise_schedule, SampleOptions { steps: laid_out, ..options }) {
            Err(Error::Steps { sampler, min, max, .. }) if laid_out > max && asked <= max => {
                return Err(Error::LaidOut { sampler, steps: asked, strength, laid_out, min, max });
            }
            whole => whole?,
        };
        whole.last_as_a1111(strength, asked.saturating_sub(1))
    }

    /// The end of this sampler's run that a strength from 0 to 1 asks for: its last levels.
    /// Start it with [`Sampler::run_from`].
    ///
    /// On A1111's own timesteps (`automatic` of `ddim`, `ddim_cfgpp`, `plms` and `unipc`) its rule runs one or two steps
    /// fewer, and mixes the noise of the level before the first, as A1111 does there.
    ///
    /// # Errors
    /// [`Error::Strength`] when the strength is out of range, [`Error::NoSteps`] when it leaves no step, but for CompVis' rule,
    /// which then leaves the noised picture as it is.
    pub fn img2img(&self, strength: f64, rule: StrengthRule) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(Error::Strength(strength));
        }
        let (all, asked) = (&self.laid_out.all, self.options.steps);
        let steps = all.len() - 1;
        let taken = match rule {
            StrengthRule::Diffusers => (strength * steps as f64) as usize,
            StrengthRule::Compvis => (strength * asked as f64) as usize,
            StrengthRule::A1111 => return self.last_as_a1111(strength, (strength.min(MOST) * asked as f64) as usize),
        };
        let skipped = steps - taken.min(steps);
        if skipped >= steps && rule != StrengthRule::Compvis {
            return Err(Error::NoSteps { strength, steps, least: least(1, steps) });
        }
        let mut part = self.on(all.iter().skip(skipped).copied().collect());
        if let (StrengthRule::Compvis, Some(&before)) = (rule, all.get(skipped.wrapping_sub(1))) {
            part.noised = before;
        }
        Ok(part)
    }

    /// `sigmas[steps - t_enc - 1:]` of A1111, or on its timesteps `timesteps[:t_enc]`, with the noise of `timesteps[t_enc]`.
    fn last_as_a1111(&self, strength: f64, t_enc: usize) -> Result<Self, Error> {
        let asked = self.options.steps;
        if !self.laid_out.a1111_timesteps {
            let all = &self.laid_out.all;
            let skipped = asked.saturating_sub(t_enc + 1);
            if skipped + 1 >= all.len() {
                let steps = all.len() - 1;
                return Err(Error::NoSteps { strength, steps, least: least(1, steps) });
            }
            return Ok(self.on(all.iter().skip(skipped).copied().collect()));
        }
        let mut falling = timesteps::uniform(&self.noise_schedule, asked);
        let kept = t_enc;
        let unipc = self.kind == SamplerKind::UniPc;
        let needed = if unipc { 1 } else { 2 };
        if kept < needed {
            return Err(Error::NoSteps { strength, steps: asked, least: least(needed, asked) });
        }
        let kept = falling.split_off(falling.len().saturating_sub(kept));
        let levels = match kept.first() {
            Some(first) if unipc => {
                let skip_type = self.options.settings.uni_pc_skip_type;
                timesteps::unipc_from(&self.noise_schedule, first.timestep, kept.len(), skip_type)
            }
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
        let laid_out = LaidOut { all, ..self.laid_out.clone() };
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
    /// [`Error::Shape`] when latents and noise differ in shape.
    pub fn run_from<'a, D, N>(
        &self,
        denoiser: D,
        init_latents: &Latents,
        noise_latents: &Latents,
        noise: N,
    ) -> Result<Run<'a, D, N>, Error>
    where
        D: Denoiser + 'a,
        N: NoiseSource + 'a,
    {
        let (got, expected) = (noise_latents.shape(), init_latents.shape());
        if got != expected {
            return Err(Error::Shape { what: "the starting noise", got, expected });
        }
        // Where noise is mixed at another level than the first, it is in variance-preserving scale that the sample is taken
        // for one of the first level.
        let first = self.levels.first().copied().unwrap_or(NoiseLevel::CLEAN);
        let (sigma, scale) = (self.noised.sigma, first.scale() / self.noised.scale());
        let mixed = init_latents.data().iter().zip(noise_latents.data());
        let x = mixed.map(|(&x0, &noise)| ((f64::from(x0) + sigma * f64::from(noise)) * scale) as f32).collect();
        Ok(Run::new(self, denoiser, init_latents.with_data(x)?, noise))
    }
}
