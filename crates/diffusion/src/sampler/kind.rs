use std::fmt;
use std::str::FromStr;

use crate::{Error, NoiseSchedule};

/// Which sampler. The ids, as `--sampler` takes them, are in [`SamplerKind::id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SamplerKind {
    /// DDIM (Song et al. 2021), with eta.
    Ddim,
    /// Pseudo linear multistep (Liu et al. 2022), as CompVis and diffusers run it for Stable Diffusion.
    Plms,
    /// Euler steps (Karras et al. 2022, algorithm 2 without churn).
    Euler,
    /// Ancestral Euler: a step down and fresh noise back up (k-diffusion).
    EulerA,
    /// Heun's second-order steps (Karras et al. 2022, algorithm 1).
    Heun,
    /// Linear multistep of order 4 (k-diffusion).
    Lms,
    /// DPM-Solver++(2M) (Lu et al. 2022).
    Dpmpp2m,
    /// DPM-Solver++(2M) as CompVis' script runs it, on its own schedule.
    DpmSolver,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 8] =
        [Self::Ddim, Self::Plms, Self::Euler, Self::EulerA, Self::Heun, Self::Lms, Self::Dpmpp2m, Self::DpmSolver];

    /// Its id: `ddim`, `plms`, `euler`, `euler_a`, `heun`, `lms`, `dpmpp_2m` or `dpm_solver`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Plms => "plms",
            Self::Euler => "euler",
            Self::EulerA => "euler_a",
            Self::Heun => "heun",
            Self::Lms => "lms",
            Self::Dpmpp2m => "dpmpp_2m",
            Self::DpmSolver => "dpm_solver",
        }
    }

    /// Whether it also runs with [`ScheduleKind::Karras`].
    #[must_use]
    pub fn has_karras(self) -> bool {
        !self.has_integer_steps() && self != Self::DpmSolver
    }

    /// Whether it is one of CompVis' three, which run with [`ScheduleKind::Compvis`]; `dpm_solver` has no other.
    #[must_use]
    pub fn has_compvis(self) -> bool {
        matches!(self, Self::Ddim | Self::Plms | Self::DpmSolver)
    }

    /// Whether it runs with a schedule.
    #[must_use]
    pub fn has_schedule(self, schedule: ScheduleKind) -> bool {
        match schedule {
            ScheduleKind::Default => true,
            ScheduleKind::Karras => self.has_karras(),
            ScheduleKind::Compvis => self.has_compvis(),
        }
    }

    /// `ddim` and `plms` walk whole timesteps a fixed distance apart.
    pub(super) fn has_integer_steps(self) -> bool {
        matches!(self, Self::Ddim | Self::Plms)
    }

    /// The most steps it can take: one per training timestep, and for `ddim` and `plms` one fewer,
    /// for they start one timestep later (`steps_offset: 1`).
    #[must_use]
    pub fn max_steps(self, noise_schedule: &NoiseSchedule) -> usize {
        noise_schedule.num_train_timesteps() - usize::from(self.has_integer_steps())
    }

    pub(crate) fn list() -> String {
        Self::ALL.map(Self::id).join(", ")
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.id() == s).ok_or_else(|| Error::UnknownSampler(shortened(s)))
    }
}

/// How the noise levels between the first and the last are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ScheduleKind {
    /// The sampler's own, evenly spaced in timesteps.
    #[default]
    Default,
    /// Evenly spaced in the seventh root of sigma (Karras et al. 2022, eq. 5).
    Karras,
    /// What CompVis' samplers lay out for themselves: `ddim` and `plms` every `T / steps`th timestep from 1 up, which may
    /// be more than `steps` of them; `dpm_solver` fractional timesteps from the last to 0.
    Compvis,
}

impl ScheduleKind {
    /// Every schedule.
    pub const ALL: [Self; 3] = [Self::Default, Self::Karras, Self::Compvis];

    /// Its id: `default`, `karras` or `compvis`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Karras => "karras",
            Self::Compvis => "compvis",
        }
    }

    pub(crate) fn list() -> String {
        Self::ALL.map(Self::id).join(", ")
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
        Self::ALL.into_iter().find(|kind| kind.id() == s).ok_or_else(|| Error::UnknownSchedule(shortened(s)))
    }
}

/// Enough of a wrong id to recognise it in a message.
fn shortened(s: &str) -> String {
    s.chars().take(40).collect()
}
