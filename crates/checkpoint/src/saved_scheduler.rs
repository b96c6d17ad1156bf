//! What the `scheduler_config.json` of a diffusers folder says of the sampler, and which of it is heeded here.

use std::{fmt::Display, str::FromStr};

use calotype_diffusion::{
    AlgorithmType, SamplerFeature, SamplerKind, SchedulerSettings, SigmaSpacing, SolverType, TimestepSpacing,
};
use serde_json::{Value, json};

use crate::error::brief;

/// The scheduler that a model was saved with.
///
/// What its config leaves open is as diffusers has it: the default of the class whose sampler is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedScheduler {
    class: Option<String>,
    settings: SchedulerSettings,
    unheeded: Vec<Unheeded>,
    /// The whole config.
    config: Value,
}

/// A setting that changes pictures in diffusers and not here.
#[derive(Clone, Debug, PartialEq)]
struct Unheeded {
    /// What it says.
    said: String,
    /// The samplers whose pictures it changes.
    samplers: &'static [SamplerKind],
}

/// A key that is not heeded where its value is not one of these, and which samplers have it in diffusers.
const UNHEEDED: &[(&str, &[&str], &[SamplerKind])] = {
    use SamplerKind::{Dpmpp2m, Dpmpp2mSde, Dpmpp2mSdeHeun, Euler, Lcm, UniPc};
    &[
        ("interpolation_type", &["\"linear\""], &[Euler]),
        ("timestep_type", &["\"discrete\""], &[Euler]),
        ("sigma_min", &[], &[Euler, UniPc]),
        ("sigma_max", &[], &[Euler, UniPc]),
        ("lambda_min_clipped", &["\"-Infinity\""], &[Dpmpp2m, Dpmpp2mSde, Dpmpp2mSdeHeun]),
        ("variance_type", &["\"fixed_small\""], &[Dpmpp2m, Dpmpp2mSde, Dpmpp2mSdeHeun]),
        ("predict_x0", &["true"], &[UniPc]),
        ("disable_corrector", &["[]"], &[UniPc]),
        ("solver_p", &[], &[UniPc]),
        ("invert_sigmas", &["false"], &[Euler]),
        ("original_inference_steps", &["50"], &[Lcm]),
        ("timestep_scaling", &["10.0", "10"], &[Lcm]),
    ]
};

/// The class whose config has no `steps_offset`, so that other schedulers made of it take their own default, 0.
const WITHOUT_OFFSET: &str = "DPMSolverSinglestepScheduler";

/// Keys that say sigmas in the place of those of timesteps; the first that is true counts, as there.
const SIGMAS: [(&str, SigmaSpacing); 4] = [
    ("use_karras_sigmas", SigmaSpacing::Karras),
    ("use_lu_lambdas", SigmaSpacing::Lu),
    ("use_exponential_sigmas", SigmaSpacing::Exponential),
    ("use_beta_sigmas", SigmaSpacing::Beta),
];

impl SavedScheduler {
    /// Reads it from a config, or says which of its values makes no sense.
    pub(crate) fn read(config: &Value) -> Result<Self, String> {
        let read = Keys(config);
        let settings = SchedulerSettings {
            timestep_spacing: read.named("timestep_spacing", |_| false)?,
            // diffusers' pipelines of Stable Diffusion put 1 in the place of any other, if the class has the key.
            steps_offset: (config.get("_class_name") == Some(&json!(WITHOUT_OFFSET))).then_some(0),
            sigma_spacing: read.sigmas()?,
            final_sigmas_type: read.named("final_sigmas_type", |_| false)?,
            solver_order: read.count("solver_order")?,
            // Each class takes what it does not know, of another class, for its own default.
            solver_type: read.named("solver_type", |name| name == "logrho")?,
            algorithm_type: read
                .named("algorithm_type", |name| matches!(name, "deis" | "data_prediction" | "noise_prediction"))?,
            lower_order_final: read.flag("lower_order_final")?,
            euler_at_final: read.flag("euler_at_final")?,
            set_alpha_to_one: read.flag("set_alpha_to_one")?,
            skip_prk_steps: read.flag("skip_prk_steps")?,
            thresholding: read.flag("thresholding")?,
            dynamic_thresholding_ratio: read.number("dynamic_thresholding_ratio")?,
            sample_max_value: read.number("sample_max_value")?,
        };
        let unheeded = UNHEEDED.iter().filter_map(|&(key, heeded, samplers)| {
            let value = config.get(key).filter(|value| !value.is_null())?.to_string();
            let said = (!heeded.contains(&value.as_str())).then(|| format!("{key} {}", brief(&value)))?;
            Some(Unheeded { said, samplers })
        });
        Ok(Self {
            class: config.get("_class_name").and_then(Value::as_str).map(str::to_owned),
            settings,
            unheeded: unheeded.collect(),
            config: config.clone(),
        })
    }

