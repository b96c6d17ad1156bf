//! What the `scheduler_config.json` of a diffusers folder says of the sampler, by diffusers' names.

use serde::{Deserialize, Serialize};

use super::{SamplerKind, SamplerSettings, ScheduleKind};
use crate::Error;
use crate::ids::ids;

/// Which timesteps a run of `n` steps goes through (Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are
/// Flawed", table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimestepSpacing {
    /// Every `T / n`th from `steps_offset` up: the last timestep is left out.
    Leading,
    /// From 0 to the last, evenly.
    Linspace,
    /// Every `T / n`th from the last down.
    Trailing,
}

/// Sigmas that take the place of those of the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SigmaSpacing {
    /// Those of the timesteps.
    Timesteps,
    /// `use_karras_sigmas`: evenly spaced in the seventh root (Karras et al. 2022, eq. 5).
    Karras,
    /// `use_exponential_sigmas`: evenly spaced in log sigma.
    Exponential,
    /// `use_beta_sigmas`: quantiles of a beta distribution (Lee et al. 2024).
    Beta,
    /// `use_lu_lambdas`: evenly spaced in λ (Lu et al. 2022, "DPM-Solver").
    Lu,
}

/// Where a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinalSigmas {
    /// At no noise.
    Zero,
    /// At the least sigma of the training.
    SigmaMin,
}

/// What a multistep solver makes of its earlier results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SolverType {
    /// The slope is that of the middle of the step (`dpmpp_2m`).
    Midpoint,
    /// The slope is integrated along the step (`dpmpp_2m`).
    Heun,
    /// `B₁(h) = h` (`unipc`).
    Bh1,
    /// `B₂(h) = e^h − 1` (`unipc`).
    Bh2,
}

/// Which equation a DPM-Solver solves, and for what the network is taken to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlgorithmType {
    /// The ODE for the denoised sample (Lu et al. 2022, "DPM-Solver++").
    DpmsolverPp,
    /// The ODE for the noise (Lu et al. 2022, "DPM-Solver").
    Dpmsolver,
    /// The SDE for the denoised sample.
    SdeDpmsolverPp,
    /// The SDE for the noise.
    SdeDpmsolver,
}

ids!(TimestepSpacing, "timestep spacing", [Leading = "leading", Linspace = "linspace", Trailing = "trailing"]);
ids!(
    SigmaSpacing,
    "spacing of sigmas",
    [Timesteps = "timesteps", Karras = "karras", Exponential = "exponential", Beta = "beta", Lu = "lu"]
);
ids!(FinalSigmas, "type of the final sigma", [Zero = "zero", SigmaMin = "sigma_min"]);
ids!(SolverType, "solver type", [Midpoint = "midpoint", Heun = "heun", Bh1 = "bh1", Bh2 = "bh2"]);
ids!(
    AlgorithmType,
    "algorithm type",
    [
        DpmsolverPp = "dpmsolver++",
        Dpmsolver = "dpmsolver",
        SdeDpmsolverPp = "sde-dpmsolver++",
        SdeDpmsolver = "sde-dpmsolver",
    ]
);

/// The struct of the settings and what is done with each of them alike.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty,)+) => {
        /// Settings of diffusers' schedulers, as its `scheduler_config.json` has them and by its names; one that is none is
        /// as [`ScheduleKind::Default`] has it. They are of [`ScheduleKind::Default`] only.
        #[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct SchedulerSettings {
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
        }

        impl SchedulerSettings {
            /// These, and for what they leave open those of another source.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)+ }
            }

            /// These without what is the same in others.
            #[must_use]
            pub fn differing(self, other: &Self) -> Self {
                Self { $($name: self.$name.filter(|value| other.$name != Some(*value)),)+ }
            }

            /// Those of a sampler, others left out.
            #[must_use]
            pub fn of(self, sampler: SamplerKind) -> Self {
                Self { $($name: self.$name.filter(|_| has(sampler, stringify!($name))),)+ }.sound_for(sampler)
            }

            /// The name of each that is given, and its value.
            #[must_use]
            pub fn given(&self) -> Vec<(&'static str, String)> {
                let mut all = Vec::new();
                $(all.extend(self.$name.map(|value| (stringify!($name), value.to_string())));)+
                all
            }
        }
    };
}

