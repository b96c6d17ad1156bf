//! What diffusers made of the small model of formulas.

use calotype::Request;
use serde::Deserialize;

/// A case of `reference/pipeline.py`.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) sampler: String,
    #[serde(default = "default_schedule")]
    pub(crate) schedule: String,
    pub(crate) steps: usize,
    #[serde(default)]
    pub(crate) eta: f64,
    pub(crate) prompt: String,
    #[serde(default)]
    pub(crate) negative: String,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) seed: u64,
    #[serde(default = "default_guidance")]
    pub(crate) guidance: f32,
    #[serde(default = "default_batch")]
    pub(crate) batch: usize,
    #[serde(default = "default_prediction")]
    pub(crate) prediction_type: String,
    pub(crate) latents: Vec<f32>,
    pub(crate) picture: Option<Vec<u8>>,
}

fn default_schedule() -> String {
    "default".into()
}

fn default_prediction() -> String {
    "epsilon".into()
}

fn default_guidance() -> f32 {
    7.5
}

fn default_batch() -> usize {
    1
}

impl Golden {
    pub(crate) fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../goldens/pipeline.json")).unwrap()
    }

    pub(crate) fn request(&self) -> Request {
        Request {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative.clone(),
            num_inference_steps: self.steps,
            sampler: self.sampler.parse().unwrap(),
            schedule: self.schedule.parse().unwrap(),
            eta: Some(self.eta).filter(|_| self.sampler == "ddim"),
            guidance_scale: self.guidance,
            width: Some(self.width),
            height: Some(self.height),
            seed: self.seed,
            batch_size: self.batch,
            ..Default::default()
        }
    }
}
