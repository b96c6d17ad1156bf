use super::{ScheduleKind, names};
use crate::ids::rows;
use crate::{Error, NoiseSchedule};

/// Which sampler. What there is to know of each besides its steps is its row of [`SAMPLERS`].
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

/// What there is to know of a sampler besides its steps.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SamplerInfo {
    /// Which it is.
    pub kind: SamplerKind,
    /// Its id, by which it is written and read.
    pub id: &'static str,
    /// Its name in A1111, as in an image's parameters.
    pub label: &'static str,
    /// What [`ScheduleKind::Automatic`] is for it: A1111's sampler option `scheduler`.
    pub own_schedule: ScheduleKind,
    /// Evaluations of the model that A1111 counts for a step, over which the schedules of prompts run
    /// (`sd_samplers_kdiffusion.py`: 2 for those it calls of second order).
    pub evaluations: usize,
    /// The fresh noise of its steps.
    pub noise: StepNoise,
    /// What else sets it apart.
    pub features: &'static [SamplerFeature],
    /// Other names that differ by more than case, signs and what [`SamplerKind::from_str`] leaves out.
    pub aliases: &'static [&'static str],
}

/// The fresh noise of a sampler's steps, and the settings it has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepNoise {
    /// None.
    None,
    /// As much as `eta` asks for, by default none (1 is DDPM; Song et al. 2021, eq. 16).
    Eta,
    /// As much as `s_churn` asks for, by default none, between `s_tmin` and `s_tmax`, scaled by `s_noise`
    /// (Karras et al. 2022, algorithm 2).
    Churn,
    /// After a step down, as much as `eta` asks for, by default 1, scaled by `s_noise`. A1111 moves its seed by "eta
    /// noise seed delta" (its sampler option `uses_ensd`).
    Ancestral,
    /// As [`Self::Ancestral`], from one Brownian motion: [`crate::NoiseSource::noise_between`] (A1111's sampler option
    /// `brownian_noise`).
    Brownian,
    /// Where the run goes back up, scaled by `s_noise`.
    Restart,
    /// All of it, in every step.
    Fresh,
}

impl StepNoise {
    /// The eta where none is given, A1111's; `None` where there is none to give.
    #[must_use]
    pub const fn default_eta(self) -> Option<f64> {
        match self {
            Self::Eta => Some(0.0),
            Self::Ancestral | Self::Brownian => Some(1.0),
            Self::None | Self::Churn | Self::Restart | Self::Fresh => None,
        }
    }

    /// Whether `s_noise` scales it.
    #[must_use]
    pub const fn has_s_noise(self) -> bool {
        matches!(self, Self::Churn | Self::Ancestral | Self::Brownian | Self::Restart)
    }
}

/// What sets a sampler apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SamplerFeature {
    /// Its [`ScheduleKind::Default`] and [`ScheduleKind::Karras`] are those of diffusers.
    Diffusers,
    /// It runs with [`ScheduleKind::Compvis`].
    Compvis,
    /// It walks whole timesteps a fixed distance apart, and has no schedules of sigmas.
    IntegerSteps,
    /// Its steps depend on the image: the number of steps is not used, as in A1111.
    Adaptive,
    /// It leaves out the last sigma but one (A1111's sampler option `discard_next_to_last_sigma`).
    DiscardsNextToLastSigma,
    /// It needs the unconditional prediction at any guidance scale ([`crate::Denoiser::denoise_with_uncond`]), and its λ
    /// of 0 to 1 is the usual scale over 12.5, as in A1111.
    Cfgpp,
}

/// Every sampler, a row each. Names, defaults, checks, messages and help come from here.
#[rustfmt::skip]
pub static SAMPLERS: [SamplerInfo; 21] = {
    use SamplerFeature::{Adaptive, Cfgpp, Compvis, Diffusers, DiscardsNextToLastSigma as Discards, IntegerSteps};
    use SamplerKind::*;
    use ScheduleKind::{Automatic, Compvis as OfCompvis, Exponential, Karras, Uniform};
    use StepNoise::{Ancestral, Brownian, Churn, Eta, Fresh, Restart as BackUp};
    const NONE: StepNoise = StepNoise::None;
    [
        row(Ddim,           "ddim",              "DDIM",              Automatic,   1, Eta,       &[Diffusers, Compvis, IntegerSteps], &[]),
        row(Plms,           "plms",              "PLMS",              Automatic,   1, NONE,      &[Diffusers, Compvis, IntegerSteps], &["PNDM"]),
        row(Euler,          "euler",             "Euler",             Uniform,     1, Churn,     &[Diffusers], &[]),
        row(EulerA,         "euler_a",           "Euler a",           Uniform,     1, Ancestral, &[Diffusers], &["euler_ancestral"]),
        row(Heun,           "heun",              "Heun",              Uniform,     2, Churn,     &[Diffusers], &[]),
        row(Lms,            "lms",               "LMS",               Uniform,     1, NONE,      &[Diffusers], &[]),
        row(Dpmpp2m,        "dpmpp_2m",          "DPM++ 2M",          Karras,      1, NONE,      &[Diffusers], &["DPMSolverMultistep"]),
        row(Dpm2,           "dpm_2",             "DPM2",              Karras,      2, Churn,     &[Discards], &[]),
        row(Dpm2A,          "dpm_2_a",           "DPM2 a",            Karras,      2, Ancestral, &[Discards], &["dpm_2_ancestral"]),
        row(Dpmpp2sA,       "dpmpp_2s_a",        "DPM++ 2S a",        Karras,      2, Ancestral, &[], &["dpmpp_2s_ancestral"]),
        row(DpmppSde,       "dpmpp_sde",         "DPM++ SDE",         Karras,      2, Brownian,  &[], &["DPMSolverSDE"]),
        row(Dpmpp2mSde,     "dpmpp_2m_sde",      "DPM++ 2M SDE",      Exponential, 1, Brownian,  &[], &[]),
        row(Dpmpp2mSdeHeun, "dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun", Exponential, 1, Brownian,  &[], &[]),
        row(Dpmpp3mSde,     "dpmpp_3m_sde",      "DPM++ 3M SDE",      Exponential, 1, Brownian,  &[Discards], &[]),
        row(DpmFast,        "dpm_fast",          "DPM fast",          Uniform,     1, Ancestral, &[], &[]),
        row(DpmAdaptive,    "dpm_adaptive",      "DPM adaptive",      Uniform,     1, Ancestral, &[Adaptive], &["dpm_ad"]),
        row(Restart,        "restart",           "Restart",           Karras,      2, BackUp,    &[], &[]),
        row(Lcm,            "lcm",               "LCM",               Uniform,     1, Fresh,     &[], &[]),
        row(DdimCfgpp,      "ddim_cfgpp",        "DDIM CFG++",        Automatic,   1, Eta,       &[Diffusers, IntegerSteps, Cfgpp], &[]),
        row(UniPc,          "unipc",             "UniPC",             Automatic,   1, NONE,      &[], &["UniPCMultistep"]),
        // A1111 has none like it.
        row(DpmSolver,      "dpm_solver",        "DPM-Solver",        OfCompvis,   1, NONE,      &[Compvis], &[]),
    ]
};