settings! {
    /// Which timesteps are gone through. `leading` for `ddim`, `ddim_cfgpp` and `plms`, `linspace` for others.
    timestep_spacing: TimestepSpacing,
    /// Where `leading` begins: 1, which diffusers' pipelines put in the place of any other.
    steps_offset: usize,
    /// Sigmas in the place of those of the timesteps (diffusers' `use_karras_sigmas` and its like).
    sigma_spacing: SigmaSpacing,
    /// Where a run ends: `zero`.
    final_sigmas_type: FinalSigmas,
    /// The order of a multistep solver, 1 to 3: 2.
    solver_order: usize,
    /// What it makes of earlier results: `midpoint`, for `unipc` `bh2`.
    solver_type: SolverType,
    /// Which equation is solved: `dpmsolver++`, for `dpmpp_2m_sde` and `dpmpp_2m_sde_heun` `sde-dpmsolver++`.
    algorithm_type: AlgorithmType,
    /// Whether the last steps of a run of fewer than 15 (of `unipc` any) are of lower order: true.
    lower_order_final: bool,
    /// Whether the last step is of order 1 however long the run is: false.
    euler_at_final: bool,
    /// Whether `ddim` and `plms` end without noise, and not with that of timestep 0: false.
    set_alpha_to_one: bool,
    /// Whether `plms` begins without the three Runge–Kutta steps of its paper: true.
    skip_prk_steps: bool,
    /// Dynamic thresholding of the denoised sample (Saharia et al. 2022, section 2.3): false.
    thresholding: bool,
    /// Which share of a picture's numbers is within the threshold: 0.995.
    dynamic_thresholding_ratio: f64,
    /// The greatest threshold: 1.
    sample_max_value: f64,
}

/// Which kind of levels a sampler has in diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Whole timesteps, a fixed distance down from each: `DDIMScheduler`, `PNDMScheduler`.
    Whole,
    /// Sigmas of timesteps, in k-diffusion's manner: `EulerDiscreteScheduler` and its like.
    Sigmas,
    /// Sigmas of one timestep more, the last left out: `DPMSolverMultistepScheduler`, `UniPCMultistepScheduler`.
    Multistep,
}

impl Family {
    pub(super) fn of(sampler: SamplerKind) -> Option<Self> {
        use SamplerKind::{
            Ddim, DdimCfgpp, Dpm2, Dpm2A, Dpmpp2m, Dpmpp2mSde, Dpmpp2mSdeHeun, Euler, EulerA, Heun, Lms, Plms, UniPc,
        };
        match sampler {
            Ddim | DdimCfgpp | Plms => Some(Self::Whole),
            Euler | EulerA | Heun | Lms | Dpm2 | Dpm2A => Some(Self::Sigmas),
            Dpmpp2m | Dpmpp2mSde | Dpmpp2mSdeHeun | UniPc => Some(Self::Multistep),
            _ => None,
        }
    }
}

/// Whether the class of diffusers that a sampler is of has a setting.
fn has(sampler: SamplerKind, setting: &str) -> bool {
    use SamplerKind::{Ddim, Dpmpp2mSde, Dpmpp2mSdeHeun, Euler, EulerA, Plms, UniPc};
    let family = Family::of(sampler);
    let multistep = family == Some(Family::Multistep);
    match setting {
        "timestep_spacing" | "steps_offset" => family.is_some(),
        "sigma_spacing" => multistep || (family == Some(Family::Sigmas) && sampler != EulerA),
        "final_sigmas_type" => multistep || sampler == Euler,
        "solver_order" | "lower_order_final" => multistep,
        "solver_type" => multistep && !matches!(sampler, Dpmpp2mSde | Dpmpp2mSdeHeun),
        "algorithm_type" | "euler_at_final" => multistep && sampler != UniPc,
        "set_alpha_to_one" => family == Some(Family::Whole),
        "skip_prk_steps" => sampler == Plms,
        _ => multistep || sampler == Ddim,
    }
}

impl SchedulerSettings {
    /// Whether none is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What [`ScheduleKind::Default`] is for a sampler.
    #[must_use]
    pub fn defaults(sampler: SamplerKind) -> Self {
        use SamplerKind::{Dpmpp2mSde, Dpmpp2mSdeHeun, UniPc};
        let whole = Family::of(sampler) == Some(Family::Whole);
        let sde = matches!(sampler, Dpmpp2mSde | Dpmpp2mSdeHeun);
        let all = Self {
            timestep_spacing: Some(if whole { TimestepSpacing::Leading } else { TimestepSpacing::Linspace }),
            steps_offset: Some(1),
            sigma_spacing: Some(SigmaSpacing::Timesteps),
            final_sigmas_type: Some(FinalSigmas::Zero),
            solver_order: Some(2),
            solver_type: Some(if sampler == UniPc { SolverType::Bh2 } else { SolverType::Midpoint }),
            algorithm_type: Some(if sde { AlgorithmType::SdeDpmsolverPp } else { AlgorithmType::DpmsolverPp }),
            lower_order_final: Some(true),
            euler_at_final: Some(false),
            set_alpha_to_one: Some(false),
            skip_prk_steps: Some(true),
            thresholding: Some(false),
            dynamic_thresholding_ratio: Some(0.995),
            sample_max_value: Some(1.0),
        };
        all.of(sampler)
    }

