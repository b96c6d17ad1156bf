//! What a picture's file says of how it was made.
//!
//! A new field is a member of [`Metadata`] with its value in [`Metadata::of_request`] and [`Metadata::request`] (by
//! which JSON has it, both ways), and a row in `fields.rs` (by which A1111's text has it, both ways).

mod fields;
mod noise;
mod parameters;

use std::{convert::Infallible, path::PathBuf};

use calotype_checkpoint::brief;
use calotype_diffusion::SamplerSettings;
use calotype_image::{RgbImage, encode_png};
use serde::{Deserialize, Serialize};

pub use noise::{BatchMetadata, NoiseMetadata};
pub use parameters::Parameters;

use crate::{
    AdapterMetadata, Error, FileRef, Hires, Init, Inpaint, Model, PictureFile, Plan, Precision, Request, Result,
    Tiling, ZERO_TERMINAL_SNR, adapters, latents_sha256, request::is_default,
};

/// The PNG keyword of the text that A1111 and its successors read.
pub const PARAMETERS_KEYWORD: &str = "parameters";
/// The PNG keyword of the JSON block.
pub const JSON_KEYWORD: &str = "calotype";

/// Everything needed to make one picture again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// This program's version.
    pub version: String,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative_prompt: String,
    /// LoRAs, hypernetworks and embeddings ([`Run::adapters`](crate::Run::adapters)).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<AdapterMetadata>,
    /// The id of how the two are read.
    pub prompt_style: String,
    /// The id of what weights in them do.
    pub emphasis: String,
    /// Whether schedules of prompts count as A1111 did before its version 1.6.
    #[serde(skip_serializing_if = "is_default")]
    pub old_prompt_editing: bool,
    /// From which layer of the text encoder its output is taken, counted from the last, which is 1.
    pub clip_skip: usize,
    /// Steps.
    pub num_inference_steps: usize,
    /// The sampler's id.
    pub sampler: String,
    /// The schedule's id.
    pub schedule: String,
    /// Fresh noise of the steps, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Settings of the sampler and the schedule, if they are not as by default.
    #[serde(skip_serializing_if = "is_default")]
    pub sampler_settings: SamplerSettings,
    /// The guidance scale.
    pub guidance_scale: f32,
    /// This picture's own seed.
    pub seed: u64,
    /// Where the noise came from, besides.
    #[serde(flatten)]
    pub noise: NoiseMetadata,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The model's name.
    pub model: String,
    /// The model's hash ([`Model::hash`]).
    pub model_hash: String,
    /// The name of the model's noise, if it is not its family's ([`Model::noise_schedule_name`]).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub noise_schedule: String,
    /// The number type.
    pub precision: String,
    /// The starting noise, if it did not come from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents: Option<LatentsMetadata>,
    /// The picture it started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init<FileRef>>,
    /// The second pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// Along which axes it goes on at its other edge.
    #[serde(skip_serializing_if = "is_default")]
    pub tiling: Tiling,
}

/// Starting noise that came from a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentsMetadata {
    /// The file; empty if the caller has not set it.
    pub file: String,
    /// The SHA-256 of this picture's numbers, f32 little-endian `(C, h, w)`.
    pub sha256: String,
    /// Which picture of the file.
    pub index: usize,
}

impl Default for Metadata {
    /// Of a request as it is by default.
    fn default() -> Self {
        Self::of_request(&Request::default())
    }
}

