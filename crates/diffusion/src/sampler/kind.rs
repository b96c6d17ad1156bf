use std::fmt;
use std::str::FromStr;

use super::ScheduleKind;
use super::names;
use crate::{Error, NoiseSchedule};

/// Which sampler. The ids, as `--sampler` takes them, are in [`SamplerKind::id`]; the names that A1111, ComfyUI and
/// diffusers have for them are understood too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SamplerKind {
    /// DDIM (Song et al. 2021), with eta.
    Ddim,
    /// Pseudo linear multistep (Liu et al. 2022), as CompVis and diffusers run it for Stable Diffusion.
    Plms,
    /// Euler steps (Karras et al. 2022, algorithm 2), with churn.
    Euler,
    /// Ancestral Euler: a step down and fresh noise back up (k-diffusion).
    EulerA,
    /// Heun's second-order steps (Karras et al. 2022, algorithm 2), with churn.
    Heun,
    /// Linear multistep of order 4 (k-diffusion).
    Lms,
    /// DPM-Solver++(2M) (Lu et al. 2022).
    Dpmpp2m,
    /// DPM-Solver-2 (Lu et al. 2022) with the churn of Karras et al. 2022 (k-diffusion).
    Dpm2,
    /// DPM-Solver-2 with ancestral noise (k-diffusion).
    Dpm2A,
    /// DPM-Solver++(2S) (Lu et al. 2022) with ancestral noise (k-diffusion).
    Dpmpp2sA,
    /// Stochastic DPM-Solver++ in two stages (k-diffusion).
    DpmppSde,
    /// SDE-DPM-Solver++(2M) (Lu et al. 2022), midpoint form.
    Dpmpp2mSde,
    /// SDE-DPM-Solver++(2M), Heun form.
    Dpmpp2mSdeHeun,
    /// SDE-DPM-Solver++(3M) (k-diffusion).
    Dpmpp3mSde,
    /// DPM-Solver-fast (Lu et al. 2022): the steps are calls of the model, shared out over third-order steps.
    DpmFast,
    /// DPM-Solver-23 (Lu et al. 2022): chooses its own steps.
    DpmAdaptive,
    /// Restart sampling (Xu et al. 2023) of Heun's steps, as A1111 runs it.
    Restart,
    /// Multistep sampling of a latent consistency model (Luo et al. 2023), as A1111 runs it.
    Lcm,
    /// DDIM that walks on with the unconditional noise (Chung et al. 2024, "CFG++"), as A1111 runs it.
    DdimCfgpp,
    /// UniPC (Zhao et al. 2023) of order 3, as A1111 runs it.
    UniPc,
    /// DPM-Solver++(2M) as CompVis' script runs it, on its own schedule.
    DpmSolver,
}

