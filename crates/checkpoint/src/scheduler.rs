//! The noise that a model was trained with, and what its UNet predicts: a diffusers folder says it in
//! `scheduler/scheduler_config.json`, a checkpoint in one file by its YAML config and its buffers.

use calotype_diffusion::{NoiseSchedule, PredictionType};
use calotype_files::json;
use calotype_formats::{Checkpoint, DType};
use calotype_models::{CompVisConfig, Layout, UNetConfig, find_unwrapped};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{Error, Result, SavedScheduler, error::brief};

/// A scheduler's config: what of it belongs to the model, and beside it what it says of the sampler, which the request chooses.
/// A key left out has diffusers' default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SchedulerConfig {
    pub(crate) num_train_timesteps: usize,
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) beta_schedule: String,
    pub(crate) prediction_type: String,
    /// The beta of each timestep, in the place of the four above.
    #[serde(deserialize_with = "betas")]
    pub(crate) trained_betas: Option<Vec<f32>>,
    /// Whether ᾱ is rescaled so that no signal is left at the last timestep.
    pub(crate) rescale_betas_zero_snr: bool,
    /// ᾱ of each timestep, as the file of a single checkpoint has it, in the place of betas.
    #[serde(skip)]
    pub(crate) alphas_cumprod: Option<Vec<f32>>,
    /// What it says of the sampler.
    #[serde(skip)]
    pub(crate) saved: Option<SavedScheduler>,
}

/// A list of numbers, or null.
fn betas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
    let expected = || D::Error::custom("trained_betas: expected null or a list of at most 100000 numbers");
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Array(items) if items.len() <= 100_000 => {
            let number = |item: &Value| item.as_f64().map(|x| x as f32).ok_or_else(expected);
            Ok(Some(items.iter().map(number).collect::<Result<_, _>>()?))
        }
        _ => Err(expected()),
    }
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            prediction_type: "epsilon".into(),
            trained_betas: None,
            rescale_betas_zero_snr: false,
            alphas_cumprod: None,
            saved: None,
        }
    }
}

/// The first and the last beta of Stable Diffusion.
const SD_BETAS: (f64, f64) = (0.00085, 0.012);

/// diffusers' name of betas that fall as a cosine.
pub(crate) const COSINE: &str = "squaredcos_cap_v2";

/// The key of the metadata of a checkpoint in one file by which the config of its scheduler goes with it.
pub(crate) const METADATA: &str = "scheduler_config";

/// A key of no use but to say that no signal is left at the last timestep, as some trainers write it beside [`V_KEY`].
const ZERO_SNR_KEY: &str = "ztsnr";

/// The buffer `alphas_cumprod` of a training checkpoint, or what its `betas` make.
struct Buffer {
    alphas_cumprod: Vec<f32>,
    /// How far rounding may have moved a value, and the least value that this is a share of.
    tolerance: (f64, f64),
}

impl Buffer {
    const ALPHAS: &str = "alphas_cumprod";
    const BETAS: &str = "betas";
    /// More than any model has.
    const LONGEST: usize = 10_000;

    fn of(file: &Checkpoint) -> Option<Self> {
        let read = |name: &str| {
            let tensor = find_unwrapped(file, name).filter(|tensor| tensor.element_count() <= Self::LONGEST)?;
            Some((tensor.dtype, file.read_f32(&tensor.name).ok()?))
        };
        let multiplied = |(dtype, betas): (DType, Vec<f32>)| {
            let mut product = 1.0;
            let alphas = betas.into_iter().map(|beta| {
                product *= 1.0 - f64::from(beta);
                product as f32
            });
            (dtype, alphas.collect())
        };
        let (dtype, alphas_cumprod) = read(Self::ALPHAS).or_else(|| read(Self::BETAS).map(multiplied))?;
        let tolerance = match dtype {
            DType::F16 => (1e-3, 1.0),
            DType::BF16 => (8e-3, 1.0),
            _ => (1e-4, 1e-3),
        };
        Some(Self { alphas_cumprod, tolerance })
    }

    fn is_of(&self, config: &SchedulerConfig, label: &str) -> bool {
        let Ok(schedule) = config.noise_schedule(label) else { return false };
        let (share, least) = self.tolerance;
        let near = |(a, b): (&f32, &f32)| f64::from(a - b).abs() <= share * f64::from(*a).max(least);
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
        vec![of("scaled_linear"), of("linear"), of(COSINE)]
    }
}

