//! What a request is made of, and its check into a plan.
//!
//! ```no_run
//! use calotype::{Request, request::{Init, Inpaint, InputImage}};
//!
//! # fn main() -> calotype::Result<()> {
//! // From an image: as a file, or as bytes from anywhere.
//! let init = Init { strength: 0.6, ..Init::new(InputImage::open("photo.png")?) };
//! let request = Request { init: Some(init.clone()), ..Request::new("an oil painting") };
//!
//! // Only where the mask is white.
//! let inpaint = Inpaint::new(Some(InputImage::open("mask.png")?));
//! let request = Request { init: Some(Init { inpaint: Some(inpaint), ..init }), ..Request::new("a wooden bench") };
//! # Ok(())
//! # }
//! ```

pub(crate) mod by_id;
mod check;
mod choices;
mod hires;
mod image;
mod init;
pub(crate) mod json;
mod noise;
mod place;
mod scheduler;
mod size;
mod tiles;
mod words;

use std::sync::Arc;

use calotype_diffusion::{Rng, SamplerFeature, SamplerKind, SamplerSettings, ScheduleKind, SchedulerSettings, SeedPer};
use calotype_image::Rounding;
pub use calotype_text::{Emphasis, PromptStyle};
use serde::{Deserialize, Serialize};

pub use check::Plan;
pub(crate) use check::SecondPass;
pub use hires::{Hires, Tiling, Upscaler};
pub use image::{FileRef, InputImage};
pub use init::{Fill, Init, Inpaint, ResizeMode, Sides, StrengthRule};
pub use place::{BatchPlace, OneOf};
pub use size::check_side;
pub use tiles::{Region, TileMethod, Tiles};

use crate::{Latents, adapters::AdapterOptions, sampling::guides};
use json::is_default;

/// A request for images. The names are diffusers' where it has the option, and the keys of its JSON; choices are written by
/// their ids, images as references to their files, and what few requests have is left out where it is as by default.
///
/// Every mode takes the same request. A new option is a member here, with its default, and nothing more in this crate but
/// a row in `metadata/fields.rs`, by which A1111's text has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative_prompt: String,
    /// LoRAs, hypernetworks and embeddings.
    #[serde(skip_serializing_if = "AdapterOptions::is_empty")]
    pub adapters: AdapterOptions,
    /// How the two prompts are read.
    #[serde(with = "by_id")]
    pub prompt_style: PromptStyle,
    /// What weights in prompts do.
    #[serde(with = "by_id")]
    pub emphasis: Emphasis,
    /// Whether `when` in `[from:to:when]` is a fraction of the steps only if it is below 1, in both passes of the same: A1111
    /// before its version 1.6.
    #[serde(skip_serializing_if = "is_default")]
    pub old_prompt_editing: bool,
    /// From which layer of the text encoder its output is taken, counted from the last, which is 1.
    pub clip_skip: usize,
    /// Steps of the sampler.
    pub num_inference_steps: usize,
    /// The sampler.
    #[serde(with = "by_id")]
    pub sampler: SamplerKind,
    /// How its noise levels are spaced.
    #[serde(with = "by_id")]
    pub schedule: ScheduleKind,
    /// Fresh noise of the steps, from 0 to 1; the sampler's own if not given ([`StepNoise::default_eta`](calotype_diffusion::StepNoise::default_eta)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// Settings that only some samplers and schedules have.
    #[serde(skip_serializing_if = "is_default")]
    pub sampler_settings: SamplerSettings,
    /// Settings of diffusers' schedulers, in the place of what the model's `scheduler_config.json` says; with the schedule
    /// `default` only.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduler_settings: SchedulerSettings,
    /// Whether what the model's `scheduler_config.json` says of the sampler does not count.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_scheduler_config: bool,
    /// How strongly the prompt pulls (Ho & Salimans 2022): 1 is without guidance, and takes half the time.
    pub guidance_scale: f32,
    /// The seed of the first image.
    pub seed: u64,
    /// The generator of noise.
    #[serde(with = "by_id")]
    pub rng: Rng,
    /// A second seed to mix in. Image `k` then has this seed plus `k`, and all have the same main seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation_seed: Option<u64>,
    /// How much of the second seed is mixed in: 0 none, 1 all.
    #[serde(skip_serializing_if = "is_default")]
    pub variation_strength: f32,
    /// The starting noise is that of images of this width and height, put in the middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_resize: Option<[usize; 2]>,
    /// If not 0, the noise of stochastic samplers' steps has this much added to its seed (A1111's ENSD).
    #[serde(skip_serializing_if = "is_default")]
    pub eta_noise_seed_delta: i64,
    /// What the noise is multiplied by that is laid over an image to start from, 0 to 1.5.
    #[serde(skip_serializing_if = "json::is_one")]
    pub init_noise_multiplier: f64,
    /// Noise beyond that of the first noise level, laid over an image to start from and over the enlarged one of a second
    /// pass, 0 to 1: so many times unit variance where that of the level is so many as its sigma.
    #[serde(skip_serializing_if = "is_default")]
    pub extra_noise: f64,
    /// Whether each image has a seed of its own: image `k` the seed `seed + k`, so each can be made again alone.
    #[serde(with = "by_id", skip_serializing_if = "is_default")]
    pub seed_per: SeedPer,
    /// Every batch starts from the noise of the first one.
    #[serde(skip_serializing_if = "is_default")]
    pub fixed_code: bool,
    /// Images made at once.
    #[serde(skip_serializing_if = "json::is_one")]
    pub batch_size: usize,
    /// Width in pixels; the model's own if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Height in pixels; the model's own if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// The starting noise, unit variance, instead of that of the seeds.
    #[serde(with = "json::latents", skip_serializing_if = "Option::is_none")]
    pub latents: Option<Arc<Latents>>,
    /// An image to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// A second, larger pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// Whether images go on at their other edge, so that copies side by side have no seams.
    #[serde(skip_serializing_if = "is_default")]
    pub tiling: Tiling,
    /// Whether latents are worked on in overlapping windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<Tiles>,
}