    /// Values that a class of diffusers has replaced by its own where it takes over another's config.
    fn sound_for(self, sampler: SamplerKind) -> Self {
        use AlgorithmType::{Dpmsolver, DpmsolverPp, SdeDpmsolver, SdeDpmsolverPp};
        use SamplerKind::{Dpmpp2mSde, Dpmpp2mSdeHeun, UniPc};
        let solver_type =
            |solver_type: &SolverType| matches!(solver_type, SolverType::Bh1 | SolverType::Bh2) == (sampler == UniPc);
        let algorithm_type = |algorithm: &AlgorithmType| match sampler {
            Dpmpp2mSde | Dpmpp2mSdeHeun => matches!(algorithm, SdeDpmsolver | SdeDpmsolverPp),
            _ => matches!(algorithm, Dpmsolver | DpmsolverPp),
        };
        let lu = Family::of(sampler) == Some(Family::Multistep) && sampler != UniPc;
        let spacing = |spacing: &SigmaSpacing| lu || *spacing != SigmaSpacing::Lu;
        Self {
            solver_type: self.solver_type.filter(solver_type),
            algorithm_type: self.algorithm_type.filter(algorithm_type),
            sigma_spacing: self.sigma_spacing.filter(spacing),
            ..self
        }
    }

    /// Those that make a difference on a schedule: none where all is as by default.
    pub(super) fn effective(self, sampler: SamplerKind, schedule: ScheduleKind) -> Self {
        if schedule != ScheduleKind::Default {
            return Self::default();
        }
        let own = self.of(sampler);
        // The other samplers have A1111's levels where nothing is given.
        if sampler.is_of_diffusers(schedule) { own.differing(&Self::defaults(sampler)) } else { own }
    }

    /// Whether a sampler and its schedule can take these.
    pub(super) fn check(
        &self,
        sampler: SamplerKind,
        schedule: ScheduleKind,
        settings: &SamplerSettings,
    ) -> Result<(), Error> {
        let Some(&(option, _)) = self.given().first() else { return Ok(()) };
        if schedule != ScheduleKind::Default {
            return Err(Error::ScheduleOption { schedule, option, has: "default" });
        }
        let own = self.of(sampler);
        let kept = own.given();
        if let Some((option, value)) = self.given().into_iter().find(|given| !kept.contains(given)) {
            return Err(match has(sampler, option) {
                true => Error::SettingOfSampler { sampler, option, value, has: samplers_with(option) },
                false => Error::SamplerOption { sampler, option, has: samplers_with(option) },
            });
        }
        let ranges = [
            ("steps_offset", self.steps_offset.map(|offset| offset as f64), 0.0..=1000.0, "0 to 1000"),
            ("solver_order", self.solver_order.map(|order| order as f64), 1.0..=3.0, "1, 2 or 3"),
            ("dynamic_thresholding_ratio", self.dynamic_thresholding_ratio, 0.0..=1.0, "0 to 1"),
            ("sample_max_value", self.sample_max_value, 1.0..=1e6, "1 to 1000000"),
        ];
        for (option, value, range, expected) in ranges {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                return Err(Error::OptionRange { option, value, expected });
            }
        }
        let noise = self.algorithm_type.is_some_and(AlgorithmType::is_of_noise);
        if noise && self.final_sigmas_type != Some(FinalSigmas::SigmaMin) {
            let needs = "final_sigmas_type sigma_min: they don't reach sigma 0";
            return Err(Error::SettingNeeds { option: "algorithm_type dpmsolver and sde-dpmsolver", needs });
        }
        if self.algorithm_type == Some(AlgorithmType::SdeDpmsolver) && self.solver_order == Some(3) {
            return Err(Error::SettingNeeds { option: "algorithm_type sde-dpmsolver", needs: "solver_order 1 or 2" });
        }
        let unipc =
            |s: &SamplerSettings| (s.uni_pc_variant, s.uni_pc_skip_type, s.uni_pc_order, s.uni_pc_lower_order_final);
        if sampler == SamplerKind::UniPc && unipc(settings) != unipc(&SamplerSettings::default()) {
            let needs = "solver_order and solver_type in the place of A1111's uni_pc settings";
            return Err(Error::SettingNeeds { option, needs });
        }
        Ok(())
    }
}

impl AlgorithmType {
    /// Whether it is for the noise, and so has no end at sigma 0.
    fn is_of_noise(self) -> bool {
        matches!(self, Self::Dpmsolver | Self::SdeDpmsolver)
    }
}

/// Samplers that have a setting, for messages.
fn samplers_with(option: &str) -> &'static str {
    match option {
        "timestep_spacing" | "steps_offset" => "ddim, plms, euler, euler_a, heun, lms, dpm_2, dpmpp_2m, unipc, ...",
        "sigma_spacing" => "euler, heun, lms, dpm_2, dpmpp_2m, unipc, ...",
        "final_sigmas_type" => "euler, dpmpp_2m, unipc, ...",
        "solver_order" | "lower_order_final" => "dpmpp_2m, dpmpp_2m_sde or unipc",
        "solver_type" => "dpmpp_2m with midpoint or heun, unipc with bh1 or bh2",
        "algorithm_type" => "dpmpp_2m with dpmsolver++ or dpmsolver, dpmpp_2m_sde with the sde- ones",
        "euler_at_final" => "dpmpp_2m or dpmpp_2m_sde",
        "set_alpha_to_one" => "ddim or plms",
        "skip_prk_steps" => "plms",
        _ => "ddim, dpmpp_2m or unipc",
    }
}
