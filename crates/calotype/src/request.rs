//! What a picture is asked for with, and the check of it.

use calotype_diffusion::{SampleOptions, Sampler, SamplerKind, ScheduleKind};
use calotype_models::{UNetConfig, VaeConfig};

use crate::{Error, Latents, Model, PipelineOptions, Result, memory};

/// The longest side of a picture.
pub(crate) const MAX_SIDE: usize = 16384;
/// The most pictures made at once.
const MAX_BATCH: usize = 1024;

/// A request for pictures from a text. The names are diffusers'.
#[derive(Clone, Debug, PartialEq)]
pub struct Text2ImageRequest {
    /// What is to be seen.
    pub prompt: String,
    /// What is not to be seen.
    pub negative_prompt: String,
    /// Steps of the sampler.
    pub num_inference_steps: usize,
    /// The sampler.
    pub sampler: SamplerKind,
    /// How its noise levels are spaced.
    pub schedule: ScheduleKind,
    /// Noise of `ddim`, from 0 to 1.
    pub eta: f64,
    /// How strongly the prompt pulls (Ho & Salimans 2022): 1 is without guidance, and takes half the time.
    pub guidance_scale: f32,
    /// Width in pixels; the model's own if not given.
    pub width: Option<usize>,
    /// Height in pixels; the model's own if not given.
    pub height: Option<usize>,
    /// Picture `k` of the batch has the seed `seed + k`, so each can be made again alone.
    pub seed: u64,
    /// Pictures made at once.
    pub batch_size: usize,
    /// The starting noise, unit variance, instead of that of the seeds.
    pub latents: Option<Latents>,
}

impl Default for Text2ImageRequest {
    /// No prompt, and the settings of CompVis' script: 50 steps of `ddim` at guidance 7.5, seed 42, one picture.
    fn default() -> Self {
        Self {
            prompt: String::new(),
            negative_prompt: String::new(),
            num_inference_steps: 50,
            sampler: SamplerKind::Ddim,
            schedule: ScheduleKind::Default,
            eta: 0.0,
            guidance_scale: 7.5,
            width: None,
            height: None,
            seed: 42,
            batch_size: 1,
            latents: None,
        }
    }
}

/// A request that was checked against a model.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) sampler: Sampler,
    /// Width of the pictures in pixels.
    pub width: usize,
    /// Height of the pictures in pixels.
    pub height: usize,
    /// Latents of the batch, `[B, C, h, w]`.
    pub latents_shape: [usize; 4],
}

impl Model {
    /// Checks that a pipeline can meet a request, before weights are read and anything is computed.
    ///
    /// # Errors
    /// A value is out of range, the sampler can't do it, or the size is not one this model can make.
    pub fn check(&self, request: &Text2ImageRequest, pipeline: PipelineOptions) -> Result<Plan> {
        if self.is_inpainting() {
            return refuse("this is an inpainting model, whose UNet also takes a mask: give another model".to_owned());
        }
        let options = SampleOptions::new(request.num_inference_steps).eta(request.eta);
        let sampler = Sampler::new(request.sampler, request.schedule, self.noise_schedule(), options)?;
        let scale = request.guidance_scale;
        if !(scale.is_finite() && scale >= 0.0) {
            return refuse(format!("guidance scale {scale} is out of range: give a number from 0, such as 7.5"));
        }
        let batch = request.batch_size;
        if !(1..=MAX_BATCH).contains(&batch) {
            return refuse(format!("batch size {batch} is out of range: give 1 to {MAX_BATCH}"));
        }
        let (width, height) = self.size(request);
        check_size(self.unet_config(), self.vae_config(), batch, [width, height], pipeline.vae_tiling)?;
        let downscale = self.vae_config().downscale();
        let latents_shape = [batch, self.vae_config().latent_channels, height / downscale, width / downscale];
        if let Some(latents) = request.latents.as_ref().filter(|latents| latents.shape() != latents_shape) {
            let (got, expected) = (latents.shape(), latents_shape);
            return refuse(format!(
                "the starting latents are {got:?}, expected {expected:?} for {batch} of {width} x {height} pixels"
            ));
        }
        Ok(Plan { sampler, width, height, latents_shape })
    }

    /// Width and height: as asked for, else those of the starting latents, else the model's own.
    fn size(&self, request: &Text2ImageRequest) -> (usize, usize) {
        let default = match &request.latents {
            Some(latents) => {
                let [_, _, h, w] = latents.shape();
                let downscale = self.vae_config().downscale();
                (w.saturating_mul(downscale), h.saturating_mul(downscale))
            }
            None => self.default_size(),
        };
        (request.width.unwrap_or(default.0), request.height.unwrap_or(default.1))
    }
}

/// What pictures' width and height must be a multiple of.
pub(crate) fn size_multiple(unet: &UNetConfig, vae: &VaeConfig) -> usize {
    vae.downscale() * unet.latent_multiple()
}

/// Checks that networks of these sizes can make such pictures, on this machine.
pub(crate) fn check_size(
    unet: &UNetConfig,
    vae: &VaeConfig,
    batch: usize,
    [width, height]: [usize; 2],
    vae_tiling: bool,
) -> Result<()> {
    let multiple = size_multiple(unet, vae);
    check_side("width", width, multiple)?;
    check_side("height", height, multiple)?;
    memory::check(unet, vae, batch, [width, height], vae_tiling)
}

fn check_side(name: &str, side: usize, multiple: usize) -> Result<()> {
    let most = MAX_SIDE / multiple * multiple;
    if side > most {
        return refuse(format!("{name} {side} is too large: give at most {most}"));
    }
    if side > 0 && side.is_multiple_of(multiple) {
        return Ok(());
    }
    let nearest = match side / multiple * multiple {
        0 => multiple.to_string(),
        below => format!("{below} or {}", below + multiple),
    };
    refuse(format!("{name} {side} is not a multiple of {multiple}, which this model needs: give {nearest}"))
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::Request(problem))
}
