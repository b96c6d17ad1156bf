//! A1111's levels for the samplers that think in timesteps, and those of latent consistency models.

use super::sigmas::sigmas;
use super::{SamplerSettings, ScheduleKind};
use crate::linspace::linspace;
use crate::{Error, NoiseLevel, NoiseSchedule};

/// The level of a whole timestep.
pub(super) fn whole(noise_schedule: &NoiseSchedule, t: usize) -> NoiseLevel {
    let alpha = noise_schedule.alphas_cumprod().get(t).map_or(f64::NAN, |&alpha| f64::from(alpha));
    NoiseLevel { sigma: ((1.0 - alpha) / alpha).sqrt(), timestep: t as f64 }
}

/// A1111's `get_timesteps`: every `T / steps`th from 1 up, in falling order. They may be more than `steps`, and are the
/// levels themselves: its DDIM and PLMS end at timestep 1, so they mostly take `steps − 1` steps.
pub(super) fn uniform(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let count = noise_schedule.num_train_timesteps();
    let rising = (0..count).step_by((count / steps).max(1)).map(|t| (t + 1).min(count - 1));
    rising.collect::<Vec<_>>().into_iter().rev().map(|t| whole(noise_schedule, t)).collect()
}

/// UniPC's `time_uniform`: `t` from 1 down to `1 / T` evenly, which are timesteps `T t − 1`, most of them fractions.
/// A1111 gives it as many steps as [`uniform`] has timesteps.
pub(super) fn time_uniform(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let last = (noise_schedule.num_train_timesteps() - 1) as f64;
    time_uniform_from(noise_schedule, last, uniform(noise_schedule, steps).len())
}

/// The same from another timestep than the last, in `steps` steps.
pub(super) fn time_uniform_from(noise_schedule: &NoiseSchedule, timestep: f64, steps: usize) -> Vec<NoiseLevel> {
    linspace(timestep, 0.0, steps + 1).map(|t| log_linear(noise_schedule, t)).collect()
}

/// The level of a fractional timestep, `log ᾱ` interpolated (Lu et al. 2022, "DPM-Solver", appendix D.4).
fn log_linear(noise_schedule: &NoiseSchedule, timestep: f64) -> NoiseLevel {
    let alphas = noise_schedule.alphas_cumprod();
    let low = (timestep as usize).min(alphas.len().saturating_sub(2));
    let log_of = |i: usize| alphas.get(i).map_or(f64::NAN, |&alpha| f64::from(alpha).ln());
    let log_alpha = log_of(low) + (log_of(low + 1) - log_of(low)) * (timestep - low as f64);
    NoiseLevel { sigma: (-log_alpha).exp_m1().sqrt(), timestep }
}

/// The timesteps that latent consistency models are distilled on (Luo et al. 2023, section 4.3): 50.
const CONSISTENCY_TIMESTEPS: usize = 50;

/// A schedule laid over those timesteps only; each sigma is given to the network with the nearest of them (A1111's
/// `LCMCompVisDenoiser`).
pub(super) fn latent_consistency(
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
    settings: &SamplerSettings,
) -> Result<Vec<NoiseLevel>, Error> {
    let (timesteps, thinned) = noise_schedule.thinned(CONSISTENCY_TIMESTEPS);
    let sigmas = sigmas(schedule, &thinned, steps, settings)?;
    let nearest = |sigma: f64| {
        let distance = |i: usize| thinned.sigmas().get(i).map_or(f64::NAN, |&s| (f64::from(s).ln() - sigma.ln()).abs());
        (0..timesteps.len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
    };
    let level = |sigma: f64| match sigma {
        0.0 => NoiseLevel::CLEAN,
        _ => NoiseLevel { sigma, timestep: timesteps.get(nearest(sigma)).map_or(f64::NAN, |&t| t as f64) },
    };
    Ok(sigmas.into_iter().map(level).collect())
}
