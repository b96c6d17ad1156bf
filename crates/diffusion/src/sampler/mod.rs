//! Samplers: from noise to latents, one step at a time.

mod beta;
mod compvis;
mod diffusers;
mod img2img;
mod kind;
mod levels;
mod names;
mod options;
mod plan;
mod run;
mod schedule_kind;
mod scheduler_settings;
mod sigmas;
mod solver;
mod timesteps;
mod unipc_settings;

use std::sync::Arc;

pub use img2img::StrengthRule;
pub use kind::{SAMPLERS, SamplerFeature, SamplerInfo, SamplerKind, StepNoise};
pub use options::{SampleOptions, SamplerSettings};
pub use run::{Run, Step};
pub use schedule_kind::{SCHEDULES, ScheduleInfo, ScheduleKind};
pub use scheduler_settings::{
    AlgorithmType, FinalSigmas, SchedulerSettings, SigmaSpacing, SolverType, TimestepSpacing,
};
pub use solver::{Context, Levels, Solver};
pub use unipc_settings::{UniPcSkipType, UniPcVariant};

use crate::{Denoiser, Error, Latents, NoiseLevel, NoiseSchedule, NoiseSource};
use levels::LaidOut;

/// A sampler, ready to run any number of times.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    kind: SamplerKind,
    options: SampleOptions,
    noise_schedule: Arc<NoiseSchedule>,
    /// The levels of the schedule.
    laid_out: LaidOut,
    /// The levels of the run: those of the schedule, but for the samplers that only take its ends or go back up.
    levels: Vec<NoiseLevel>,
    /// The level that noise is mixed with a picture at.
    noised: NoiseLevel,
    /// The least sigma above 0 of a whole run and the greatest.
    sigma_range: [f64; 2],
}

impl Sampler {
    /// Checks the options and lays out the noise levels.
    ///
    /// # Errors
    /// [`Error::Schedule`], [`Error::Steps`], [`Error::CompvisSteps`], [`Error::Eta`], [`Error::EtaRange`], [`Error::OptionRange`],
    /// [`Error::SamplerOption`], [`Error::ScheduleOption`], [`Error::SettingOfSampler`] and [`Error::SettingNeeds`] for what the
    /// sampler can't take.
    pub fn new(
        kind: SamplerKind,
        schedule: ScheduleKind,
        noise_schedule: &NoiseSchedule,
        options: SampleOptions,
    ) -> Result<Self, Error> {
        if !kind.has_schedule(schedule) {
            return Err(Error::Schedule { sampler: kind, schedule });
        }
        options.check(kind, schedule)?;
        let eta = kind.info().noise.default_eta().map(|own| options.eta.unwrap_or(own));
        let options = SampleOptions { eta, scheduler: options.scheduler.effective(kind, schedule), ..options };
        let of_diffusers = options.is_of_diffusers(kind, schedule);
        let noise_schedule = if of_diffusers { noise_schedule.of_diffusers() } else { noise_schedule.of_compvis() };
        let laid_out = levels::levels(kind, schedule, &noise_schedule, &options)?;
        // `dpm_fast` and `dpm_adaptive` go from the model's greatest sigma to its least whatever the schedule, as in A1111.
        let ends = sigmas::ends_of_model(&noise_schedule, &options.settings);
        Ok(Self::planned(kind, options, Arc::new(noise_schedule), laid_out, ends))
    }

    /// The run over these levels; `ends` are the greatest and the least sigma of the samplers that take no others.
    fn planned(
        kind: SamplerKind,
        options: SampleOptions,
        noise_schedule: Arc<NoiseSchedule>,
        laid_out: LaidOut,
        ends: [f64; 2],
    ) -> Self {
        let (all, count) = (&laid_out.all, options.steps);
        let levels = match kind {
            SamplerKind::DpmFast => plan::fast(&noise_schedule, ends, count),
            SamplerKind::DpmAdaptive => ends.map(|sigma| noise_schedule.level(sigma)).to_vec(),
            SamplerKind::Restart => plan::restarts(&noise_schedule, all),
            _ => all.clone(),
        };
        let noised = levels.first().copied().unwrap_or(NoiseLevel::CLEAN);
        let sigmas = laid_out.all.iter().map(|level| level.sigma).filter(|&sigma| sigma > 0.0);
        let sigma_range = [sigmas.clone().fold(f64::INFINITY, f64::min), sigmas.fold(0.0, f64::max)];
        Self { kind, options, noise_schedule, laid_out, levels, noised, sigma_range }
    }

