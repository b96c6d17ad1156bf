//! The check of a request against a model.

use calotype_checkpoint::MAX_SIDE;
use calotype_diffusion::{SampleOptions, Sampler};
use calotype_text::Timeline;

use crate::{
    Error, Hires, Init, Model, PipelineOptions, Request, ResizeMode, Result, Tiling, Upscaler,
    conditioning::Reading,
    memory::PassSize,
    request::{check_side, check_size},
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
    /// Latents of the batch, `[B, h, w, C]`, before a second pass.
    pub latents_shape: [usize; 4],
    /// What the UNet takes of memory for its tensors, in bytes.
    pub(crate) arena: usize,
    pub(crate) hires: Option<SecondPass>,
}

/// A second pass that was checked.
#[derive(Clone, Debug)]
pub(crate) struct SecondPass {
    pub(crate) sampler: Sampler,
    /// Width and height in pixels of the first pass's result enlarged, of which as much is cut off as is too much.
    pub(crate) enlarged: [usize; 2],
    pub(crate) latents_shape: [usize; 4],
    pub(crate) arena: usize,
    pub(crate) upscaler: Upscaler,
}

impl Plan {
    /// Checks that a pipeline with these options can meet a request, before weights are read and anything is computed.
    ///
    /// # Errors
    /// A value is out of range, the sampler can't do it, the size is not one this model can make or this machine has memory
    /// for, or a prompt can't be read.
    pub fn new(model: &Model, request: &Request, pipeline: PipelineOptions) -> Result<Self> {
        Check { model, request, pipeline }.plan()
    }

    /// Steps of all passes.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.sampler.steps() + self.hires.as_ref().map_or(0, |hires| hires.sampler.steps())
    }

    /// What the UNet takes of memory for its tensors in the larger of the passes, in bytes.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.hires.as_ref().map_or(0, |hires| hires.arena).max(self.arena)
    }

    /// The latents that pictures are decoded from, `[B, h, w, C]`.
    #[must_use]
    pub fn final_shape(&self) -> [usize; 4] {
        self.hires.as_ref().map_or(self.latents_shape, |hires| hires.latents_shape)
    }
}

/// A request that is being checked.
struct Check<'a> {
    model: &'a Model,
    request: &'a Request,
    pipeline: PipelineOptions,
}