    /// diffusers' class: `EulerDiscreteScheduler`.
    #[must_use]
    pub fn class(&self) -> Option<&str> {
        self.class.as_deref()
    }

    /// The class without what may stand around its name.
    fn kind(&self) -> Option<&str> {
        let class = self.class()?;
        let class = class.strip_prefix("Flax").unwrap_or(class);
        Some(class.strip_suffix("Scheduler").unwrap_or(class))
    }

    /// The sampler that the class is here, if it is one.
    #[must_use]
    pub fn sampler(&self) -> Option<SamplerKind> {
        use AlgorithmType::{SdeDpmsolver, SdeDpmsolverPp};
        let sampler = match self.kind()? {
            "DDIMParallel" => SamplerKind::Ddim,
            kind => SamplerKind::from_str(kind).ok()?,
        };
        let is_sde = matches!(self.settings.algorithm_type, Some(SdeDpmsolver | SdeDpmsolverPp));
        Some(match (sampler, self.settings.solver_type) {
            (SamplerKind::Dpmpp2m, Some(SolverType::Heun)) if is_sde => SamplerKind::Dpmpp2mSdeHeun,
            (SamplerKind::Dpmpp2m, _) if is_sde => SamplerKind::Dpmpp2mSde,
            _ => sampler,
        })
    }

    /// What it says of a sampler, in the place of what diffusers has for it with Stable Diffusion 1. The samplers that have
    /// A1111's levels by default have diffusers' where it is their own class.
    #[must_use]
    pub fn settings(&self, sampler: SamplerKind) -> SchedulerSettings {
        let own = self.sampler() == Some(sampler);
        let by_default = sampler.info().has(SamplerFeature::Diffusers);
        if !(own || by_default) {
            return SchedulerSettings::default();
        }
        let mut settings = self.settings.of(sampler);
        if matches!(sampler, SamplerKind::Ddim | SamplerKind::DdimCfgpp) && self.class.is_some() {
            settings.set_alpha_to_one.get_or_insert(true);
        }
        if sampler == SamplerKind::Plms && own {
            settings.skip_prk_steps.get_or_insert(false);
        }
        if !by_default && SchedulerSettings::defaults(sampler).timestep_spacing.is_some() {
            settings.timestep_spacing.get_or_insert(TimestepSpacing::Linspace);
        }
        settings
    }

    /// What it says, as it is written there, that changes the pictures of a sampler in diffusers and not here.
    #[must_use]
    pub fn unheeded(&self, sampler: SamplerKind) -> Vec<&str> {
        self.unheeded.iter().filter(|said| said.samplers.contains(&sampler)).map(|said| said.said.as_str()).collect()
    }

    /// What is said of its sampler that differs from the defaults of its class, by diffusers' names.
    pub(crate) fn said(&self) -> Vec<(&'static str, String)> {
        let Some(sampler) = self.sampler() else { return Vec::new() };
        self.settings(sampler).differing(&SchedulerSettings::defaults(sampler)).given()
    }

    /// What is said that is not heeded, of any sampler.
    pub(crate) fn all_unheeded(&self) -> Vec<&str> {
        self.unheeded.iter().map(|said| said.said.as_str()).collect()
    }

    /// Whether a file without it would be drawn otherwise with some sampler.
    pub(crate) fn says_something(&self) -> bool {
        let differs = |sampler| {
            let (said, defaults) = (self.settings(sampler), SchedulerSettings::defaults(sampler));
            !sampler.info().has(SamplerFeature::Diffusers) && !said.is_empty() || !said.differing(&defaults).is_empty()
        };
        !self.unheeded.is_empty() || SamplerKind::ALL.into_iter().any(differs)
    }

    /// The config as it was saved.
    pub(crate) fn config(&self) -> &Value {
        &self.config
    }
}

/// The keys of a config. One that is null, or is not there, says nothing.
struct Keys<'a>(&'a Value);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = || format!("{key} is {}, expected {expected}", brief(&value.to_string()));
        read(value).map(Some).ok_or_else(found)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        self.read(key, "a number", Value::as_f64)
    }

    fn count(&self, key: &str) -> Result<Option<usize>, String> {
        self.read(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// One of a few names; of those that `says_nothing` is true of, none.
    fn named<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        says_nothing: impl FnOnce(&str) -> bool,
    ) -> Result<Option<T>, String> {
        let Some(name) = self.read(key, "a name", Value::as_str)? else { return Ok(None) };
        if says_nothing(name) {
            return Ok(None);
        }
        name.parse().map(Some).map_err(|error: T::Err| format!("{key}: {error}"))
    }

    fn sigmas(&self) -> Result<Option<SigmaSpacing>, String> {
        for (key, spacing) in SIGMAS {
            if self.flag(key)? == Some(true) {
                return Ok(Some(spacing));
            }
        }
        Ok(None)
    }
}