    /// Which sampler this is.
    #[must_use]
    pub fn kind(&self) -> SamplerKind {
        self.kind
    }

    /// How many steps a run takes; a guess if the sampler is [`SamplerFeature::Adaptive`].
    #[must_use]
    pub fn steps(&self) -> usize {
        if self.kind.info().has(SamplerFeature::Adaptive) {
            return run::ADAPTIVE_GUESS;
        }
        run::steps(&self.levels, 0)
    }

    /// The noise levels from start to end, one more than there are steps. Where `restart` goes back up, the next level
    /// is a higher one; `dpm_adaptive` has only the first and the last.
    #[must_use]
    pub fn levels(&self) -> &[NoiseLevel] {
        &self.levels
    }

    /// What unit-variance noise is multiplied by to make the first `x`, in variance-exploding form.
    ///
    /// Diffusers starts the samplers that come from k-diffusion at `sigma`, and those of the variance-preserving
    /// papers at `sqrt(sigma² + 1)` (its `init_noise_sigma`); A1111 does so too, but for `dpmpp_2m`. Each is kept.
    #[must_use]
    pub fn init_noise_sigma(&self) -> f64 {
        let first = self.levels.first().copied().unwrap_or(NoiseLevel::CLEAN);
        if self.laid_out.starts_preserving { first.scale() } else { first.sigma }
    }

    /// The least sigma above 0 and the greatest of a whole run: the ends of the Brownian motion of SDE samplers, in
    /// k-diffusion and A1111, also of a run that starts in the middle.
    #[must_use]
    pub fn sigma_range(&self) -> [f64; 2] {
        self.sigma_range
    }

    /// How many times a run draws noise for its steps ([`NoiseSource::noise`], not counting
    /// [`NoiseSource::noise_between`]): what one batch takes from a stream for all batches after its starting noise.
    /// CompVis' `ddim` and `plms` draw in every step, also where the noise is then multiplied by 0. Those of a sampler
    /// that is [`SamplerFeature::Adaptive`] depend on the pictures: then it is how many a run of an empty one has.
    #[must_use]
    pub fn noise_draws(&self) -> usize {
        let mut count = CountDraws(0);
        self.run(NoDenoiser, &one(), &mut count).for_each(drop);
        count.0
    }

    /// Starts a run from unit-variance `noise_latents`; `noise` is drawn from in the stochastic samplers only.
    ///
    /// Nothing is computed until the iterator is asked for a step.
    pub fn run<'a, D, N>(&self, denoiser: D, noise_latents: &Latents, noise: N) -> Run<'a, D, N>
    where
        D: Denoiser + 'a,
        N: NoiseSource + 'a,
    {
        let scale = self.init_noise_sigma();
        let x = noise_latents.map(|noise| (f64::from(noise) * scale) as f32);
        Run::new(self, denoiser, x, noise)
    }
}

/// Whether the second level is the noisier one.
fn rises(pair: &[NoiseLevel]) -> bool {
    matches!(pair, [from, to] if to.sigma > from.sigma)
}

/// The least that can be sampled.
fn one() -> Latents {
    Latents::of_images([1; 3], &[0.0])
}

/// Counts what is drawn from it.
struct CountDraws(usize);

impl NoiseSource for CountDraws {
    fn noise(&mut self) -> Latents {
        self.0 += 1;
        one()
    }

    fn noise_between(&mut self, _sigma: f64, _sigma_next: f64) -> Latents {
        one()
    }
}

/// A model of nothing but zeros.
struct NoDenoiser;

impl Denoiser for NoDenoiser {
    type Error = Error;

    fn denoise(&mut self, x: &Latents, _level: NoiseLevel) -> Result<Latents, Error> {
        Ok(x.map(|_| 0.0))
    }
}