/// diffusers' schedulers of models whose noise is given by betas, less `Scheduler` at the end.
const BY_BETAS: [&str; 21] = [
    "DDIM",
    "DDIMInverse",
    "DDIMParallel",
    "DDPM",
    "DDPMParallel",
    "DEISMultistep",
    "DPMSolverMultistep",
    "DPMSolverMultistepInverse",
    "DPMSolverSDE",
    "DPMSolverSinglestep",
    "EulerAncestralDiscrete",
    "EulerDiscrete",
    "HeunDiscrete",
    "KDPM2AncestralDiscrete",
    "KDPM2Discrete",
    "LCM",
    "LMSDiscrete",
    "PNDM",
    "SASolver",
    "TCD",
    "UniPCMultistep",
];
/// Keys that say betas.
const BETAS: [&str; 4] = ["beta_start", "beta_end", "beta_schedule", "trained_betas"];
/// Keys by which a scheduler with betas passes them over.
const FLOW: [&str; 2] = ["use_flow_sigmas", "use_dynamic_shifting"];

/// Refuses the config of a scheduler whose noise is not given by betas: flow matching, EDM, Karras' VE and others.
fn check_kind(keys: &Value) -> Result<(), String> {
    match keys.get("_class_name").and_then(Value::as_str) {
        Some(class) => {
            let kind = class.strip_prefix("Flax").unwrap_or(class).strip_suffix("Scheduler");
            if !kind.is_some_and(|kind| BY_BETAS.contains(&kind)) {
                let class = brief(class);
                return Err(format!(
                    "{class} is no scheduler of Stable Diffusion 1 or 2, whose noise is given by betas"
                ));
            }
        }
        None if !BETAS.iter().any(|key| keys.get(key).is_some()) => {
            return Err(
                "it has neither _class_name nor betas: expected the config of a scheduler of diffusers".to_owned()
            );
        }
        None => {}
    }
    match FLOW.iter().find(|key| keys.get(**key) == Some(&Value::Bool(true))) {
        Some(key) => Err(format!("{key} is true, which is of flow matching and not of Stable Diffusion 1 or 2")),
        None => Ok(()),
    }
}

impl SchedulerConfig {
    /// Reads the config `text` of the file `label`.
    pub(crate) fn from_json(text: &str, label: &str) -> Result<Self> {
        let invalid =
            |e: serde_json::Error| Error::file(label, format!("not a scheduler config: {}", brief(&e.to_string())));
        let keys: Value = json::from_str(text).map_err(invalid)?;
        check_kind(&keys).map_err(|problem| Error::file(label, problem))?;
        let saved = SavedScheduler::read(&keys).map_err(|problem| Error::file(label, problem))?;
        let config: Self = serde_json::from_value(keys).map_err(invalid)?;
        Ok(Self { saved: Some(saved), ..config })
    }

