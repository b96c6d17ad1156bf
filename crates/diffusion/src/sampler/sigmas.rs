//! A1111's schedules: which sigmas a run of `n` steps goes through, the last 0 included.
//!
//! Formulas of k-diffusion (`get_sigmas_*`, `DiscreteSchedule`) and of A1111 1.10 (`sd_schedulers.py`), with their order of
//! operations in f32 and their rounding: the noise of the SDE samplers shows the last digit of a sigma. What is a function of
//! f32 is correctly rounded here, which theirs mostly is too.

use super::{SamplerSettings, ScheduleKind, beta};
use crate::linspace::{linspace, linspace_f32};
use crate::schedule::exp;
use crate::{Error, NoiseSchedule};

/// The sigmas of "Align Your Steps" (Sabour et al. 2024) for Stable Diffusion 1.5, ten steps.
const ALIGN_YOUR_STEPS: [f64; 11] = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029];

/// The sigmas of a schedule over the training sigmas of `noise_schedule`: falling, mostly `n + 1` of them.
pub(super) fn sigmas(
    schedule: ScheduleKind,
    noise_schedule: &NoiseSchedule,
    n: usize,
    settings: &SamplerSettings,
) -> Result<Vec<f64>, Error> {
    let train = noise_schedule.sigmas();
    let [max, min] = ends(noise_schedule, settings)?;
    let rho = settings.rho.or(schedule.info().rho).unwrap_or(1.0);
    // Torch takes Python's numbers, which are f64, as f32 where they meet tensors.
    let at_timesteps = |count: usize| {
        let ends = [max, min].map(|sigma| noise_schedule.sigma_to_t(sigma) as f32);
        linspace_f32(ends[0], ends[1], count).map(|t| noise_schedule.t_to_sigma(f64::from(t)))
    };
    let rounded = |f: fn(f64) -> f64, x: f32| f(f64::from(x)) as f32;

    let mut sigmas: Vec<f64> = match schedule {
        ScheduleKind::Default | ScheduleKind::Automatic | ScheduleKind::Compvis | ScheduleKind::Uniform => {
            let timesteps = linspace_f32((train.len() - 1) as f32, 0.0, n);
            timesteps.map(|t| noise_schedule.t_to_sigma(f64::from(t))).collect()
        }
        ScheduleKind::Karras => {
            let [start, end] = [max, min].map(|sigma| sigma.powf(1.0 / rho));
            let root = |ramp: f32| start as f32 + ramp * (end - start) as f32;
            linspace_f32(0.0, 1.0, n).map(|ramp| f64::from(root(ramp)).powf(rho)).collect()
        }
        ScheduleKind::Exponential => {
            linspace_f32(max.ln() as f32, min.ln() as f32, n).map(|log| f64::from(exp(log))).collect()
        }
        ScheduleKind::Polyexponential => {
            let power = |ramp: f32| f64::from(ramp).powf(rho) as f32;
            let log = |ramp: f32| power(ramp) * (max.ln() - min.ln()) as f32 + min.ln() as f32;
            linspace_f32(1.0, 0.0, n).map(|ramp| f64::from(exp(log(ramp)))).collect()
        }
        ScheduleKind::SgmUniform => at_timesteps(n + 1).take(n).collect(),
        ScheduleKind::Normal => at_timesteps(n).collect(),
        ScheduleKind::KlOptimal => {
            let [of_max, of_min] = [max, min].map(|sigma| rounded(f64::atan, sigma as f32));
            let angle = |share: f32| share * of_min + (1.0 - share) * of_max;
            let sigmas = (0..=n).map(|i| f64::from(rounded(f64::tan, angle(i as f32 / n as f32))));
            // The angle of an immense sigma is rounded to more than a quarter turn.
            sigmas.map(|sigma| if sigma > 0.0 { sigma } else { max }).collect()
        }
        ScheduleKind::AlignYourSteps => align_your_steps(n),
        ScheduleKind::Simple => {
            let stride = train.len() as f64 / n as f64;
            let from_the_end = (0..n).map(|i| (i as f64 * stride) as usize);
            from_the_end.filter_map(|i| train.iter().rev().nth(i)).map(|&sigma| f64::from(sigma)).collect()
        }
        ScheduleKind::Ddim => {
            let rising: Vec<f64> =
                train.iter().skip(1).step_by((train.len() / n).max(1)).map(|&sigma| f64::from(sigma)).collect();
            rising.into_iter().rev().collect()
        }
        ScheduleKind::Beta => {
            let share = |p: f64| beta::quantile(1.0 - p, settings.beta_alpha, settings.beta_beta);
            linspace(0.0, 1.0, n).map(|p| min + share(p) * (max - min)).collect()
        }
    };
    if schedule != ScheduleKind::KlOptimal {
        sigmas.push(0.0);
    }
    Ok(sigmas.into_iter().map(|sigma| f64::from(sigma as f32)).collect())
}

/// The greatest and the least sigma of the schedules that are laid between two.
fn ends(noise_schedule: &NoiseSchedule, settings: &SamplerSettings) -> Result<[f64; 2], Error> {
    let [max, min] = ends_of_model(noise_schedule, settings);
    if min >= max && (settings.sigma_min.is_some() || settings.sigma_max.is_some()) {
        return Err(Error::OptionRange { option: "sigma_min", value: min, expected: "less than sigma_max" });
    }
    Ok([max, min])
}

/// The model's greatest and least sigma, or those asked for.
pub(super) fn ends_of_model(noise_schedule: &NoiseSchedule, settings: &SamplerSettings) -> [f64; 2] {
    let sigmas = noise_schedule.sigmas();
    let [first, last] = [sigmas.first(), sigmas.last()].map(|sigma| sigma.map_or(f64::NAN, |&sigma| f64::from(sigma)));
    [settings.sigma_max.unwrap_or(last), settings.sigma_min.unwrap_or(first)]
}

/// Karras et al. 2022, eq. 5, in f64 as diffusers has it, without the 0.
pub(super) fn karras(
    noise_schedule: &NoiseSchedule,
    n: usize,
    settings: &SamplerSettings,
) -> Result<impl Iterator<Item = f64>, Error> {
    let [max, min] = ends(noise_schedule, settings)?;
    let rho = settings.rho.or(ScheduleKind::Karras.info().rho).unwrap_or(1.0);
    Ok(between(max, min, rho, n))
}

/// Evenly in the ρth root.
pub(super) fn between(max: f64, min: f64, rho: f64, n: usize) -> impl Iterator<Item = f64> {
    linspace(max.powf(1.0 / rho), min.powf(1.0 / rho), n).map(move |root| root.powf(rho))
}

/// Log-linear between the ten steps' sigmas; one step has the last of them, as in A1111.
fn align_your_steps(n: usize) -> Vec<f64> {
    let last = ALIGN_YOUR_STEPS.len() - 1;
    let log_of = |i: usize| ALIGN_YOUR_STEPS.get(i.min(last)).map_or(f64::NAN, |sigma| sigma.ln());
    let start = if n == 1 { last as f64 } else { 0.0 };
    let places = linspace(start, last as f64, n);
    places.map(|x| (log_of(x as usize) + (log_of(x as usize + 1) - log_of(x as usize)) * x.fract()).exp()).collect()
}
