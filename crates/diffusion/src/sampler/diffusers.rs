//! The levels of diffusers' schedulers (`set_timesteps`): by default with the scheduler configs of Stable Diffusion 1.
//!
//! Its rounding is kept: sigmas are stored in f32, and the timestep given to the network is not always the one that
//! belongs to the sigma.

use super::scheduler_settings::{Family, FinalSigmas, SigmaSpacing, TimestepSpacing};
use super::sigmas::{between, karras};
use super::{SampleOptions, SamplerKind, SamplerSettings, ScheduleKind, SchedulerSettings, beta, timesteps};
use crate::linspace::linspace as evenly;
use crate::{Error, NoiseLevel, NoiseSchedule};

/// Timesteps that the Runge–Kutta start of `plms` is laid over.
pub(super) const RUNGE_KUTTA_TIMESTEPS: usize = 4;

/// The sigma of no signal at all where no scheduler has a number for it (DDIM, whose ᾱ is 0 there).
const NO_SIGNAL: f64 = 1e6;

/// The levels of `default` and `karras` of the samplers that diffusers has.
pub(super) fn levels(
    kind: SamplerKind,
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
    options: &SampleOptions,
) -> Result<Vec<NoiseLevel>, Error> {
    let (settings, scheduler) = (&options.settings, &options.scheduler);
    match Family::of(kind) {
        Some(family) if !scheduler.is_empty() => with_settings(kind, family, noise_schedule, steps, options),
        Some(Family::Whole) => Ok(leading(noise_schedule, steps)),
        _ => by_default(kind, schedule, noise_schedule, steps, settings),
    }
}