impl Check<'_> {
    fn plan(&self) -> Result<Plan> {
        let Self { model, request, pipeline } = *self;
        let sampler = self.whole()?;
        let scale = request.guidance_scale;
        if !(scale.is_finite() && scale >= 0.0) {
            return refuse(format!("guidance scale {scale} is out of range: give a number from 0, such as 7.5"));
        }
        let layers = model.text_config().num_hidden_layers;
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
        let (width, height) = self.size()?;
        let size = [width, height];
        let encoded = match &request.init {
            Some(init) => Some(encoded_size(init, size)),
            None => Some(size).filter(|_| model.is_inpainting()),
        };
        let (latents_shape, arena) = self.check_pass(size, encoded, request.first_timeline())?;
        if let Some(latents) = request.latents.as_ref().filter(|latents| latents.shape() != latents_shape) {
            let [n, h, w, c] = latents_shape;
            let (got, expected) = (latents.shape_nchw(), [n, c, h, w]);
            return refuse(format!(
                "the starting latents are {got:?}, expected {expected:?} for {batch} of {width} x {height} pixels"
            ));
        }
        let sampler = match &request.init {
            Some(init) => {
                check_init(init)?;
                self.part(sampler, init)?
            }
            None => sampler,
        };
        let hires = request.hires.as_ref();
        let hires = hires.map(|hires| self.second_pass(hires, [width, height])).transpose()?;
        Ok(Plan { sampler, width, height, latents_shape, arena, hires })
    }

    /// The sampler of a whole first pass.
    fn whole(&self) -> Result<Sampler> {
        let Self { model, request, .. } = *self;
        let options = options(request, request.num_inference_steps);
        Ok(Sampler::new(request.sampler, request.schedule, model.noise_schedule(), options)?)
    }

    /// The part of a sampler's run that begins with a picture.
    fn part(&self, whole: Sampler, init: &Init) -> Result<Sampler> {
        let Self { model, request, .. } = *self;
        let (kind, schedule) = (request.sampler, request.schedule);
        Ok(match init.strength_rule.rule(schedule) {
            Some(rule) => whole.img2img(init.strength, rule)?,
            None => {
                let options = options(request, request.num_inference_steps);
                Sampler::exact_img2img(kind, schedule, model.noise_schedule(), options, init.strength)?
            }
        })
    }

    /// Checks the size and the texts of a pass. Gives the shape of its latents and the arena that its UNet takes.
    fn check_pass(
        &self,
        [width, height]: [usize; 2],
        encoded: Option<[usize; 2]>,
        timeline: Timeline,
    ) -> Result<([usize; 4], usize)> {
        let Self { model, request, pipeline } = *self;
        let (unet, vae) = (model.unet_config(), model.vae_config());
        let context_length = Reading::new(request, timeline).length(model.tokenizer())?;
        let pass = PassSize { batch: request.batch_size, width, height, context_length, encoded };
        let arena = check_size(unet, vae, &pass, pipeline)?;
        let wrap = request.tiling.wrap();
        for (name, side, wraps) in [("width", width, wrap.x), ("height", height, wrap.y)] {
            if wraps {
                check_side(name, side, model.seamless_multiple(), "seamless tiling")?;
            }
        }
        let downscale = vae.downscale();
        request.check_noise(downscale)?;
        Ok(([request.batch_size, height / downscale, width / downscale, vae.latent_channels], arena))
    }

    /// Checks the second pass after a first one of this size.
    fn second_pass(&self, hires: &Hires, first: [usize; 2]) -> Result<SecondPass> {
        let Self { model, request, .. } = *self;
        if request.init.is_some() {
            return refuse(
                "a second, larger pass goes with pictures from text only: leave it or the picture out".to_owned(),
            );
        }
        let multiple = model.vae_config().downscale();
        let size = hires.size(first, multiple);
        let enlarged = covering(first, size, multiple);
        let [wide, high] = enlarged;
        if wide > MAX_SIDE || high > MAX_SIDE {
            let [width, height] = size;
            return refuse(format!(
                "to cover {width} x {height} the first pass is enlarged to {wide} x {high} pixels: ask for a shape more like its own"
            ));
        }
        let encoded = match hires.upscaler.interpolation() {
            None => Some(enlarged),
            Some(_) => Some(size).filter(|_| model.is_inpainting()),
        };
        let (latents_shape, arena) = self.check_pass(size, encoded, request.second_timeline())?;
        let options = options(request, hires.num_inference_steps.unwrap_or(request.num_inference_steps));
        let (kind, schedule) = (request.sampler, request.schedule);
        let sampler = Sampler::exact_img2img(kind, schedule, model.noise_schedule(), options, hires.strength)?;
        Ok(SecondPass { sampler, enlarged, latents_shape, arena, upscaler: hires.upscaler })
    }

    /// Width and height: as asked for, else those of the starting latents or picture, else the model's own.
    fn size(&self) -> Result<(usize, usize)> {
        let Self { model, request, .. } = *self;
        let downscale = model.vae_config().downscale();
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
                let [_, h, w, _] = latents.shape();
                (w.saturating_mul(downscale), h.saturating_mul(downscale))
            }
            (None, None) => model.default_size(),
        };
        Ok(asked(request, default))
    }
}

/// Width and height of what is encoded of a picture to start from.
fn encoded_size(init: &Init, size: [usize; 2]) -> [usize; 2] {
    match (init.resize_mode, &init.inpaint) {
        (ResizeMode::Latent, None) => {
            let picture = &init.picture.picture;
            [picture.width(), picture.height()].map(|side| side as usize)
        }
        _ => size,
    }
}

fn options(request: &Request, steps: usize) -> SampleOptions {
    SampleOptions { steps, eta: request.eta, settings: request.sampler_settings }
}

/// The size of a picture of size `from` enlarged in proportion until it covers `to`, in whole multiples; A1111's
/// `calculate_target_resolution`.
fn covering([from_width, from_height]: [usize; 2], [width, height]: [usize; 2], multiple: usize) -> [usize; 2] {
    let in_proportion = |side: usize, of: usize, to: usize| side.saturating_mul(to) / of.max(1);
    let whole = |side: usize, least: usize| (side / multiple * multiple).max(least);
    match (from_width.saturating_mul(height)).cmp(&width.saturating_mul(from_height)) {
        std::cmp::Ordering::Less => [width, whole(in_proportion(width, from_width, from_height), height)],
        std::cmp::Ordering::Equal => [width, height],
        std::cmp::Ordering::Greater => [whole(in_proportion(height, from_height, from_width), width), height],
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
    let strength = inpaint.conditioning_mask_strength;
    if !(0.0..=1.0).contains(&strength) {
        return refuse(format!("conditioning mask strength {strength} is out of range: give 0 to 1"));
    }
    if init.outpaint.is_none() && inpaint.mask(&init.picture)?.bounds().is_none() {
        return refuse("the mask is empty, so nothing would change: paint white what is to be made anew".to_owned());
    }
    Ok(())
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(Error::Request(problem))
}
