//! Samplers: from noise to latents, one step at a time.

mod img2img;
mod kind;
mod levels;
mod run;
mod solver;

pub use img2img::StrengthRule;
pub use kind::{SamplerKind, ScheduleKind};
pub use run::{Run, Step};

use crate::{Denoiser, Error, NoiseLevel, NoiseSchedule, NoiseSource};

/// What a run is asked for besides the sampler itself.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SampleOptions {
    /// Steps (`num_inference_steps`). Heun calls the model twice a step but the last, plms once more in all.
    pub steps: usize,
    /// Noise of `ddim`: 0 is deterministic, 1 is DDPM (Song et al. 2021, eq. 16). Other samplers have none.
    pub eta: f64,
}

impl SampleOptions {
    /// So many steps, eta 0.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self { steps, eta: 0.0 }
    }

    /// The same with another eta.
    #[must_use]
    pub fn eta(self, eta: f64) -> Self {
        Self { eta, ..self }
    }
}

/// A sampler, ready to run any number of times.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    kind: SamplerKind,
    eta: f64,
    levels: Vec<NoiseLevel>,
}

impl Sampler {
    /// Checks the options and lays out the noise levels.
    ///
    /// # Errors
    /// [`Error::Schedule`], [`Error::Eta`], [`Error::EtaRange`] and [`Error::Steps`] for what the sampler can't take.
    pub fn new(
        kind: SamplerKind,
        schedule: ScheduleKind,
        noise_schedule: &NoiseSchedule,
        options: SampleOptions,
    ) -> Result<Self, Error> {
        if schedule == ScheduleKind::Karras && !kind.has_karras() {
            return Err(Error::Schedule { sampler: kind, schedule });
        }
        let eta = options.eta;
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::EtaRange(eta));
        }
        if eta > 0.0 && kind != SamplerKind::Ddim {
            return Err(Error::Eta { sampler: kind, eta });
        }
        let (steps, max) = (options.steps, kind.max_steps(noise_schedule));
        if !(1..=max).contains(&steps) {
            return Err(Error::Steps { sampler: kind, steps, max });
        }
        Ok(Self { kind, eta, levels: levels::levels(kind, schedule, noise_schedule, steps) })
    }

    /// Which sampler this is.
    #[must_use]
    pub fn kind(&self) -> SamplerKind {
        self.kind
    }

    /// How many steps a run takes.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.levels.len() - 1
    }

    /// The noise levels from start to end, one more than there are steps.
    #[must_use]
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.levels
    }

    /// What unit-variance noise is multiplied by to make the first `x`, in variance-exploding form.
    ///
    /// Diffusers starts the samplers that come from k-diffusion at `sigma`, and those of the variance-preserving
    /// papers at `sqrt(sigma² + 1)` (its `init_noise_sigma`); each is kept.
    #[must_use]
    pub fn init_noise_sigma(&self) -> f64 {
        let first = self.levels.first().copied().unwrap_or(NoiseLevel::CLEAN);
        match self.kind {
            SamplerKind::Ddim | SamplerKind::Plms | SamplerKind::Dpmpp2m => first.scale(),
            SamplerKind::Euler | SamplerKind::EulerA | SamplerKind::Heun | SamplerKind::Lms => first.sigma,
        }
    }

    /// Starts a run from unit-variance `noise_latents`; `noise` is drawn from in the stochastic samplers only.
    ///
    /// Nothing is computed until the iterator is asked for a step.
    pub fn run<'a, D, N>(&self, denoiser: D, noise_latents: &[f32], noise: N) -> Run<'a, D, N>
    where
        D: Denoiser + 'a,
        N: NoiseSource + 'a,
    {
        let scale = self.init_noise_sigma();
        let x = noise_latents.iter().map(|&noise| (f64::from(noise) * scale) as f32).collect();
        Run::new(self, denoiser, x, noise)
    }
}
