//! What an image's file says of how it was made: its request, and what it was made with.
//!
//! ```no_run
//! use calotype::{Model, Pipeline, PipelineOptions, metadata};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::load(Model::open("path/to/sd15")?, PipelineOptions::default())?;
//! // Of a picture of this program or another.
//! let reading = metadata::read(&std::fs::read("lighthouse.png")?)?;
//! let (request, place) = reading.metadata.request(&[])?;
//! let run = pipeline.run(pipeline.plan(request)?.at(place)?)?;
//! # Ok(())
//! # }
//! ```

mod ages;
mod batch;
mod comfyui;
mod draft;
mod draw_things;
mod easy_diffusion;
mod fields;
mod fooocus;
mod grammar;
mod invokeai;
mod json;
mod members;
mod novelai;
mod parameters;
mod reader;
mod reading;
mod settings;
mod swarmui;
mod watermark;
mod xmp;

use std::path::PathBuf;

use calotype_image::{Error as ImageError, FileFormat, RgbImage, XMP_KEYWORD, encode};
use serde::{Deserialize, Serialize};

pub use batch::BatchMetadata;
pub use reader::read;
pub use reading::{Program, Reading};
pub use watermark::WatermarkMetadata;
pub use xmp::DigitalSourceType;

use crate::{
    Model, Plan, Precision, Request, Result, Warning, adapters,
    adapters::AdapterMetadata,
    checkpoint::ZERO_TERMINAL_SNR,
    latents::latents_sha256,
    request::{BatchPlace, InputImage},
};

/// The PNG keyword of the text that A1111 and its successors read; in a JPEG or WebP it is the EXIF tag `UserComment`.
pub const PARAMETERS_KEYWORD: &str = "parameters";
/// The PNG keyword of what was done with an image after it was made, as A1111 has it.
pub const POSTPROCESSING_KEYWORD: &str = "postprocessing";
/// The PNG keyword of the JSON block; in a JPEG or WebP it is in the EXIF tag `MakerNote`, after this and a colon.
pub const JSON_KEYWORD: &str = "calotype";

/// Everything needed to make one image again. JSON has the members of the request among the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// This program's version.
    pub version: String,
    /// What was asked for, as far as it is this image's alone: its own seeds and size; its adapters, its starting noise
    /// and what its batch means to its noise are in the members below.
    #[serde(flatten)]
    pub request: Request,
    /// LoRAs, hypernetworks and embeddings ([`Run::adapters`](crate::Run::adapters)), those that the prompt calls for too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<AdapterMetadata>,
    /// The batch, where the noise depends on it; the seeds are then those of the run's first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchMetadata>,
    /// The model's name.
    pub model: String,
    /// The model's hash ([`Model::hash`]).
    pub model_hash: String,
    /// The name of the model's licence, if it is known ([`Model::license`]).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// What classifiers say of the image, where whoever saves it wants that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety: Option<serde_json::Value>,
    /// The name of the model's noise, if it is not its family's ([`Model::noise_schedule_name`]).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub noise_schedule: String,
    /// The number type, if it is known.
    #[serde(with = "json::precision", skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// That of the VAE, if it was asked for ([`PipelineOptions::vae_precision`](crate::PipelineOptions::vae_precision)).
    #[serde(with = "json::precision", skip_serializing_if = "Option::is_none")]
    pub vae_precision: Option<Precision>,
    /// The starting noise, if it did not come from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents: Option<LatentsMetadata>,
    /// How the image came to be, for programs that know nothing of this one: if given, its file has an XMP packet that says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digital_source_type: Option<DigitalSourceType>,
    /// What was done with it after it was made, in A1111's words: how it was enlarged. `remake` does not do it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postprocessing: Option<String>,
    /// The invisible mark in its pixels, if the caller has made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkMetadata>,
}

/// Starting noise that came from a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentsMetadata {
    /// The file; empty if the caller has not set it.
    pub file: String,
    /// The SHA-256 of this image's numbers, f32 little-endian `(C, h, w)`.
    pub sha256: String,
    /// Which image of the file.
    pub index: usize,
}