impl Request {
    /// A request for one image of a prompt, with the default settings.
    #[must_use]
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }

    /// Whether the unconditional prediction is needed too.
    #[must_use]
    pub fn guides(&self) -> bool {
        guides(self.guidance_scale) || self.sampler.info().has(SamplerFeature::Cfgpp)
    }

    /// Whether everything is done exactly as CompVis' scripts do it: strengths, sizes and rounding too.
    pub(crate) fn is_compvis(&self) -> bool {
        self.schedule == ScheduleKind::Compvis
    }

    /// How values of images become 8 bits.
    pub(crate) fn rounding(&self) -> Rounding {
        if self.is_compvis() { Rounding::Down } else { Rounding::Nearest }
    }
}

impl Default for Request {
    /// No prompt, and the settings of CompVis' script: 50 steps of `ddim` at guidance 7.5, seed 42, one image.
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            adapters: AdapterOptions::default(),
            prompt_style: PromptStyle::Plain,
            emphasis: Emphasis::Original,
            old_prompt_editing: false,
            clip_skip: 1,
            num_inference_steps: 50,
            sampler: SamplerKind::Ddim,
            schedule: ScheduleKind::Default,
            eta: None,
            sampler_settings: SamplerSettings::default(),
            scheduler_settings: SchedulerSettings::default(),
            ignore_scheduler_config: false,
            guidance_scale: 7.5,
            seed: 42,
            rng: Rng::Cpu,
            variation_seed: None,
            variation_strength: 0.0,
            seed_resize: None,
            eta_noise_seed_delta: 0,
            init_noise_multiplier: 1.0,
            extra_noise: 0.0,
            seed_per: SeedPer::Picture,
            fixed_code: false,
            batch_size: 1,
            width: None,
            height: None,
            latents: None,
            init: None,
            hires: None,
            tiling: Tiling::None,
            tiles: None,
        }
    }
}
