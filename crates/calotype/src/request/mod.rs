//! What pictures are asked for with, and the check of it.

mod check;
mod hires;
mod init;
mod noise;
mod size;

use calotype_diffusion::{SamplerKind, SamplerSettings, ScheduleKind};
use calotype_image::Rounding;
use calotype_text::{Emphasis, PromptStyle};

pub use check::Plan;
pub(crate) use check::SecondPass;
pub use hires::{Hires, Tiling, Upscaler};
pub use init::{FileRef, Fill, Init, Inpaint, PictureFile, ResizeMode, Sides, StrengthRule};
pub(crate) use init::{is_default, is_one};
pub use noise::{NoiseRequest, OneOf};
pub(crate) use size::{check_side, check_size};

use crate::{AdapterOptions, Latents, guides};

/// A request for pictures. The names are diffusers'.
///
/// Every mode takes the same request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative_prompt: String,
    /// LoRAs, hypernetworks and embeddings.
    pub adapters: AdapterOptions,
    /// How the two are read.
    pub prompt_style: PromptStyle,
    /// What weights in them do.
    pub emphasis: Emphasis,
    /// Whether `when` in `[from:to:when]` is a fraction of the steps only if it is below 1, in both passes of the same: A1111
    /// before its version 1.6.
    pub old_prompt_editing: bool,
    /// From which layer of the text encoder its output is taken, counted from the last, which is 1.
    pub clip_skip: usize,
    /// Steps of the sampler.
    pub num_inference_steps: usize,
    /// The sampler.
    pub sampler: SamplerKind,
    /// How its noise levels are spaced.
    pub schedule: ScheduleKind,
    /// Fresh noise of the steps, from 0 to 1; the sampler's own if not given ([`SamplerKind::default_eta`]).
    pub eta: Option<f64>,
    /// Settings of some samplers and schedules, which few ask for.
    pub sampler_settings: SamplerSettings,
    /// How strongly the prompt pulls (Ho & Salimans 2022): 1 is without guidance, and takes half the time.
    pub guidance_scale: f32,
    /// Width in pixels; the model's own if not given.
    pub width: Option<usize>,
    /// Height in pixels; the model's own if not given.
    pub height: Option<usize>,
    /// The seed of the first picture.
    pub seed: u64,
    /// Where noise comes from, and how seeds are counted on.
    pub noise: NoiseRequest,
    /// Pictures made at once.
    pub batch_size: usize,
    /// The starting noise, unit variance, instead of that of the seeds.
    pub latents: Option<Latents>,
    /// A picture to start from.
    pub init: Option<Init>,
    /// A second, larger pass.
    pub hires: Option<Hires>,
    /// Whether pictures go on at their other edge, so that copies side by side have no seams.
    pub tiling: Tiling,
}

impl Request {
    /// Whether the unconditional prediction is needed too.
    #[must_use]
    pub fn guides(&self) -> bool {
        guides(self.guidance_scale) || self.sampler.needs_uncond()
    }

    /// Whether all is done to the letter as CompVis' scripts do it: its strengths, sizes and rounding too.
    pub(crate) fn is_compvis(&self) -> bool {
        self.schedule == ScheduleKind::Compvis
    }

    /// How values of pictures become 8 bits.
    pub(crate) fn rounding(&self) -> Rounding {
        if self.is_compvis() { Rounding::Down } else { Rounding::Nearest }
    }
}

impl Default for Request {
    /// No prompt, and the settings of CompVis' script: 50 steps of `ddim` at guidance 7.5, seed 42, one picture.
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
            guidance_scale: 7.5,
            width: None,
            height: None,
            seed: 42,
            noise: NoiseRequest::default(),
            batch_size: 1,
            latents: None,
            init: None,
            hires: None,
            tiling: Tiling::None,
        }
    }
}