/// Those of the samplers whose levels are sigmas.
fn by_default(
    kind: SamplerKind,
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
    settings: &SamplerSettings,
) -> Result<Vec<NoiseLevel>, Error> {
    let level = |sigma: f64| noise_schedule.level(sigma);
    let mut levels: Vec<_> = match (kind, schedule) {
        (SamplerKind::Dpmpp2m, ScheduleKind::Karras) => {
            karras(noise_schedule, steps, settings)?.map(level).map(rounded).collect()
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

/// Those of a config that has settings.
fn with_settings(
    kind: SamplerKind,
    family: Family,
    noise_schedule: &NoiseSchedule,
    steps: usize,
    options: &SampleOptions,
) -> Result<Vec<NoiseLevel>, Error> {
    let scheduler = options.scheduler.or(SchedulerSettings::defaults(kind));
    let timesteps = timesteps(family, noise_schedule.num_train_timesteps(), steps, &scheduler)?;
    if family == Family::Whole {
        let levels = timesteps.into_iter().map(|t| whole_level(kind, noise_schedule, t as usize));
        return Ok(levels.chain([final_level(noise_schedule, scheduler.set_alpha_to_one == Some(true))]).collect());
    }
    let of_timestep = |timestep: f64| NoiseLevel { sigma: noise_schedule.sigma_at(timestep), timestep };
    let of_timesteps: Vec<NoiseLevel> = timesteps.into_iter().map(of_timestep).map(stored).collect();
    let spacing = scheduler.sigma_spacing.unwrap_or(SigmaSpacing::Timesteps);
    let mut levels = if spacing == SigmaSpacing::Timesteps {
        of_timesteps
    } else {
        let sigma_of = |level: Option<&NoiseLevel>| level.map_or(f64::NAN, |level| level.sigma);
        let trained = noise_schedule.sigmas();
        let ends = match family {
            Family::Multistep => [trained.last(), trained.first()].map(|s| s.map_or(f64::NAN, |&s| f64::from(s))),
            _ => [sigma_of(of_timesteps.first()), sigma_of(of_timesteps.last())],
        };
        let sigmas = spaced(spacing, ends, steps, &options.settings).into_iter();
        sigmas.map(|sigma| kept(kind, family, spacing, noise_schedule, sigma)).collect()
    };
    levels.push(match scheduler.final_sigmas_type {
        Some(FinalSigmas::SigmaMin) => stored(of_timestep(0.0)),
        _ => NoiseLevel::CLEAN,
    });
    Ok(levels)
}

/// The timesteps of a run, falling.
fn timesteps(family: Family, count: usize, steps: usize, scheduler: &SchedulerSettings) -> Result<Vec<f64>, Error> {
    let offset = scheduler.steps_offset.unwrap_or(1);
    let spacing = scheduler.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
    let timesteps: Vec<f64> = match (spacing, family) {
        (TimestepSpacing::Leading, Family::Multistep) => {
            let ratio = count / (steps + 1);
            (1..=steps).rev().map(|i| (i * ratio + offset) as f64).collect()
        }
        (TimestepSpacing::Leading, _) => (0..steps).rev().map(|i| (i * (count / steps) + offset) as f64).collect(),
        (TimestepSpacing::Linspace, Family::Multistep) => whole_timesteps(count, steps).collect(),
        (TimestepSpacing::Linspace, Family::Sigmas) => {
            linspace_timesteps(count, steps).map(|t| f64::from(t as f32)).collect()
        }
        (TimestepSpacing::Linspace, Family::Whole) => {
            linspace_timesteps(count, steps).map(f64::round_ties_even).collect()
        }
        (TimestepSpacing::Trailing, _) => trailing(count, steps).collect(),
    };
    let (first, last) = (timesteps.first().copied().unwrap_or(0.0), (count - 1) as f64);
    if first > last {
        let value = offset as f64;
        return Err(Error::OptionRange { option: "steps_offset", value, expected: "less, or take fewer steps" });
    }
    Ok(timesteps)
}

/// `numpy.arange(T, 0, −T / steps)` rounded, less 1. For some counts numpy has one more, 0, which would be timestep −1 and
/// is left out.
fn trailing(count: usize, steps: usize) -> impl Iterator<Item = f64> {
    let first = count as f64;
    let spacing = first - first / steps as f64 - first;
    (0..steps).map(move |i| (first + i as f64 * spacing).round_ties_even() - 1.0)
}

/// So many sigmas between two.
fn spaced(spacing: SigmaSpacing, [max, min]: [f64; 2], steps: usize, settings: &SamplerSettings) -> Vec<f64> {
    match spacing {
        SigmaSpacing::Karras => between(max, min, 7.0, steps).collect(),
        SigmaSpacing::Beta => {
            let share = |p: f64| beta::quantile(1.0 - p, settings.beta_alpha, settings.beta_beta);
            evenly(0.0, 1.0, steps).map(|p| min + share(p) * (max - min)).collect()
        }
        _ => evenly(max.ln(), min.ln(), steps).map(f64::exp).collect(),
    }
}

/// The level of one of [`spaced`] sigmas, with the timestep that a scheduler keeps of it.
fn kept(
    kind: SamplerKind,
    family: Family,
    spacing: SigmaSpacing,
    noise_schedule: &NoiseSchedule,
    sigma: f64,
) -> NoiseLevel {
    let level = noise_schedule.level(sigma);
    let rounds = matches!(spacing, SigmaSpacing::Karras | SigmaSpacing::Lu);
    match (family, kind) {
        (Family::Multistep, SamplerKind::UniPc) if rounds => rounded(level),
        (Family::Multistep, _) if rounds && !noise_schedule.is_cosine() => rounded(level),
        // Integers there, what is behind the point cut off.
        (Family::Multistep, _) => {
            NoiseLevel { timestep: noise_schedule.sigma_to_t_of_diffusers(sigma).floor(), ..level }
        }
        (_, SamplerKind::Dpm2 | SamplerKind::Dpm2A) if rounds => rounded(level),
        _ => level,
    }
}

/// The level of a whole timestep of DDIM and PNDM.
fn whole_level(kind: SamplerKind, noise_schedule: &NoiseSchedule, timestep: usize) -> NoiseLevel {
    let level = timesteps::whole(noise_schedule, timestep);
    let is_last = timestep + 1 == noise_schedule.num_train_timesteps();
    match noise_schedule.stands_for_no_signal() && is_last && kind != SamplerKind::Plms {
        true => NoiseLevel { sigma: NO_SIGNAL, ..level },
        false => level,
    }
}

/// Where DDIM and PNDM end (`final_alpha_cumprod`).
pub(super) fn final_level(noise_schedule: &NoiseSchedule, to_one: bool) -> NoiseLevel {
    if to_one { NoiseLevel::CLEAN } else { timesteps::whole(noise_schedule, 0) }
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
fn linspace_timesteps(count: usize, steps: usize) -> impl DoubleEndedIterator<Item = f64> {
    let last = (count - 1) as f64;
    let spacing = last / (steps.max(2) - 1) as f64;
    (0..steps).rev().map(move |i| if i > 0 && i + 1 == steps { last } else { i as f64 * spacing })
}

/// Their levels.
fn linspace(noise_schedule: &NoiseSchedule, steps: usize) -> impl DoubleEndedIterator<Item = NoiseLevel> {
    linspace_timesteps(noise_schedule.num_train_timesteps(), steps).map(move |timestep| {
        let timestep = f64::from(timestep as f32);
        NoiseLevel { sigma: noise_schedule.sigma_at(timestep), timestep }
    })
}

/// The same for DPM-Solver++: of `steps + 1` timesteps rounded to whole ones, all but the last, 0.
fn whole_timesteps(count: usize, steps: usize) -> impl DoubleEndedIterator<Item = f64> {
    let spacing = (count - 1) as f64 / steps as f64;
    (1..=steps).rev().map(move |i| (i as f64 * spacing).round_ties_even())
}

/// Their levels.
fn whole(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let timesteps = whole_timesteps(noise_schedule.num_train_timesteps(), steps);
    timesteps.map(|timestep| NoiseLevel { sigma: noise_schedule.sigma_at(timestep), timestep }).collect()
}

/// Diffusers keeps both numbers in f32.
fn stored(level: NoiseLevel) -> NoiseLevel {
    NoiseLevel { sigma: f64::from(level.sigma as f32), timestep: f64::from(level.timestep as f32) }
}

fn rounded(level: NoiseLevel) -> NoiseLevel {
    NoiseLevel { timestep: level.timestep.round_ties_even(), ..level }
}