/// What a sampler's noise can be set with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knobs {
    /// Its eta where none is given; `None` where it has none.
    pub(super) eta: Option<f64>,
    /// Whether it has the churn of Karras et al. 2022: `s_churn`, `s_tmin`, `s_tmax`.
    pub(super) churn: bool,
    /// Whether `s_noise` scales its fresh noise.
    pub(super) s_noise: bool,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 21] = [
        Self::Ddim,
        Self::Plms,
        Self::Euler,
        Self::EulerA,
        Self::Heun,
        Self::Lms,
        Self::Dpmpp2m,
        Self::Dpm2,
        Self::Dpm2A,
        Self::Dpmpp2sA,
        Self::DpmppSde,
        Self::Dpmpp2mSde,
        Self::Dpmpp2mSdeHeun,
        Self::Dpmpp3mSde,
        Self::DpmFast,
        Self::DpmAdaptive,
        Self::Restart,
        Self::Lcm,
        Self::DdimCfgpp,
        Self::UniPc,
        Self::DpmSolver,
    ];

    /// Its id: `ddim`, `plms`, `euler`, `euler_a`, `heun`, `lms`, `dpmpp_2m`, …
    #[must_use]
    pub fn id(self) -> &'static str {
        names::of_sampler(self).0
    }

    /// Its name in A1111, as in a picture's parameters.
    #[must_use]
    pub fn label(self) -> &'static str {
        names::of_sampler(self).1
    }

    /// A name, or one with a schedule behind it as A1111 wrote them before its version 1.9: `DPM++ 2M Karras`,
    /// `Euler SGM Uniform`, `dpmpp_2m_karras`.
    ///
    /// # Errors
    /// [`Error::UnknownSampler`].
    pub fn parse_with_schedule(name: &str) -> Result<(Self, Option<ScheduleKind>), Error> {
        if let Ok(kind) = name.parse() {
            return Ok((kind, None));
        }
        let fused = names::fused(name.trim()).map(|(sampler, schedule)| (sampler, Some(schedule)));
        fused.ok_or_else(|| Error::UnknownSampler(names::shortened(name)))
    }

    /// Whether it also runs with [`ScheduleKind::Karras`] and A1111's other schedules of sigmas.
    #[must_use]
    pub fn has_karras(self) -> bool {
        !self.has_integer_steps() && self != Self::DpmSolver
    }

    /// Whether it is one of CompVis' three, which run with [`ScheduleKind::Compvis`]; `dpm_solver` has no other.
    #[must_use]
    pub fn has_compvis(self) -> bool {
        matches!(self, Self::Ddim | Self::Plms | Self::DpmSolver)
    }

    /// Whether it runs with a schedule. `ddim`, `ddim_cfgpp` and `plms` only have their own, as diffusers
    /// ([`ScheduleKind::Default`]), A1111 ([`ScheduleKind::Automatic`]) and CompVis lay it out.
    #[must_use]
    pub fn has_schedule(self, schedule: ScheduleKind) -> bool {
        match schedule {
            ScheduleKind::Default => true,
            ScheduleKind::Automatic => self != Self::DpmSolver,
            ScheduleKind::Compvis => self.has_compvis(),
            _ => self.has_karras(),
        }
    }

    /// `ddim`, `ddim_cfgpp` and `plms` walk whole timesteps a fixed distance apart.
    pub(super) fn has_integer_steps(self) -> bool {
        matches!(self, Self::Ddim | Self::DdimCfgpp | Self::Plms)
    }

    /// Whether its steps depend on the picture: then `steps` is not used, as in A1111.
    #[must_use]
    pub fn is_adaptive(self) -> bool {
        self == Self::DpmAdaptive
    }

    /// Whether it needs the unconditional prediction at any guidance scale ([`crate::Denoiser::denoise_with_uncond`]).
    #[must_use]
    pub fn needs_uncond(self) -> bool {
        self == Self::DdimCfgpp
    }

    /// The scale to guide with where a user asks for `guidance_scale`. Only `ddim_cfgpp` has another: its λ of 0 to 1
    /// is a twelve-and-a-halfth of it, as in A1111, so that the usual numbers keep their meaning.
    #[must_use]
    pub fn guidance_scale(self, guidance_scale: f32) -> f32 {
        if self == Self::DdimCfgpp { guidance_scale / 12.5 } else { guidance_scale }
    }

    /// What [`ScheduleKind::Automatic`] is for it: A1111's sampler option `scheduler`.
    #[must_use]
    pub fn own_schedule(self) -> ScheduleKind {
        match self {
            Self::Dpmpp2m | Self::DpmppSde | Self::Dpmpp2sA | Self::Dpm2 | Self::Dpm2A | Self::Restart => {
                ScheduleKind::Karras
            }
            Self::Dpmpp2mSde | Self::Dpmpp2mSdeHeun | Self::Dpmpp3mSde => ScheduleKind::Exponential,
            Self::Ddim | Self::DdimCfgpp | Self::Plms | Self::UniPc => ScheduleKind::Automatic,
            Self::DpmSolver => ScheduleKind::Compvis,
            _ => ScheduleKind::Uniform,
        }
    }

    /// The schedule behind [`ScheduleKind::Automatic`], and behind [`ScheduleKind::Default`] where diffusers has none.
    pub(super) fn resolved(self, schedule: ScheduleKind) -> ScheduleKind {
        match schedule {
            ScheduleKind::Automatic => self.own_schedule(),
            ScheduleKind::Default if !self.has_diffusers_schedules() => self.own_schedule(),
            other => other,
        }
    }

    /// Whether its [`ScheduleKind::Default`] is that of diffusers.
    pub(super) fn has_diffusers_schedules(self) -> bool {
        use SamplerKind::{Ddim, DdimCfgpp, Dpmpp2m, Euler, EulerA, Heun, Lms, Plms};
        matches!(self, Ddim | DdimCfgpp | Plms | Euler | EulerA | Heun | Lms | Dpmpp2m)
    }

    /// Whether a schedule of it is that of diffusers: not those of A1111 and CompVis.
    pub(super) fn is_of_diffusers(self, schedule: ScheduleKind) -> bool {
        match schedule {
            ScheduleKind::Default => self.has_diffusers_schedules(),
            ScheduleKind::Karras => self.has_diffusers_schedules() && self.has_karras(),
            _ => false,
        }
    }

    /// Whether it leaves out the last sigma but one: A1111's sampler option `discard_next_to_last_sigma`.
    #[must_use]
    pub fn discards_next_to_last_sigma(self) -> bool {
        matches!(self, Self::Dpm2 | Self::Dpm2A | Self::Dpmpp3mSde)
    }

    /// Whether the seed of its steps' noise moves by A1111's "eta noise seed delta" (its sampler option `uses_ensd`).
    #[must_use]
    pub fn uses_ensd(self) -> bool {
        matches!(self, Self::EulerA | Self::Dpm2A | Self::Dpmpp2sA | Self::DpmFast | Self::DpmAdaptive)
    }

    /// Whether A1111 draws its noise from a Brownian tree (its sampler option `brownian_noise`); it asks for
    /// [`crate::NoiseSource::noise_between`].
    #[must_use]
    pub fn has_brownian_noise(self) -> bool {
        matches!(self, Self::DpmppSde | Self::Dpmpp2mSde | Self::Dpmpp2mSdeHeun | Self::Dpmpp3mSde)
    }

    /// The eta it has where none is given: A1111's; `None` for samplers without.
    #[must_use]
    pub fn default_eta(self) -> Option<f64> {
        self.knobs().eta
    }

    pub(super) fn knobs(self) -> Knobs {
        match self {
            Self::Ddim | Self::DdimCfgpp => Knobs { eta: Some(0.0), churn: false, s_noise: false },
            Self::Euler | Self::Heun | Self::Dpm2 => Knobs { eta: None, churn: true, s_noise: true },
            Self::EulerA
            | Self::Dpm2A
            | Self::Dpmpp2sA
            | Self::DpmppSde
            | Self::Dpmpp2mSde
            | Self::Dpmpp2mSdeHeun
            | Self::Dpmpp3mSde
            | Self::DpmFast
            | Self::DpmAdaptive => Knobs { eta: Some(1.0), churn: false, s_noise: true },
            Self::Restart => Knobs { eta: None, churn: false, s_noise: true },
            Self::Plms | Self::Lms | Self::Dpmpp2m | Self::Lcm | Self::UniPc | Self::DpmSolver => {
                Knobs { eta: None, churn: false, s_noise: false }
            }
        }
    }

    /// The most steps it can take with its default schedule: one per training timestep, and for `ddim`, `ddim_cfgpp`
    /// and `plms` one fewer, for they start one timestep later (`steps_offset: 1`).
    #[must_use]
    pub fn max_steps(self, noise_schedule: &NoiseSchedule) -> usize {
        noise_schedule.num_train_timesteps() - usize::from(self.has_integer_steps())
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
        names::sampler(s).ok_or_else(|| Error::UnknownSampler(names::shortened(s)))
    }
}
