//! `scheduler/scheduler_config.json`: the noise that a model was trained with.

use calotype_diffusion::{NoiseSchedule, PredictionType};
use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Result, error::brief};

/// What of a scheduler's config belongs to the model; the sampler itself is chosen by the request.
/// A key left out has diffusers' default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SchedulerConfig {
    pub(crate) num_train_timesteps: usize,
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) beta_schedule: String,
    pub(crate) prediction_type: String,
    trained_betas: Value,
    rescale_betas_zero_snr: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            prediction_type: "epsilon".into(),
            trained_betas: Value::Null,
            rescale_betas_zero_snr: false,
        }
    }
}

impl SchedulerConfig {
    /// Reads the config `text` of the file `label`.
    pub(crate) fn from_json(text: &str, label: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text)
            .map_err(|e| Error::file(label, format!("not a scheduler config: {}", brief(&e.to_string()))))?;
        if !config.trained_betas.is_null() {
            return Err(Error::file(label, "trained_betas is not supported: expected null"));
        }
        if config.rescale_betas_zero_snr {
            return Err(Error::file(label, "rescale_betas_zero_snr = true is not supported: expected false"));
        }
        Ok(config)
    }

    pub(crate) fn noise_schedule(&self, label: &str) -> Result<NoiseSchedule> {
        let make = match self.beta_schedule.as_str() {
            "scaled_linear" => NoiseSchedule::scaled_linear,
            "linear" => NoiseSchedule::linear,
            other => {
                let problem =
                    format!("beta_schedule {:?} is not supported: expected scaled_linear or linear", brief(other));
                return Err(Error::file(label, problem));
            }
        };
        make(self.beta_start, self.beta_end, self.num_train_timesteps).map_err(|e| Error::file(label, e.to_string()))
    }

    pub(crate) fn prediction(&self, label: &str) -> Result<PredictionType> {
        self.prediction_type.parse().map_err(|e: calotype_diffusion::Error| Error::file(label, e.to_string()))
    }
}
