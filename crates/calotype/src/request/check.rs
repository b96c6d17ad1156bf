//! The check of a request against a model.

use calotype_diffusion::{SampleOptions, Sampler, StrengthRule};

use crate::{
    Error, Hires, Init, Model, PipelineOptions, Request, Result, Tiling, Upscaler,
    request::{check_side, check_size, seamless_multiple},
};

/// The most pictures made at once.
pub(super) const MAX_BATCH: usize = 1024;
/// The widest blur of a mask, in pixels.
const MAX_BLUR: f64 = 1000.0;

/// What CompVis' `img2img.py` rounds the sides of a picture down to.
const COMPVIS_MULTIPLE: usize = 32;

/// A request that was checked against a model.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) sampler: Sampler,
    /// Width of the pictures in pixels, before a second pass.
    pub width: usize,
    /// Height of the pictures in pixels, before a second pass.
    pub height: usize,
    /// Latents of the batch, `[B, C, h, w]`, before a second pass.
    pub latents_shape: [usize; 4],
    pub(crate) hires: Option<SecondPass>,
}

/// A second pass that was checked.
#[derive(Clone, Debug)]
pub(crate) struct SecondPass {
    pub(crate) sampler: Sampler,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) latents_shape: [usize; 4],
    pub(crate) upscaler: Upscaler,
}

impl Plan {
    /// Steps of all passes.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.sampler.steps() + self.hires.as_ref().map_or(0, |hires| hires.sampler.steps())
    }

    /// The latents that pictures are decoded from, `[B, C, h, w]`.
    #[must_use]
    pub fn final_shape(&self) -> [usize; 4] {
        self.hires.as_ref().map_or(self.latents_shape, |hires| hires.latents_shape)
    }
}

impl Model {
    /// Checks that a pipeline can meet a request, before weights are read and anything is computed.
    ///
    /// # Errors
    /// A value is out of range, the sampler can't do it, or the size is not one this model can make.
    pub fn check(&self, request: &Request, pipeline: PipelineOptions) -> Result<Plan> {
        let sampler = self.sampler(request, request.num_inference_steps)?;
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
        if request.tiling != Tiling::None && pipeline.vae_tiling {
            return refuse(
                "seamless tiling needs the whole picture decoded at once: leave out the tiled VAE".to_owned(),
            );
        }
        let (width, height) = self.size(request)?;
        let latents_shape = self.check_pass(request, pipeline, [width, height])?;
        if let Some(latents) = request.latents.as_ref().filter(|latents| latents.shape() != latents_shape) {
            let (got, expected) = (latents.shape(), latents_shape);
            return refuse(format!(
                "the starting latents are {got:?}, expected {expected:?} for {batch} of {width} x {height} pixels"
            ));
        }
        let sampler = match &request.init {
            Some(init) => {
                check_init(init)?;
                let rule = if request.is_compvis() { StrengthRule::Compvis } else { StrengthRule::Diffusers };
                sampler.img2img(init.strength, rule)?
            }
            None => sampler,
        };
        let hires = request.hires.as_ref().map(|hires| self.second_pass(request, hires, pipeline)).transpose()?;
        Ok(Plan { sampler, width, height, latents_shape, hires })
    }

    fn sampler(&self, request: &Request, steps: usize) -> Result<Sampler> {
        let options = SampleOptions { steps, eta: request.eta, settings: request.sampler_settings };
        Ok(Sampler::new(request.sampler, request.schedule, self.noise_schedule(), options)?)
    }

    /// Checks the size of a pass, and gives the shape of its latents.
    fn check_pass(&self, request: &Request, pipeline: PipelineOptions, size: [usize; 2]) -> Result<[usize; 4]> {
        let (unet, vae) = (self.unet_config(), self.vae_config());
        let [width, height] = size;
        let encodes = request.init.is_some() || request.hires.is_some() || self.is_inpainting();
        check_size(unet, vae, request.batch_size, size, pipeline, encodes)?;
        let wrap = request.tiling.wrap();
        for (name, side, wraps) in [("width", width, wrap.x), ("height", height, wrap.y)] {
            if wraps {
                check_side(name, side, seamless_multiple(unet, vae), "seamless tiling")?;
            }
        }
        let downscale = vae.downscale();
        request.check_noise(downscale)?;
        Ok([request.batch_size, vae.latent_channels, height / downscale, width / downscale])
    }

    fn second_pass(&self, request: &Request, hires: &Hires, pipeline: PipelineOptions) -> Result<SecondPass> {
        if request.init.is_some() {
            return refuse(
                "a second, larger pass goes with pictures from text only: leave it or the picture out".to_owned(),
            );
        }
        let (width, height) = (hires.width, hires.height);
        let latents_shape = self.check_pass(request, pipeline, [width, height])?;
        let sampler = self.sampler(request, hires.num_inference_steps.unwrap_or(request.num_inference_steps))?;
        let sampler = sampler.img2img(hires.strength, StrengthRule::A1111)?;
        Ok(SecondPass { sampler, width, height, latents_shape, upscaler: hires.upscaler })
    }

    /// Width and height: as asked for, else those of the starting latents or picture, else the model's own.
    fn size(&self, request: &Request) -> Result<(usize, usize)> {
        let downscale = self.vae_config().downscale();
        let up = |side: u64| usize::try_from(side).unwrap_or(usize::MAX).div_ceil(downscale).saturating_mul(downscale);
        let as_compvis = request.is_compvis() && request.init.as_ref().is_some_and(|init| init.inpaint.is_none());
        let multiple = if as_compvis { downscale.max(COMPVIS_MULTIPLE) } else { downscale };
        let whole = |side: u32| (side as usize / multiple).max(1) * multiple;
        let default = match (&request.init, &request.latents) {
            (Some(init), _) => {
                let (width, height) = (init.picture.picture.width(), init.picture.picture.height());
                let Some(sides) = init.outpaint else { return Ok(asked(request, (whole(width), whole(height)))) };
                let [width, height] = sides.around(width, height).map(up);
                if asked(request, (width, height)) != (width, height) {
                    return refuse(format!(
                        "the picture and its new sides have {width} x {height} pixels: leave width and height out"
                    ));
                }
                (width, height)
            }
            (None, Some(latents)) => {
                let [_, _, h, w] = latents.shape();
                (w.saturating_mul(downscale), h.saturating_mul(downscale))
            }
            (None, None) => self.default_size(),
        };
        Ok(asked(request, default))
    }
}

fn asked(request: &Request, default: (usize, usize)) -> (usize, usize) {
    (request.width.unwrap_or(default.0), request.height.unwrap_or(default.1))
}

fn check_init(init: &Init) -> Result<()> {
    if init.outpaint.is_some_and(|sides| sides == Default::default()) {
        return refuse(
            "no side is to grow: give the pixels for at least one of left, right, top and bottom".to_owned(),
        );
    }
    let Some(inpaint) = &init.inpaint else { return Ok(()) };
    let blur = inpaint.mask_blur;
    if !(0.0..=MAX_BLUR).contains(&blur) {
        return refuse(format!("mask blur {blur} is out of range: give 0 to {MAX_BLUR} pixels"));
    }
    if init.outpaint.is_none() && inpaint.mask(&init.picture)?.bounds().is_none() {
        return refuse("the mask is empty, so nothing would change: paint white what is to be made anew".to_owned());
    }
    Ok(())
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::Request(problem))
}
