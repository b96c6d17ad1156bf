//! Which noise levels a run goes through: those of diffusers are in [`super::diffusers`], those of A1111 in
//! [`super::sigmas`] and [`super::timesteps`], those of CompVis in [`super::compvis`].

use super::scheduler_settings::{Family, TimestepSpacing};
use super::sigmas::sigmas;
use super::{SampleOptions, SamplerFeature, SamplerKind, SamplerSettings, ScheduleKind};
use super::{compvis, diffusers, timesteps};
use crate::{Error, NoiseLevel, NoiseSchedule};

/// The levels of a run, and how its samples are scaled at both ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LaidOut {
    /// From noise to clean, sigmas falling; one more than there are steps.
    pub(super) all: Vec<NoiseLevel>,
    /// Whether unit-variance noise is the first sample in variance-preserving scale, `sqrt(sigma² + 1)` in ours;
    /// otherwise it is `sigma`.
    pub(super) starts_preserving: bool,
    /// Whether the last sample is one in variance-preserving scale; otherwise what noise is left in it is not thought of.
    pub(super) ends_preserving: bool,
    /// Whether these are A1111's timesteps, on which img2img is cut differently.
    pub(super) a1111_timesteps: bool,
    /// Whether they are CompVis', and the sampler with them CompVis' to the letter.
    pub(super) compvis: bool,
}

/// The levels of a run of `options.steps` steps.
pub(super) fn levels(
    kind: SamplerKind,
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    options: &SampleOptions,
) -> Result<LaidOut, Error> {
    use SamplerKind::UniPc;
    use ScheduleKind::{Automatic, Default};
    if !kind.has_schedule(schedule) {
        return Err(Error::Schedule { sampler: kind, schedule });
    }
    let steps = options.steps;
    if kind.resolved(schedule) == ScheduleKind::Compvis {
        let all = compvis::levels(kind, noise_schedule, steps)?;
        return Ok(LaidOut {
            all,
            starts_preserving: true,
            ends_preserving: true,
            a1111_timesteps: false,
            compvis: true,
        });
    }
    let integer_steps = kind.info().has(SamplerFeature::IntegerSteps);
    let of_diffusers = options.is_of_diffusers(kind, schedule);
    let a1111_timesteps = match kind {
        UniPc => !of_diffusers && matches!(schedule, Default | Automatic),
        _ => integer_steps && schedule == Automatic,
    };
    let spacing = options.scheduler.timestep_spacing;
    let runge_kutta = options.scheduler.skip_prk_steps == Some(false);
    let min = match (a1111_timesteps && kind != UniPc, runge_kutta) {
        (true, _) => 2,
        (false, true) => diffusers::RUNGE_KUTTA_TIMESTEPS,
        (false, false) => 1,
    };
    let mut max = noise_schedule.num_train_timesteps();
    if integer_steps && !a1111_timesteps && spacing.is_none_or(|spacing| spacing == TimestepSpacing::Leading) {
        // These start one timestep later (`steps_offset: 1`).
        max -= 1;
    }
    if !(min..=max).contains(&steps) {
        return Err(Error::Steps { sampler: kind, steps, min, max });
    }
    let always = !of_diffusers && kind.info().has(SamplerFeature::DiscardsNextToLastSigma);
    let discards = options.settings.discard_next_to_last_sigma || always;
    let laid_out = steps + usize::from(discards);

    let mut all = match kind {
        UniPc if a1111_timesteps => timesteps::unipc(noise_schedule, steps, options.settings.uni_pc_skip_type),
        _ if a1111_timesteps => timesteps::uniform(noise_schedule, steps),
        _ if of_diffusers => diffusers::levels(kind, schedule, noise_schedule, laid_out, options)?,
        SamplerKind::Lcm => {
            timesteps::latent_consistency(kind.resolved(schedule), noise_schedule, laid_out, &options.settings)?
        }
        _ => of_sigmas(kind.resolved(schedule), noise_schedule, laid_out, &options.settings)?,
    };
    if discards && all.len() > 2 {
        // The last but one of sigmas of which the last is 0 (or, in `kl_optimal`, the least). One has to stay.
        let last = all.pop();
        all.pop();
        all.extend(last);
    }
    let preserving = integer_steps || kind == UniPc;
    let family = Family::of(kind).filter(|_| of_diffusers);
    let starts_preserving = match family {
        Some(Family::Multistep) => true,
        // `init_noise_sigma` of diffusers' schedulers that are in k-diffusion's manner.
        Some(Family::Sigmas) if spacing == Some(TimestepSpacing::Leading) => true,
        _ => preserving,
    };
    Ok(LaidOut {
        all,
        starts_preserving: starts_preserving || options.settings.sgm_noise_multiplier,
        ends_preserving: preserving || family == Some(Family::Multistep),
        a1111_timesteps,
        compvis: false,
    })
}

/// The levels of A1111's sigmas, each with its timestep.
fn of_sigmas(
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
    settings: &SamplerSettings,
) -> Result<Vec<NoiseLevel>, Error> {
    let sigmas = sigmas(schedule, noise_schedule, steps, settings)?;
    Ok(sigmas.into_iter().map(|sigma| noise_schedule.level(sigma)).collect())
}