impl Metadata {
    /// Of image `position` of a plan's batch. Starting latents are named by their hash and place in the request; set `file`.
    ///
    /// # Errors
    /// The model's weights can't be read to hash them.
    pub fn new(model: &Model, plan: &Plan, precision: Precision, position: usize) -> Result<Self> {
        let mut request = Request::clone(plan.request());
        request.adapters = Default::default();
        // What the model's scheduler says is said of the image, so that it is made again whatever becomes of that.
        request.scheduler_settings = request.said_scheduler_settings(model);
        request.ignore_scheduler_config = false;
        let latents = request.latents.take().and_then(|latents| latents.slice(position, 1));
        let latents = latents.map(|start| LatentsMetadata {
            file: String::new(),
            sha256: latents_sha256(&start),
            index: position,
        });
        (request.width, request.height) = (Some(plan.width), Some(plan.height));
        let batch = BatchMetadata::take(&mut request, plan.place(), position);
        let source = DigitalSourceType::of(&request);
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            request,
            adapters: Vec::new(),
            batch,
            model: model.name().to_owned(),
            model_hash: model.hash()?.to_owned(),
            license: model.license()?.map(|license| license.name).unwrap_or_default(),
            safety: None,
            noise_schedule: model.noise_schedule_name().unwrap_or_default().to_owned(),
            precision: Some(precision),
            vae_precision: None,
            latents,
            digital_source_type: Some(source),
            postprocessing: None,
            watermark: None,
        })
    }

    /// Whether the model's last timestep had no signal: see [`ModelOptions`](crate::ModelOptions::zero_terminal_snr).
    #[must_use]
    pub fn is_zero_terminal_snr(&self) -> bool {
        self.noise_schedule == ZERO_TERMINAL_SNR
    }

    /// The request that makes this image again, alone, and its place in a run. The images that it started from are read
    /// again, from these files if they are among them, wherever they were when it was made; starting noise
    /// ([`Self::latents`]) is left out.
    ///
    /// # Errors
    /// A file can't be read or is no longer the same.
    pub fn request(&self, images: &[PathBuf]) -> Result<(Request, BatchPlace)> {
        let given: Vec<InputImage> = images.iter().map(InputImage::open).collect::<Result<_>>()?;
        let mut request = Request {
            adapters: adapters::options(&self.adapters),
            // All that mattered of it is in the settings.
            ignore_scheduler_config: true,
            ..self.request.clone()
        };
        let place = self.batch.as_ref().map(|batch| batch.give(&mut request)).unwrap_or_default();
        request.open_images(&given)?;
        Ok((request, place))
    }

    /// How the image came to be, whether that is in its file or not.
    #[must_use]
    pub fn source_type(&self) -> DigitalSourceType {
        DigitalSourceType::of(&self.request)
    }

    /// The XMP packet that says how the image came to be, if that is said.
    #[must_use]
    pub fn xmp(&self) -> Option<String> {
        Some(self.digital_source_type?.packet(&self.version))
    }

    /// The image as a PNG file with both texts and XMP.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn encode_png(&self, picture: &RgbImage) -> Result<Vec<u8>> {
        Ok(self.encode(picture, FileFormat::Png, 100)?.0)
    }

    /// The image as a file with both texts and XMP; a JPEG is the more like it the higher `quality`, 1 to 100. A prompt may be longer
    /// than what a JPEG holds, which is the warning: then the JSON alone is in it beside XMP, or nothing.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn encode(&self, picture: &RgbImage, format: FileFormat, quality: u8) -> Result<(Vec<u8>, Option<Warning>)> {
        let (parameters, json, xmp) = (self.parameters(), self.to_json(), self.xmp());
        let mut texts = vec![(PARAMETERS_KEYWORD, parameters.as_str()), (JSON_KEYWORD, json.as_str())];
        texts.extend(self.postprocessing.as_deref().map(|text| (POSTPROCESSING_KEYWORD, text)));
        texts.extend(xmp.as_deref().map(|xmp| (XMP_KEYWORD, xmp)));
        let warnings = [None, Some(Warning::LongMetadata { is_left: true })];
        for (texts, warning) in [&texts[..], &texts[1..]].into_iter().zip(warnings) {
            match encode(picture, format, quality, texts) {
                Err(ImageError::LongTexts { .. }) => {}
                encoded => return Ok((encoded?, warning)),
            }
        }
        Ok((encode(picture, format, quality, &texts[2..])?, Some(Warning::LongMetadata { is_left: false })))
    }
}
