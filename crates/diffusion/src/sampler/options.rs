use serde::{Deserialize, Serialize};

use super::{
    SamplerFeature, SamplerKind, ScheduleKind, SchedulerSettings, StepNoise, UniPcSkipType, UniPcVariant,
    unipc_settings,
};
use crate::Error;

/// What a run is asked for besides the sampler itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleOptions {
    /// Steps (`num_inference_steps`). Samplers of second order call the model twice a step but the last, `plms` once more
    /// in all; `dpm_fast` calls it this often; `dpm_adaptive` does not use it.
    pub steps: usize,
    /// How much of the noise that a step takes away comes back as fresh noise, from 0 (deterministic) to 1.
    /// None is the sampler's own: 0 for `ddim` (1 is DDPM there; Song et al. 2021, eq. 16) and `ddim_cfgpp`, 1 for the
    /// ancestral and stochastic ones. The others have none.
    pub eta: Option<f64>,
    /// What few ask for.
    pub settings: SamplerSettings,
    /// What a model's `scheduler_config.json` says, or a caller in its manner: of [`ScheduleKind::Default`] only.
    pub scheduler: SchedulerSettings,
}

/// Settings of some samplers and schedules, which few ask for. The names are k-diffusion's and A1111's.
///
/// Set some of them: `SamplerSettings { s_churn: 10.0, ..SamplerSettings::default() }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplerSettings {
    /// `S_churn` of Karras et al. 2022, algorithm 2: how much noise is added before each step, in all steps together.
    pub s_churn: f64,
    /// The least sigma that is churned.
    pub s_tmin: f64,
    /// The greatest sigma that is churned; none is no bound.
    pub s_tmax: Option<f64>,
    /// What fresh noise is multiplied by (`S_noise`).
    pub s_noise: f64,
    /// ρ of `karras` (7 if none) and `polyexponential` (1 if none).
    pub rho: Option<f64>,
    /// The least sigma of the schedules that are laid between two; the model's if none.
    pub sigma_min: Option<f64>,
    /// The greatest sigma of the schedules that are laid between two; the model's if none.
    pub sigma_max: Option<f64>,
    /// α of the `beta` schedule's distribution.
    pub beta_alpha: f64,
    /// β of the `beta` schedule's distribution.
    pub beta_beta: f64,
    /// Leaves out the last sigma but one, as some samplers always do
    /// ([`SamplerFeature::DiscardsNextToLastSigma`]).
    pub discard_next_to_last_sigma: bool,
    /// Starts from noise of `sqrt(sigma² + 1)` instead of `sigma` (generative-models, A1111's `sgm_noise_multiplier`).
    pub sgm_noise_multiplier: bool,
    /// The variant of `unipc`.
    pub uni_pc_variant: UniPcVariant,
    /// How the timesteps of `unipc` are spaced on its own schedule.
    pub uni_pc_skip_type: UniPcSkipType,
    /// The order of `unipc`, 1 to 9; lower where a run has fewer steps.
    pub uni_pc_order: usize,
    /// Whether the last steps of `unipc` are of lower order. (One down to sigma 0 always is.)
    pub uni_pc_lower_order_final: bool,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self {
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: None,
            s_noise: 1.0,
            rho: None,
            sigma_min: None,
            sigma_max: None,
            beta_alpha: 0.6,
            beta_beta: 0.6,
            discard_next_to_last_sigma: false,
            sgm_noise_multiplier: false,
            uni_pc_variant: UniPcVariant::Bh1,
            uni_pc_skip_type: UniPcSkipType::TimeUniform,
            uni_pc_order: 3,
            uni_pc_lower_order_final: true,
        }
    }
}

