//! Which noise levels a run goes through.
//!
//! Each schedule is diffusers' with the scheduler configs of Stable Diffusion 1, rounding included: its sigmas are
//! stored in f32, and the timestep given to the network is not always the one that belongs to the sigma.

use super::{SamplerKind, ScheduleKind};
use crate::{NoiseLevel, NoiseSchedule};

/// The levels of a run of `steps` steps, from noise to clean: `steps + 1` of them, sigmas falling.
pub(super) fn levels(
    kind: SamplerKind,
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    steps: usize,
) -> Vec<NoiseLevel> {
    if kind.has_integer_steps() {
        return leading(noise_schedule, steps);
    }
    let mut levels = match (kind, schedule) {
        (SamplerKind::Dpmpp2m, ScheduleKind::Default) => whole(noise_schedule, steps),
        (SamplerKind::Dpmpp2m, ScheduleKind::Karras) => {
            let sigmas = noise_schedule.sigmas().iter().map(|&sigma| f64::from(sigma));
            let karras = karras(noise_schedule, sigmas.rev(), steps);
            karras.map(|level| NoiseLevel { timestep: level.timestep.round_ties_even(), ..level }).collect()
        }
        (_, ScheduleKind::Default | ScheduleKind::Compvis) => {
            linspace(noise_schedule, steps).map(stored).collect::<Vec<_>>()
        }
        (_, ScheduleKind::Karras) => {
            let sigmas = linspace(noise_schedule, steps).map(|level| level.sigma);
            karras(noise_schedule, sigmas, steps).collect()
        }
    };
    levels.push(NoiseLevel::CLEAN);
    levels
}

/// `timestep_spacing: "leading"`, `steps_offset: 1`, `set_alpha_to_one: false`: whole timesteps `T / steps` apart,
/// the last of them 1, and from there to timestep 0, whose little noise stays in the picture.
fn leading(noise_schedule: &NoiseSchedule, steps: usize) -> Vec<NoiseLevel> {
    let ratio = noise_schedule.num_train_timesteps() / steps;
    let timesteps = (0..steps).rev().map(|i| i * ratio + 1).chain([0]);
    let alphas = noise_schedule.alphas_cumprod();
    timesteps
        .map(|t| {
            let alpha = alphas.get(t).map_or(f64::NAN, |&alpha| f64::from(alpha));
            NoiseLevel { sigma: ((1.0 - alpha) / alpha).sqrt(), timestep: t as f64 }
        })
        .collect()
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

/// Karras et al. 2022, eq. 5, with ρ = 7, between the first and the last of `sigmas`.
fn karras(
    noise_schedule: &NoiseSchedule,
    mut sigmas: impl DoubleEndedIterator<Item = f64>,
    steps: usize,
) -> impl Iterator<Item = NoiseLevel> {
    const RHO: f64 = 7.0;
    let max = sigmas.next().unwrap_or(f64::NAN);
    let min = sigmas.next_back().unwrap_or(max);
    let (max_root, min_root) = (max.powf(1.0 / RHO), min.powf(1.0 / RHO));
    (0..steps).map(move |i| {
        let ramp = i as f64 / (steps.max(2) - 1) as f64;
        let sigma = (max_root + ramp * (min_root - max_root)).powf(RHO);
        stored(NoiseLevel { sigma, timestep: noise_schedule.sigma_to_t(sigma) })
    })
}

/// Diffusers keeps both numbers in f32.
fn stored(level: NoiseLevel) -> NoiseLevel {
    NoiseLevel { sigma: f64::from(level.sigma as f32), timestep: f64::from(level.timestep as f32) }
}
