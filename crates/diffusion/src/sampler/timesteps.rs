//! A1111's levels for the samplers that think in timesteps, and those of latent consistency models.

use super::sigmas::sigmas;
use super::{SamplerSettings, ScheduleKind, UniPcSkipType};
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

/// UniPC's timesteps: from the last to 0, mostly fractions. A1111 gives it as many steps as [`uniform`] has timesteps.
pub(super) fn unipc(noise_schedule: &NoiseSchedule, steps: usize, skip_type: UniPcSkipType) -> Vec<NoiseLevel> {
    let last = (noise_schedule.num_train_timesteps() - 1) as f64;
    unipc_from(noise_schedule, last, uniform(noise_schedule, steps).len(), skip_type)
}

/// The same from another timestep than the last, in `steps` steps. Its `t`, which is evenly spaced or whose square root is, is
/// that of continuous time: timestep `T t − 1`, so that 0 is at `1 / T`.
pub(super) fn unipc_from(
    noise_schedule: &NoiseSchedule,
    timestep: f64,
    steps: usize,
    skip_type: UniPcSkipType,
) -> Vec<NoiseLevel> {
    let level = |timestep| log_linear(noise_schedule, timestep);
    match skip_type {
        UniPcSkipType::TimeUniform => linspace(timestep, 0.0, steps + 1).map(level).collect(),
        UniPcSkipType::TimeQuadratic => {
            let count = noise_schedule.num_train_timesteps() as f64;
            let roots = linspace(((timestep + 1.0) / count).sqrt(), (1.0 / count).sqrt(), steps + 1);
            roots.map(|root| level((root.powi(2) * count - 1.0).max(0.0))).collect()
        }
        UniPcSkipType::LogSnr => {
            let [first, last] = [timestep, 0.0].map(|timestep| level(timestep).sigma.ln());
            let sigmas = linspace(first, last, steps + 1).map(f64::exp);
            sigmas.map(|sigma| NoiseLevel { sigma, timestep: timestep_of(noise_schedule, sigma) }).collect()
        }
    }
}

/// The level of a fractional timestep, `log ᾱ` interpolated (Lu et al. 2022, "DPM-Solver", appendix D.4).
fn log_linear(noise_schedule: &NoiseSchedule, timestep: f64) -> NoiseLevel {
    let alphas = noise_schedule.alphas_cumprod();
    let low = (timestep as usize).min(alphas.len().saturating_sub(2));
    let log_of = |i: usize| alphas.get(i).map_or(f64::NAN, |&alpha| f64::from(alpha).ln());
    let log_alpha = log_of(low) + (log_of(low + 1) - log_of(low)) * (timestep - low as f64);
    NoiseLevel { sigma: (-log_alpha).exp_m1().sqrt(), timestep }
}

/// The timestep of a sigma that [`log_linear`] has for it.
fn timestep_of(noise_schedule: &NoiseSchedule, sigma: f64) -> f64 {
    let alphas = noise_schedule.alphas_cumprod();
    let log_alpha = -sigma.powi(2).ln_1p();
    let log_of = |i: usize| alphas.get(i).map_or(f64::NAN, |&alpha| f64::from(alpha).ln());
    let below = alphas.partition_point(|&alpha| f64::from(alpha).ln() > log_alpha);
    let low = below.saturating_sub(1).min(alphas.len().saturating_sub(2));
    let share = (log_alpha - log_of(low)) / (log_of(low + 1) - log_of(low));
    low as f64 + share.clamp(0.0, 1.0)
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
