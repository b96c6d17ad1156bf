use std::fmt;
use std::str::FromStr;

use super::names;
use crate::Error;

/// How the noise levels between the first and the last are spaced. The formulas are those of A1111's
/// `sd_schedulers.py` and of k-diffusion (`sampler/sigmas.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ScheduleKind {
    /// What diffusers has for the sampler with the scheduler config of Stable Diffusion 1, evenly spaced in timesteps:
    /// for `ddim`, `plms`, `euler`, `euler_a`, `heun`, `lms`, `dpmpp_2m`, and `ddim_cfgpp` as `ddim`.
    /// For the others [`ScheduleKind::Automatic`].
    #[default]
    Default,
    /// What A1111 has for the sampler if nothing else is chosen: [`super::SamplerKind::own_schedule`].
    Automatic,
    /// Evenly spaced in timesteps from the last to the first (k-diffusion `DiscreteSchedule.get_sigmas`).
    Uniform,
    /// Evenly spaced in the seventh root of sigma (Karras et al. 2022, eq. 5).
    Karras,
    /// Evenly spaced in log sigma.
    Exponential,
    /// A power of the way through log sigma; with ρ = 1, [`ScheduleKind::Exponential`].
    Polyexponential,
    /// Evenly spaced in timesteps, one more than is used, so that the last is not the first timestep (generative-models).
    SgmUniform,
    /// Evenly spaced in the arc tangent of sigma ("Align Your Steps", Sabour et al. 2024, section 3.2); ends at the
    /// least sigma, not at 0.
    KlOptimal,
    /// The optimised levels of "Align Your Steps" for Stable Diffusion 1.5, interpolated in log sigma.
    AlignYourSteps,
    /// Every so many of the training sigmas, from the last.
    Simple,
    /// Evenly spaced in timesteps between those of the greatest and the least sigma.
    Normal,
    /// Every `T / steps`th training sigma from the second up: may give more levels than steps.
    Ddim,
    /// Quantiles of a beta distribution between the least and the greatest sigma (Lee et al. 2024, "Beta Sampling is All
    /// You Need"), as A1111 spreads them: over sigma, not over timesteps.
    Beta,
    /// What CompVis' samplers lay out for themselves: `ddim` and `plms` every `T / steps`th timestep from 1 up, which may
    /// be more than `steps` of them; `dpm_solver` fractional timesteps from the last to 0.
    Compvis,
}

impl ScheduleKind {
    /// Every schedule.
    pub const ALL: [Self; 14] = [
        Self::Default,
        Self::Automatic,
        Self::Uniform,
        Self::Karras,
        Self::Exponential,
        Self::Polyexponential,
        Self::SgmUniform,
        Self::KlOptimal,
        Self::AlignYourSteps,
        Self::Simple,
        Self::Normal,
        Self::Ddim,
        Self::Beta,
        Self::Compvis,
    ];

    /// Its id: `default`, `automatic`, `karras`, …
    #[must_use]
    pub fn id(self) -> &'static str {
        names::of_schedule(self).0
    }

    /// Its name in A1111 ("Schedule type" in a picture's parameters); `Default` has none there.
    #[must_use]
    pub fn label(self) -> &'static str {
        names::of_schedule(self).1
    }

    /// Its ρ where none is given; `None` for schedules without.
    #[must_use]
    pub fn default_rho(self) -> Option<f64> {
        match self {
            Self::Karras => Some(7.0),
            Self::Polyexponential => Some(1.0),
            _ => None,
        }
    }

    /// Whether its greatest and least sigma can be set.
    pub(super) fn has_ends(self) -> bool {
        use ScheduleKind::{Beta, Exponential, Karras, KlOptimal, Normal, Polyexponential, SgmUniform};
        matches!(self, Karras | Exponential | Polyexponential | SgmUniform | KlOptimal | Normal | Beta)
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for ScheduleKind {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        names::schedule(s).ok_or_else(|| Error::UnknownSchedule(names::shortened(s)))
    }
}
