//! A1111's schedules: which sigmas a run of `n` steps goes through, the last 0 included.
//!
//! Formulas of k-diffusion (`get_sigmas_*`, `DiscreteSchedule`) and of A1111 1.10 (`sd_schedulers.py`). Sigmas are rounded
//! to f32, which is how both keep them.

use super::{SamplerSettings, ScheduleKind, beta};
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
    let first = train.first().map_or(f64::NAN, |&sigma| f64::from(sigma));
    let last = train.last().map_or(f64::NAN, |&sigma| f64::from(sigma));
    let (min, max) = (settings.sigma_min.unwrap_or(first), settings.sigma_max.unwrap_or(last));
    if min >= max && (settings.sigma_min.is_some() || settings.sigma_max.is_some()) {
        return Err(Error::OptionRange { option: "sigma_min", value: min, expected: "less than sigma_max" });
    }
    let rho = settings.rho.or(schedule.default_rho()).unwrap_or(1.0);
    let (t_max, t_min) = (noise_schedule.sigma_to_t(max), noise_schedule.sigma_to_t(min));
    let at_timestep = |t: f64| noise_schedule.t_to_sigma(t);

    let mut sigmas: Vec<f64> = match schedule {
        ScheduleKind::Default | ScheduleKind::Automatic | ScheduleKind::Compvis | ScheduleKind::Uniform => {
            linspace((train.len() - 1) as f64, 0.0, n).map(at_timestep).collect()
        }
        ScheduleKind::Karras => {
            linspace(max.powf(1.0 / rho), min.powf(1.0 / rho), n).map(|root| root.powf(rho)).collect()
        }
        ScheduleKind::Exponential => linspace(max.ln(), min.ln(), n).map(f64::exp).collect(),
        ScheduleKind::Polyexponential => {
            let log = |ramp: f64| min.ln() + ramp.powf(rho) * (max.ln() - min.ln());
            linspace(1.0, 0.0, n).map(|ramp| log(ramp).exp()).collect()
        }
        ScheduleKind::SgmUniform => linspace(t_max, t_min, n + 1).take(n).map(at_timestep).collect(),
        ScheduleKind::Normal => linspace(t_max, t_min, n).map(at_timestep).collect(),
        ScheduleKind::KlOptimal => linspace(max.atan(), min.atan(), n + 1).map(f64::tan).collect(),
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

/// Log-linear between the ten steps' sigmas; one step has the last of them, as in A1111.
fn align_your_steps(n: usize) -> Vec<f64> {
    let last = ALIGN_YOUR_STEPS.len() - 1;
    let log_of = |i: usize| ALIGN_YOUR_STEPS.get(i.min(last)).map_or(f64::NAN, |sigma| sigma.ln());
    let start = if n == 1 { last as f64 } else { 0.0 };
    let places = linspace(start, last as f64, n);
    places.map(|x| (log_of(x as usize) + (log_of(x as usize + 1) - log_of(x as usize)) * x.fract()).exp()).collect()
}

/// `n` numbers from `start` to `end` evenly; one number is `start`.
pub(super) fn linspace(start: f64, end: f64, n: usize) -> impl DoubleEndedIterator<Item = f64> {
    let intervals = n.max(2) - 1;
    (0..n).map(move |i| if i == intervals { end } else { start + (end - start) * (i as f64 / intervals as f64) })
}
