//! Which noise levels a run goes through: those of diffusers, with the scheduler configs of Stable Diffusion 1, here; those
//! of A1111 in [`super::sigmas`] and [`super::timesteps`].
//!
//! Diffusers' rounding is kept: its sigmas are stored in f32, and the timestep given to the network is not always the one
//! that belongs to the sigma.

use super::sigmas::{karras, sigmas};
use super::{SampleOptions, SamplerFeature, SamplerKind, SamplerSettings, ScheduleKind};
use super::{compvis, timesteps};
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
    use SamplerKind::{Dpmpp2m, UniPc};
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
    let a1111_timesteps = match kind {
        UniPc => matches!(schedule, Default | Automatic),
        _ => integer_steps && schedule == Automatic,
    };
    let diffusers = kind.is_of_diffusers(schedule);
    let (min, mut max) = (if a1111_timesteps && kind != UniPc { 2 } else { 1 }, noise_schedule.num_train_timesteps());
    if integer_steps && !a1111_timesteps {
        // These start one timestep later (`steps_offset: 1`).
        max -= 1;
    }
    if !(min..=max).contains(&steps) {
        return Err(Error::Steps { sampler: kind, steps, min, max });
    }
    let discards =
        options.settings.discard_next_to_last_sigma || kind.info().has(SamplerFeature::DiscardsNextToLastSigma);
    let laid_out = steps + usize::from(discards);

    let mut all = match kind {
        UniPc if a1111_timesteps => timesteps::unipc(noise_schedule, steps, options.settings.uni_pc_skip_type),
        _ if a1111_timesteps => timesteps::uniform(noise_schedule, steps),
        _ if integer_steps => leading(noise_schedule, steps),
        _ if diffusers => of_diffusers(kind, schedule, noise_schedule, laid_out, &options.settings)?,
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
    let starts_preserving = preserving || (diffusers && kind == Dpmpp2m) || options.settings.sgm_noise_multiplier;
    Ok(LaidOut { all, starts_preserving, ends_preserving: preserving, a1111_timesteps, compvis: false })
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

/// `default` and `karras` of the samplers that diffusers has.
fn of_diffusers(
    kind: SamplerKind,
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
    settings: &SamplerSettings,
) -> Result<Vec<NoiseLevel>, Error> {
    let level = |sigma: f64| noise_schedule.level(sigma);
    let mut levels: Vec<_> = match (kind, schedule) {
        (SamplerKind::Dpmpp2m, ScheduleKind::Karras) => {
            let levels = karras(noise_schedule, steps, settings)?.map(level);
            levels.map(|level| NoiseLevel { timestep: level.timestep.round_ties_even(), ..level }).collect()
        }
        (_, ScheduleKind::Karras) if steps == 1 && settings.sigma_max.is_none() => {
            // Its ends are those of the default schedule, which has one level: the least.
            linspace(noise_schedule, steps).map(stored).collect()
        }
        (_, ScheduleKind::Karras) => karras(noise_schedule, steps, settings)?.map(level).collect(),
        (SamplerKind::Dpmpp2m, _) => whole(noise_schedule, steps),
        _ => linspace(noise_schedule, steps).map(stored).collect(),
    };
    levels.push(NoiseLevel::CLEAN);
    Ok(levels)
}

/// `timestep_spacing: "leading"`, `steps_offset: 1`, `set_alpha_to_one: false`: whole timesteps `T / steps` apart,
/// the last of them 1, and from there to timestep 0, whose little noise stays in the picture.
fn leading(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let ratio = noise_schedule.num_train_timesteps() / steps;
    let timesteps = (0..steps).rev().map(|i| i * ratio + 1).chain([0]);
    timesteps.map(|t| timesteps::whole(noise_schedule, t)).collect()
}

/// `timestep_spacing: "linspace"`: `steps` timesteps from the last to 0 evenly, most of them fractions.
/// One step has only timestep 0, as in diffusers.
fn linspace(noise_schedule: &NoiseSchedule, steps: usize) -> impl DoubleEndedIterator<Item = NoiseLevel> {
    let last = (noise_schedule.num_train_timesteps() - 1) as f64;
    let spacing = last / (steps.max(2) - 1) as f64;
    (0..steps).rev().map(move |i| {
        let timestep = if i > 0 && i + 1 == steps { last } else { i as f64 * spacing };
        let timestep = f64::from(timestep as f32);
        NoiseLevel { sigma: noise_schedule.sigma_at(timestep), timestep }
    })
}

/// The same for DPM-Solver++: of `steps + 1` timesteps rounded to whole ones, all but the last, 0.
fn whole(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let spacing = (noise_schedule.num_train_timesteps() - 1) as f64 / steps as f64;
    let timesteps = (1..=steps).rev().map(|i| (i as f64 * spacing).round_ties_even());
    timesteps.map(|timestep| NoiseLevel { sigma: noise_schedule.sigma_at(timestep), timestep }).collect()
}

/// Diffusers keeps both numbers in f32.
fn stored(level: NoiseLevel) -> NoiseLevel {
    NoiseLevel { sigma: f64::from(level.sigma as f32), timestep: f64::from(level.timestep as f32) }
}
