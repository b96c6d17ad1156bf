//! The check of a request against a model.

use calotype_diffusion::{SampleOptions, Sampler};

use crate::{Error, Model, PipelineOptions, Request, Result, request::check_size};

/// The most pictures made at once.
const MAX_BATCH: usize = 1024;

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

impl Plan {
    /// How many steps the sampler takes: some take more than were asked for.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.sampler.steps()
    }
}

impl Model {
    /// Checks that a pipeline can meet a request, before weights are read and anything is computed.
    ///
    /// # Errors
    /// A value is out of range, the sampler can't do it, or the size is not one this model can make.
    pub fn check(&self, request: &Request, pipeline: PipelineOptions) -> Result<Plan> {
        if self.is_inpainting() {
            return refuse("this is an inpainting model, whose UNet also takes a mask: give another model".to_owned());
        }
        let (steps, settings) = (request.num_inference_steps, request.sampler_settings);
        let options = SampleOptions { steps, eta: request.eta, settings };
        let sampler = Sampler::new(request.sampler, request.schedule, self.noise_schedule(), options)?;
        let scale = request.guidance_scale;
        if !(scale.is_finite() && scale >= 0.0) {
            return refuse(format!("guidance scale {scale} is out of range: give a number from 0, such as 7.5"));
        }
        let layers = self.text_config().num_hidden_layers;
        if !(1..=layers).contains(&request.clip_skip) {
            let skip = request.clip_skip;
            return refuse(format!(
                "clip skip {skip} is out of range: give 1, for all layers of the text encoder, to {layers}"
            ));
        }
        let batch = request.batch_size;
        if !(1..=MAX_BATCH).contains(&batch) {
            return refuse(format!("batch size {batch} is out of range: give 1 to {MAX_BATCH}"));
        }
        let (width, height) = self.size(request);
        check_size(self.unet_config(), self.vae_config(), batch, [width, height], pipeline)?;
        let downscale = self.vae_config().downscale();
        request.check_noise(downscale)?;
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
    fn size(&self, request: &Request) -> (usize, usize) {
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

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::Request(problem))
}
