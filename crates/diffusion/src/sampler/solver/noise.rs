//! Noise that steps add.

use std::borrow::Cow;

use super::super::SamplerSettings;
use super::Context;
use crate::{Error, Latents, NoiseLevel};

/// A step of which some noise comes back fresh (k-diffusion `get_ancestral_step`): down to the first of the two sigmas
/// returned, and noise of the second on top: `down² + up² = to²`.
pub(super) fn ancestral(from: f64, to: f64, eta: f64) -> (f64, f64) {
    let up = (eta * to * (1.0 - (to / from).powi(2)).max(0.0).sqrt()).min(to);
    ((to.powi(2) - up.powi(2)).max(0.0).sqrt(), up)
}

/// What the SDE of DPM-Solver++ (Lu et al. 2022, section 5) adds on the way between two sigmas, `h` apart in λ = −ln σ: the
/// standard deviation `σ_to √(1 − e^(−2 η h))`, and noise, none without η.
pub(super) fn of_sde<E: From<Error>>(
    ctx: &mut Context<'_, E>,
    [from, to]: [f64; 2],
    eta: f64,
) -> Result<(f64, Option<Latents>), E> {
    let h = (from / to).ln();
    let noise = if eta > 0.0 { Some(ctx.noise_between(from, to)?) } else { None };
    Ok((to * (-(-2.0 * eta * h).exp_m1()).sqrt(), noise))
}

/// Noise before a step (Karras et al. 2022, algorithm 2, lines 4 to 6).
#[derive(Debug, Clone, Copy)]
pub(super) struct Churn {
    gamma: f64,
    s_tmin: f64,
    s_tmax: f64,
    s_noise: f64,
}

impl Churn {
    pub(super) fn new(settings: &SamplerSettings, steps: usize) -> Self {
        let gamma = (settings.s_churn / steps.max(1) as f64).min(std::f64::consts::SQRT_2 - 1.0);
        Self {
            gamma,
            s_tmin: settings.s_tmin,
            s_tmax: settings.s_tmax.unwrap_or(f64::INFINITY),
            s_noise: settings.s_noise,
        }
    }

    /// The sample with that noise, at the level σ̂ that it then has.
    pub(super) fn apply<'x, E: From<Error>>(
        self,
        x: &'x Latents,
        from: NoiseLevel,
        ctx: &mut Context<'_, E>,
    ) -> Result<(Cow<'x, Latents>, NoiseLevel), E> {
        if self.gamma == 0.0 {
            return Ok((Cow::Borrowed(x), from));
        }
        if !(self.s_tmin..=self.s_tmax).contains(&from.sigma) {
            // k-diffusion draws here too, and so comes to the same noise in the steps it does churn.
            ctx.noise()?;
            return Ok((Cow::Borrowed(x), from));
        }
        let hat = ctx.level(from.sigma * (1.0 + self.gamma));
        Ok((Cow::Owned(ctx.raise(x, [from, hat], self.s_noise)?), hat))
    }
}
