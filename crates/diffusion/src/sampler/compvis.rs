//! The levels of CompVis' three samplers, as their code lays them out for `--ddim_steps`.

use super::SamplerKind;
use crate::schedule::{exp, ln};
use crate::{Error, NoiseLevel, NoiseSchedule};

/// The levels of a run for which `steps` were asked, from noise to nearly clean.
pub(super) fn levels(
    kind: SamplerKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
) -> Result<Vec<NoiseLevel>, Error> {
    let count = noise_schedule.num_train_timesteps();
    let takes = |steps: usize| match kind {
        SamplerKind::DpmSolver => (2..=count).contains(&steps),
        _ => (1..=count).contains(&steps) && stays_inside(count, steps),
    };
    if !takes(steps) {
        let below = (1..steps.min(count + 1)).rev().find(|&steps| takes(steps));
        let above = (steps.saturating_add(1)..=count).find(|&steps| takes(steps));
        let nearest = [below, above].into_iter().flatten().map(|steps| steps.to_string()).collect::<Vec<_>>();
        return Err(Error::CompvisSteps { sampler: kind, steps, nearest: nearest.join(" or ") });
    }
    Ok(match kind {
        SamplerKind::DpmSolver => time_uniform(noise_schedule, steps),
        _ => uniform(noise_schedule, steps),
    })
}

/// Whether the last timestep of [`uniform`] is one the model was trained on.
fn stays_inside(count: usize, steps: usize) -> bool {
    let last = (count - 1) % (count / steps);
    last != 0
}

/// `make_ddim_timesteps("uniform")`: every `T / steps`th timestep from 1 up. When that does not divide evenly there are
/// more than `steps`. The run ends at timestep 0, whose little noise stays in the picture (`alphas_prev` begins with its ᾱ).
fn uniform(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let count = noise_schedule.num_train_timesteps();
    let rising: Vec<usize> = (0..count).step_by(count / steps).map(|t| t + 1).collect();
    let alphas = noise_schedule.alphas_cumprod();
    let level = |t: usize| {
        let alpha = alphas.get(t).map_or(f64::NAN, |&alpha| f64::from(alpha));
        NoiseLevel { sigma: ((1.0 - alpha) / alpha).sqrt(), timestep: t as f64 }
    };
    rising.into_iter().rev().chain([0]).map(level).collect()
}

/// DPM-Solver's `time_uniform` over its discrete `NoiseScheduleVP`: t from 1 down to `1 / T`, evenly, and `log α`
/// interpolated between the timesteps `t = (n + 1) / T`. The network is given `T t − 1`, mostly a fraction.
///
/// In f32 as there: near the end `σ² = 1 − α²` is a small difference, and keeps only four digits.
fn time_uniform(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let count = noise_schedule.num_train_timesteps() as f32;
    let (first, last) = (1.0f32, 1.0 / count);
    let spacing = (last - first) / steps as f32;
    let t = |i: usize| {
        if i <= steps / 2 { first + spacing * i as f32 } else { last - spacing * (steps - i) as f32 }
    };
    let level = |t: f32| {
        let log_alpha = log_alpha(noise_schedule, t);
        let (alpha, alpha_squared) = (exp(log_alpha), exp(2.0 * log_alpha));
        let sigma = f64::from((1.0 - alpha_squared).sqrt()) / f64::from(alpha);
        NoiseLevel { sigma, timestep: f64::from((t - last) * count) }
    };
    (0..=steps).map(t).map(level).collect()
}

/// `log α = ½ log ᾱ` at a time from `1 / T` to 1.
fn log_alpha(noise_schedule: &NoiseSchedule, t: f32) -> f32 {
    let alphas = noise_schedule.alphas_cumprod();
    let count = alphas.len();
    let time = |n: usize| (n + 1) as f32 / count as f32;
    let log_alpha = |n: usize| alphas.get(n).map_or(f32::NAN, |&alpha| 0.5 * ln(alpha));
    let n = ((t * count as f32) as usize).saturating_sub(1).min(count - 2);
    let (low, high) = (log_alpha(n), log_alpha(n + 1));
    low + (t - time(n)) * (high - low) / (time(n + 1) - time(n))
}
