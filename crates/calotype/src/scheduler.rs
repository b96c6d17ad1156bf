//! The noise that a model was trained with, and what its UNet predicts: a diffusers folder says it in
//! `scheduler/scheduler_config.json`, a checkpoint in one file by its YAML config and its buffers.

use calotype_diffusion::{NoiseSchedule, PredictionType};
use calotype_formats::{Checkpoint, DType};
use calotype_models::{CompVisConfig, Layout, UNetConfig};
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

/// The first and the last beta of Stable Diffusion.
const SD_BETAS: (f64, f64) = (0.00085, 0.012);

/// diffusers' name of a prediction type.
pub(crate) fn prediction_id(prediction_type: PredictionType) -> &'static str {
    match prediction_type {
        PredictionType::Epsilon => "epsilon",
        PredictionType::VPrediction => "v_prediction",
    }
}

/// The buffer `alphas_cumprod` of a training checkpoint.
struct Buffer {
    alphas_cumprod: Vec<f32>,
    /// How far rounding may have moved the signal and the noise of a timestep, which lie in 0..1.
    tolerance: f64,
}

impl Buffer {
    const NAME: &str = "alphas_cumprod";
    /// More than any model has.
    const LONGEST: usize = 10_000;

    fn of(file: &Checkpoint) -> Option<Self> {
        let tensor = file.get(Self::NAME).filter(|tensor| tensor.element_count() <= Self::LONGEST)?;
        let tolerance = match tensor.dtype {
            DType::F16 => 1e-3,
            DType::BF16 => 8e-3,
            _ => 1e-5,
        };
        Some(Self { alphas_cumprod: file.read_f32(Self::NAME).ok()?, tolerance })
    }

    fn is_of(&self, config: &SchedulerConfig, label: &str) -> bool {
        let Ok(schedule) = config.noise_schedule(label) else { return false };
        let near = |(a, b): (&f32, &f32)| f64::from(a - b).abs() <= self.tolerance;
        schedule.alphas_cumprod().len() == self.alphas_cumprod.len()
            && schedule.alphas_cumprod().iter().zip(&self.alphas_cumprod).all(near)
    }

    /// Schedules between the first and the last beta that the buffer has.
    fn betas(&self) -> Vec<SchedulerConfig> {
        let [first, .., before, last] = self.alphas_cumprod.as_slice() else { return Vec::new() };
        let of = |beta_schedule: &str| SchedulerConfig {
            num_train_timesteps: self.alphas_cumprod.len(),
            beta_start: f64::from(1.0 - first),
            beta_end: f64::from(1.0 - last / before),
            beta_schedule: beta_schedule.into(),
            ..SchedulerConfig::default()
        };
        vec![of("scaled_linear"), of("linear")]
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

    /// That of a checkpoint in one file: as its config says; else as its buffer `alphas_cumprod` says, which is what
    /// CompVis' loader leaves in place; else Stable Diffusion's.
    pub(crate) fn of_single_file(
        compvis: &CompVisConfig,
        label: &str,
        file: &Checkpoint,
        prediction_type: PredictionType,
    ) -> Result<Self> {
        let beta_schedule = match compvis.beta_schedule.as_deref() {
            None | Some("linear") => "scaled_linear",
            Some("sqrt_linear") => "linear",
            Some(other) => {
                let problem =
                    format!("beta_schedule {:?} of its YAML config is not supported: expected linear", brief(other));
                return Err(Error::file(label, problem));
            }
        };
        let mut config = Self {
            num_train_timesteps: compvis.timesteps.unwrap_or(1000),
            beta_start: compvis.linear_start.unwrap_or(SD_BETAS.0),
            beta_end: compvis.linear_end.unwrap_or(SD_BETAS.1),
            beta_schedule: beta_schedule.into(),
            ..Self::default()
        };
        config.set_prediction(prediction_type);
        let asked = compvis.linear_start.or(compvis.linear_end).is_some();
        if let Some(buffer) = Buffer::of(file).filter(|buffer| !asked && !buffer.is_of(&config, label)) {
            let found = buffer.betas().into_iter().find(|found| buffer.is_of(found, label));
            config = match found {
                Some(found) => Self { prediction_type: config.prediction_type, ..found },
                None => {
                    let problem = "its buffer alphas_cumprod is of no schedule that is known (scaled_linear or linear): give --config with linear_start and linear_end";
                    return Err(Error::file(label, problem));
                }
            };
        }
        Ok(config)
    }

    pub(crate) fn set_prediction(&mut self, prediction_type: PredictionType) {
        self.prediction_type = prediction_id(prediction_type).to_owned();
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

/// What a UNet of a single file predicts, and how that was told.
pub(crate) struct Prediction {
    pub(crate) prediction_type: PredictionType,
    pub(crate) source: &'static str,
}

/// A key of no use but to say that the UNet predicts v, as some trainers write it.
const V_KEY: &str = "v_pred";
/// Steps of the training of Stable Diffusion 2.0's base model, which predicts ε.
const SD2_BASE_STEPS: &str = "875000";
/// Steps of the training of Stable Diffusion 2's 768-v models.
const SD2_V_STEPS: [&str; 2] = ["110000", "140000"];
/// A bias of the UNet by whose spread ComfyUI tells v-prediction in Stable Diffusion 2, and the least spread.
const V_BIAS: &str = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias";
const V_BIAS_DEVIATION: f64 = 0.09;

impl Prediction {
    /// By the first of: the YAML's `parameterization`; a key `v_pred`; for Stable Diffusion 2 the file's `global_step`, or
    /// the spread of a bias that differs much between the published models (ComfyUI's test); else ε.
    pub(crate) fn of(
        compvis: &CompVisConfig,
        label: &str,
        file: &Checkpoint,
        layout: &Layout,
        unet: &UNetConfig,
    ) -> Result<Self> {
        use PredictionType::{Epsilon, VPrediction};
        let told = |prediction_type, source| Ok(Self { prediction_type, source });
        match compvis.parameterization.as_deref() {
            Some("v") => return told(VPrediction, "parameterization of the YAML config"),
            Some("eps") => return told(Epsilon, "parameterization of the YAML config"),
            Some(other) => {
                let problem = format!(
                    "parameterization {:?} of its YAML config is not supported: expected eps or v",
                    brief(other)
                );
                return Err(Error::file(label, problem));
            }
            None => {}
        }
        if file.get(V_KEY).is_some() {
            return told(VPrediction, "the key v_pred");
        }
        if !unet.is_sd2() || unet.in_channels != unet.out_channels {
            return told(Epsilon, "the default");
        }
        match file.metadata().get("global_step").map(String::as_str) {
            Some(SD2_BASE_STEPS) => return told(Epsilon, "global_step"),
            Some(steps) if SD2_V_STEPS.contains(&steps) => return told(VPrediction, "global_step"),
            _ => {}
        }
        let bias = layout.places(V_BIAS).into_iter().find_map(|place| file.read_f32(&place.key).ok());
        match bias {
            Some(bias) if deviation(&bias) > V_BIAS_DEVIATION => {
                told(VPrediction, "a guess from the weights: say --prediction-type if it is wrong")
            }
            _ => told(Epsilon, "a guess from the weights: say --prediction-type if it is wrong"),
        }
    }
}

fn deviation(values: &[f32]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt()
}