impl Metadata {
    /// Of picture `index` of a batch. Starting latents are named by their hash and place in the request; set `file`.
    ///
    /// # Errors
    /// The model's weights can't be read to hash them.
    pub fn new(model: &Model, request: &Request, plan: &Plan, precision: Precision, index: usize) -> Result<Self> {
        let start = request.latents.as_ref().and_then(|latents| latents.slice(index, 1));
        let (seed, noise) = NoiseMetadata::new(request, index);
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            noise,
            width: plan.width,
            height: plan.height,
            model: model.name().to_owned(),
            model_hash: model.hash()?.to_owned(),
            noise_schedule: model.noise_schedule_name().unwrap_or_default().to_owned(),
            precision: precision.id().to_owned(),
            latents: start.map(|start| LatentsMetadata { file: String::new(), sha256: latents_sha256(&start), index }),
            ..Self::of_request(request)
        })
    }

    /// Whether the model's last timestep had no signal: see [`ModelOptions`](crate::ModelOptions::zero_terminal_snr).
    #[must_use]
    pub fn is_zero_terminal_snr(&self) -> bool {
        self.noise_schedule == ZERO_TERMINAL_SNR
    }

    fn inpaint(&self) -> Option<&Inpaint<FileRef>> {
        self.init.as_ref()?.inpaint.as_ref()
    }

    /// What a request says by itself, without the model and what a batch is made of.
    fn of_request(request: &Request) -> Self {
        Self {
            version: String::new(),
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            adapters: Vec::new(),
            prompt_style: request.prompt_style.id().to_owned(),
            emphasis: request.emphasis.id().to_owned(),
            old_prompt_editing: request.old_prompt_editing,
            clip_skip: request.clip_skip,
            num_inference_steps: request.num_inference_steps,
            sampler: request.sampler.id().to_owned(),
            schedule: request.schedule.id().to_owned(),
            eta: request.eta,
            sampler_settings: request.sampler_settings,
            guidance_scale: request.guidance_scale,
            seed: request.seed,
            noise: NoiseMetadata::new(request, 0).1,
            width: 0,
            height: 0,
            model: String::new(),
            model_hash: String::new(),
            noise_schedule: String::new(),
            precision: String::new(),
            latents: None,
            init: request.init.as_ref().map(references),
            hires: request.hires.clone(),
            tiling: request.tiling,
        }
    }

    /// The request that makes this picture again, alone. The pictures that it started from are read again; starting noise
    /// ([`Self::latents`]) is left out.
    ///
    /// # Errors
    /// It names a sampler, a schedule or another choice that is unknown, or a file that can't be read or is no longer the same.
    pub fn request(&self) -> Result<Request> {
        self.request_with(&[])
    }

    /// [`Self::request`], its pictures among these files if they are, wherever they were when it was made.
    ///
    /// # Errors
    /// As [`Self::request`], or one of the files can't be read.
    pub fn request_with(&self, pictures: &[PathBuf]) -> Result<Request> {
        let pictures: Vec<PictureFile> = pictures.iter().map(PictureFile::open).collect::<Result<_>>()?;
        let reopen = |reference: &FileRef| {
            let found = pictures.iter().find(|file| file.reference.sha256 == reference.sha256);
            match found {
                Some(file) => Ok(PictureFile { reference: reference.clone(), picture: file.picture.clone() }),
                None => PictureFile::reopen(reference),
            }
        };
        let side = |side: usize| Some(side).filter(|&side| side > 0);
        Ok(Request {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone(),
            adapters: adapters::options(&self.adapters),
            prompt_style: self.prompt_style.parse()?,
            emphasis: self.emphasis.parse()?,
            old_prompt_editing: self.old_prompt_editing,
            clip_skip: self.clip_skip,
            num_inference_steps: self.num_inference_steps,
            sampler: self.sampler.parse()?,
            schedule: self.schedule.parse()?,
            eta: self.eta,
            sampler_settings: self.sampler_settings,
            guidance_scale: self.guidance_scale,
            width: side(self.width),
            height: side(self.height),
            seed: self.seed,
            noise: self.noise.request()?,
            batch_size: 1,
            latents: None,
            init: self.init.as_ref().map(|init| init.try_map(reopen)).transpose()?,
            hires: self.hires.clone(),
            tiling: self.tiling,
        })
    }

    /// The JSON block.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of numbers and strings can't fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the JSON block.
    ///
    /// # Errors
    /// It is not of this form.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|e| Error::Request(format!("the picture's metadata are damaged: {}", brief(&e.to_string()))))
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

/// The same, its pictures as references to their files.
fn references(init: &Init) -> Init<FileRef> {
    // Taking a reference can't fail.
    let Ok(init) = init.try_map(|picture| Ok::<_, Infallible>(picture.reference.clone()));
    init
}