    /// That of a checkpoint in one file: as its buffer `alphas_cumprod` (or `betas`) says, which CompVis' loader puts in the
    /// place of what the config says, named where it can be, as it is where not; else as its config says; else Stable
    /// Diffusion's. A key `ztsnr` asks for no signal at the last timestep.
    pub(crate) fn of_single_file(
        compvis: &CompVisConfig,
        label: &str,
        file: &Checkpoint,
        prediction_type: PredictionType,
    ) -> Result<Self> {
        let beta_schedule = match compvis.beta_schedule.as_deref() {
            None | Some("linear") => "scaled_linear",
            Some("sqrt_linear") => "linear",
            Some("cosine") => COSINE,
            Some(other) => {
                let problem = format!(
                    "beta_schedule {:?} of its YAML config is not supported: expected linear or cosine",
                    brief(other)
                );
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
        config.rescale_betas_zero_snr = find_unwrapped(file, ZERO_SNR_KEY).is_some();
        if let Some(buffer) = Buffer::of(file).filter(|buffer| !buffer.is_of(&config, label)) {
            let rescaled = Self { rescale_betas_zero_snr: true, ..config.clone() };
            let known = [rescaled].into_iter().chain(buffer.betas()).find(|known| buffer.is_of(known, label));
            // Betas that make the table are not told by it: the table says all.
            let table = Self { alphas_cumprod: Some(buffer.alphas_cumprod.clone()), ..config.clone() };
            match known {
                Some(known) => config = Self { prediction_type: config.prediction_type, ..known },
                // With a table that is none, what a config says is all there is.
                None if asked && table.noise_schedule(label).is_err() => {}
                None => config = Self { rescale_betas_zero_snr: false, ..table },
            }
        }
        // As this program wrote it when it converted a folder; a text of other kinds says nothing.
        let saved = file.metadata().get(METADATA).and_then(|text| json::from_str(text).ok());
        config.saved = saved.and_then(|keys: Value| SavedScheduler::read(&keys).ok());
        Ok(config)
    }

    pub(crate) fn set_prediction(&mut self, prediction_type: PredictionType) {
        self.prediction_type = prediction_type.id().to_owned();
    }

    /// The noise of each timestep.
    ///
    /// # Errors
    /// The numbers make none.
    pub(crate) fn noise_schedule(&self, label: &str) -> Result<NoiseSchedule> {
        let (start, end, timesteps) = (self.beta_start, self.beta_end, self.num_train_timesteps);
        let made = match (&self.alphas_cumprod, &self.trained_betas, self.beta_schedule.as_str()) {
            (Some(table), ..) => NoiseSchedule::from_alphas_cumprod(table.clone()),
            (None, Some(betas), _) => NoiseSchedule::from_trained_betas(betas),
            (None, None, "scaled_linear") => NoiseSchedule::scaled_linear(start, end, timesteps),
            (None, None, "linear") => NoiseSchedule::linear(start, end, timesteps),
            (None, None, COSINE) => NoiseSchedule::cosine(timesteps),
            (None, None, other) => {
                let problem = format!(
                    "beta_schedule {:?} is not supported: expected scaled_linear, linear or {COSINE}",
                    brief(other)
                );
                return Err(Error::file(label, problem));
            }
        };
        let made = made.map_err(|e| match e {
            calotype_diffusion::Error::NoiseSchedule { value, expected, .. } if self.alphas_cumprod.is_some() => {
                let problem = format!("its buffer alphas_cumprod has {value}, expected {expected}");
                Error::file(label, format!("{problem}: give --config with linear_start and linear_end"))
            }
            other => Error::file(label, other.to_string()),
        })?;
        let rescale = self.rescale_betas_zero_snr && !made.is_zero_terminal_snr();
        Ok(if rescale { made.zero_terminal_snr() } else { made })
    }

    /// Whether the buffers of a single file say this.
    pub(crate) fn is_in(&self, file: &Checkpoint, label: &str) -> bool {
        Buffer::of(file).is_some_and(|buffer| buffer.is_of(self, label))
    }

    /// Whether betas between a first and a last one say it, rescaled or not.
    pub(crate) fn is_named(&self) -> bool {
        self.alphas_cumprod.is_none() && self.trained_betas.is_none()
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
    /// By the first of: the YAML's `parameterization`; a key `v_pred`; in a family that may predict v the file's `global_step`, or
    /// the spread of a bias that differs much between the published models (ComfyUI's test); else ε.
    pub(crate) fn of(
        compvis: &CompVisConfig,
        label: &str,
        file: &Checkpoint,
        layout: &Layout,
        unet: &UNetConfig,
    ) -> Result<Self> {
        use PredictionType::{Epsilon, Sample, VPrediction};
        let told = |prediction_type, source| Ok(Self { prediction_type, source });
        match compvis.parameterization.as_deref() {
            Some("v") => return told(VPrediction, "parameterization of the YAML config"),
            Some("eps") => return told(Epsilon, "parameterization of the YAML config"),
            Some("x0") => return told(Sample, "parameterization of the YAML config"),
            Some(other) => {
                let problem = format!(
                    "parameterization {:?} of its YAML config is not supported: expected eps, v or x0",
                    brief(other)
                );
                return Err(Error::file(label, problem));
            }
            None => {}
        }
        if find_unwrapped(file, V_KEY).is_some() {
            return told(VPrediction, "the key v_pred");
        }
        if !unet.family().may_predict_v || unet.in_channels != unet.out_channels {
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