#[allow(clippy::too_many_arguments, reason = "the columns of the table")]
const fn row(
    kind: SamplerKind,
    id: &'static str,
    label: &'static str,
    own_schedule: ScheduleKind,
    evaluations: usize,
    noise: StepNoise,
    features: &'static [SamplerFeature],
    aliases: &'static [&'static str],
) -> SamplerInfo {
    SamplerInfo { kind, id, label, own_schedule, evaluations, noise, features, aliases }
}

rows!(SamplerKind, SAMPLERS, SamplerInfo);

impl SamplerInfo {
    /// Whether it has a feature.
    #[must_use]
    pub fn has(&self, feature: SamplerFeature) -> bool {
        self.features.contains(&feature)
    }

    /// Whether it runs with [`ScheduleKind::Karras`] and A1111's other schedules of sigmas.
    #[must_use]
    pub fn has_sigma_schedules(&self) -> bool {
        !self.has(SamplerFeature::IntegerSteps) && self.own_schedule != ScheduleKind::Compvis
    }
}

impl SamplerKind {
    /// A name, or one with a schedule behind it as A1111 wrote them before its version 1.9: `DPM++ 2M Karras`,
    /// `Euler SGM Uniform`, `dpmpp_2m_karras`.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn parse_with_schedule(name: &str) -> Result<(Self, Option<ScheduleKind>), Error> {
        match names::fused(name.trim()) {
            Some((sampler, schedule)) if name.parse::<Self>().is_err() => Ok((sampler, Some(schedule))),
            _ => Ok((name.parse()?, None)),
        }
    }

    /// Whether it runs with a schedule. `ddim`, `ddim_cfgpp` and `plms` only have their own, as diffusers
    /// ([`ScheduleKind::Default`]), A1111 ([`ScheduleKind::Automatic`]) and CompVis lay it out.
    #[must_use]
    pub fn has_schedule(self, schedule: ScheduleKind) -> bool {
        match schedule {
            ScheduleKind::Default => true,
            ScheduleKind::Automatic => self.info().own_schedule != ScheduleKind::Compvis,
            ScheduleKind::Compvis => self.info().has(SamplerFeature::Compvis),
            _ => self.info().has_sigma_schedules(),
        }
    }

    /// Whether a schedule of it is that of diffusers: not those of A1111 and CompVis.
    pub(super) fn is_of_diffusers(self, schedule: ScheduleKind) -> bool {
        let in_diffusers = self.info().has(SamplerFeature::Diffusers);
        match schedule {
            ScheduleKind::Default => in_diffusers,
            ScheduleKind::Karras => in_diffusers && self.info().has_sigma_schedules(),
            _ => false,
        }
    }

    /// The schedule behind [`ScheduleKind::Automatic`], and behind [`ScheduleKind::Default`] where diffusers has none.
    pub(super) fn resolved(self, schedule: ScheduleKind) -> ScheduleKind {
        match schedule {
            ScheduleKind::Automatic => self.info().own_schedule,
            ScheduleKind::Default if !self.is_of_diffusers(schedule) => self.info().own_schedule,
            other => other,
        }
    }

    /// The scale to guide with where a user asks for `guidance_scale`: another one only with [`SamplerFeature::Cfgpp`].
    #[must_use]
    pub fn guidance_scale(self, guidance_scale: f32) -> f32 {
        if self.info().has(SamplerFeature::Cfgpp) { guidance_scale / 12.5 } else { guidance_scale }
    }

    /// The most steps it can take with its default schedule: one per training timestep, and for `ddim`, `ddim_cfgpp`
    /// and `plms` one fewer, for they start one timestep later (`steps_offset: 1`).
    #[must_use]
    pub fn max_steps(self, noise_schedule: &NoiseSchedule) -> usize {
        noise_schedule.num_train_timesteps() - usize::from(self.info().has(SamplerFeature::IntegerSteps))
    }
}
