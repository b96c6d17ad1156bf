//! What a picture's file says of how it was made.

use calotype_diffusion::{SamplerKind, ScheduleKind};
use calotype_image::{RgbImage, encode_png};
use serde::Serialize;

use crate::{Model, Plan, Precision, Result, Text2ImageRequest};

/// The PNG keyword of the text that A1111 and its successors read.
pub const PARAMETERS_KEYWORD: &str = "parameters";
/// The PNG keyword of the JSON block.
pub const JSON_KEYWORD: &str = "calotype";
/// How many digits of the model's hash A1111's text has.
const SHORT_HASH: usize = 10;

/// Everything needed to make one picture again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metadata {
    /// This program's version.
    pub version: &'static str,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative_prompt: String,
    /// Steps.
    pub num_inference_steps: usize,
    /// The sampler's id.
    pub sampler: &'static str,
    /// The schedule's id.
    pub schedule: &'static str,
    /// Noise of `ddim`.
    pub eta: f64,
    /// The guidance scale.
    pub guidance_scale: f32,
    /// This picture's own seed.
    pub seed: u64,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The model's name.
    pub model: String,
    /// The model's hash ([`Model::hash`]).
    pub model_hash: String,
    /// The number type.
    pub precision: &'static str,
    /// The starting noise, if it did not come from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents: Option<LatentsMetadata>,
}

/// Starting noise that came from a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatentsMetadata {
    /// The file; empty if the caller has not set it.
    pub file: String,
    /// The SHA-256 of this picture's numbers, f32 little-endian `(C, h, w)`.
    pub sha256: String,
    /// Which picture of the file.
    pub index: usize,
}

impl Metadata {
    /// Of picture `index` of a batch. Starting latents are named by their hash and place in the request; set `file`.
    ///
    /// # Errors
    /// The model's weights can't be read to hash them.
    pub fn new(
        model: &Model,
        request: &Text2ImageRequest,
        plan: &Plan,
        precision: Precision,
        index: usize,
    ) -> Result<Self> {
        let start = request.latents.as_ref().and_then(|latents| latents.slice(index, 1));
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            num_inference_steps: request.num_inference_steps,
            sampler: request.sampler.id(),
            schedule: request.schedule.id(),
            eta: request.eta,
            guidance_scale: request.guidance_scale,
            seed: request.seed.wrapping_add(index as u64),
            width: plan.width,
            height: plan.height,
            model: model.name().to_owned(),
            model_hash: model.hash()?.to_owned(),
            precision: precision.id(),
            latents: start.map(|start| LatentsMetadata { file: String::new(), sha256: start.hash(), index }),
        })
    }

    /// The text of A1111 (`create_infotext`): the prompt, the negative prompt if there is one, a line of settings.
    #[must_use]
    pub fn parameters(&self) -> String {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text.push_str(&format!("\nNegative prompt: {}", self.negative_prompt));
        }
        let mut settings =
            vec![("Steps", self.num_inference_steps.to_string()), ("Sampler", sampler_label(self.sampler).to_owned())];
        if self.schedule == ScheduleKind::Karras.id() {
            settings.push(("Schedule type", "Karras".to_owned()));
        }
        settings.push(("CFG scale", self.guidance_scale.to_string()));
        settings.push(("Seed", self.seed.to_string()));
        settings.push(("Size", format!("{}x{}", self.width, self.height)));
        if self.eta != 0.0 {
            settings.push(("Eta", self.eta.to_string()));
        }
        settings.push(("Model hash", self.model_hash.chars().take(SHORT_HASH).collect()));
        settings.push(("Model", quoted(&self.model)));
        settings.push(("Version", format!("calotype {}", self.version)));
        let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        format!("{text}\n{}", settings.join(", "))
    }

    /// The JSON block.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of numbers and strings can't fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The picture as a PNG file with both texts.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn encode_png(&self, picture: &RgbImage) -> Result<Vec<u8>> {
        let (parameters, json) = (self.parameters(), self.to_json());
        Ok(encode_png(picture, &[(PARAMETERS_KEYWORD, &parameters), (JSON_KEYWORD, &json)])?)
    }
}

/// A1111's name of a sampler.
fn sampler_label(id: &str) -> &str {
    match id.parse() {
        Ok(SamplerKind::Ddim) => "DDIM",
        Ok(SamplerKind::Plms) => "PLMS",
        Ok(SamplerKind::Euler) => "Euler",
        Ok(SamplerKind::EulerA) => "Euler a",
        Ok(SamplerKind::Heun) => "Heun",
        Ok(SamplerKind::Lms) => "LMS",
        Ok(SamplerKind::Dpmpp2m) => "DPM++ 2M",
        _ => id,
    }
}

/// A value that would break the line of settings is written as a JSON string, as A1111 does.
fn quoted(value: &str) -> String {
    if value.contains([',', ':', '\n']) { serde_json::Value::from(value).to_string() } else { value.to_owned() }
}