impl SampleOptions {
    /// So many steps, and what the sampler has if nothing is chosen.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self { steps, eta: None, settings: SamplerSettings::default(), scheduler: SchedulerSettings::default() }
    }

    /// The same with another eta.
    #[must_use]
    pub fn eta(self, eta: f64) -> Self {
        Self { eta: Some(eta), ..self }
    }

    /// The same with other settings.
    #[must_use]
    pub fn settings(self, settings: SamplerSettings) -> Self {
        Self { settings, ..self }
    }

    /// The same with other settings of diffusers' schedulers.
    #[must_use]
    pub fn scheduler(self, scheduler: SchedulerSettings) -> Self {
        Self { scheduler, ..self }
    }

    /// Whether a run is as diffusers has it: its levels, and its solver where it has one of its own. The samplers that have
    /// A1111's levels by default are so if a setting of diffusers is given.
    pub(super) fn is_of_diffusers(&self, sampler: SamplerKind, schedule: ScheduleKind) -> bool {
        sampler.is_of_diffusers(schedule) || !self.scheduler.is_empty()
    }

    /// Whether a sampler and its schedule can take these.
    pub(super) fn check(&self, sampler: SamplerKind, schedule: ScheduleKind) -> Result<(), Error> {
        let (info, noise) = (sampler.info(), sampler.info().noise);
        match self.eta {
            Some(eta) if !(0.0..=1.0).contains(&eta) => return Err(Error::EtaRange(eta)),
            Some(eta) if eta > 0.0 && noise.default_eta().is_none() => return Err(Error::Eta { sampler, eta }),
            _ => {}
        }
        let own = &self.settings;
        self.scheduler.check(sampler, schedule, own)?;
        if !self.scheduler.is_empty()
            && noise == StepNoise::Brownian
            && (self.eta.is_some_and(|eta| eta != 1.0) || own.s_noise != 1.0)
        {
            let needs = "eta and s_noise as they are, 1";
            return Err(Error::SettingNeeds { option: "a setting of diffusers' schedulers", needs });
        }
        let ranges = [
            ("s_churn", own.s_churn, 0.0..=1e4, "0 to 10000"),
            ("s_tmin", own.s_tmin, 0.0..=f64::MAX, "a number from 0"),
            ("s_tmax", own.s_tmax.unwrap_or(f64::INFINITY), own.s_tmin..=f64::INFINITY, "s_tmin or more"),
            ("s_noise", own.s_noise, 0.0..=10.0, "0 to 10"),
            ("rho", own.rho.unwrap_or(1.0), 1e-3..=1e3, "0.001 to 1000"),
            ("sigma_min", own.sigma_min.unwrap_or(1.0), 1e-6..=1e6, "0.000001 to 1000000"),
            ("sigma_max", own.sigma_max.unwrap_or(1.0), 1e-6..=1e6, "0.000001 to 1000000"),
            ("beta_alpha", own.beta_alpha, 0.01..=100.0, "0.01 to 100"),
            ("beta_beta", own.beta_beta, 0.01..=100.0, "0.01 to 100"),
        ];
        for (option, value, range, expected) in ranges {
            if !range.contains(&value) {
                return Err(Error::OptionRange { option, value, expected });
            }
        }
        let default = SamplerSettings::default();
        let churns = own.s_churn != default.s_churn || own.s_tmin != default.s_tmin || own.s_tmax != default.s_tmax;
        let schedule = sampler.resolved(schedule);
        let ends = own.sigma_min.is_some() || own.sigma_max.is_some();
        let beta = [own.beta_alpha, own.beta_beta] != [default.beta_alpha, default.beta_beta];
        let [fixed, adaptive] =
            [SamplerFeature::IntegerSteps, SamplerFeature::Adaptive].map(|feature| info.has(feature));
        let no_sampler = |option, has| Err(Error::SamplerOption { sampler, option, has });
        let no_schedule = |option, has| Err(Error::ScheduleOption { schedule, option, has });
        if churns && noise != StepNoise::Churn {
            return no_sampler("churn (s_churn, s_tmin, s_tmax)", "euler, heun or dpm_2");
        }
        if own.s_noise != default.s_noise && !noise.has_s_noise() {
            return no_sampler("s_noise", "euler_a, dpmpp_sde, ...");
        }
        if own.discard_next_to_last_sigma && (fixed || adaptive) {
            return no_sampler("sigmas to discard", "euler, dpmpp_2m, ...");
        }
        if own.rho.is_some() && schedule.info().rho.is_none() {
            return no_schedule("rho", "karras or polyexponential");
        }
        if ends && !(schedule.info().has_ends || matches!(sampler, SamplerKind::DpmFast | SamplerKind::DpmAdaptive)) {
            return no_schedule("sigma_min and sigma_max", "karras, exponential, polyexponential, ...");
        }
        if beta && schedule != ScheduleKind::Beta {
            return no_schedule("beta_alpha and beta_beta", "beta");
        }
        unipc_settings::check(own, sampler, schedule)
    }
}
