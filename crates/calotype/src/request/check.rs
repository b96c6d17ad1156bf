//! The check of a request against a model.

use std::{fmt::Display, sync::Arc};

use calotype_checkpoint::MAX_SIDE;
use calotype_diffusion::{SampleOptions, Sampler};
use calotype_image::Interpolation;
use calotype_text::Timeline;

use super::{BatchPlace, check_side};
use crate::{
    Error, Model, PipelineOptions, Request, Result,
    adapters::PromptTags,
    conditioning::PromptInputs,
    memory::{PassNeed, PassSize},
    networks::Networks,
    prepare,
    request::{Hires, Init, ResizeMode, Tiling, Upscaler},
    tiles::Windows,
};

/// The most pictures made at once.
pub(super) const MAX_BATCH: usize = 1024;
/// The widest blur of a mask, in pixels.
const MAX_BLUR: f64 = 1000.0;

/// What CompVis' `img2img.py` rounds the sides of a picture down to.
const COMPVIS_MULTIPLE: usize = 32;

/// A request that was checked against a model, its prompts parsed. Clones share the request.
#[derive(Clone, Debug)]
pub struct Plan {
    request: Arc<Request>,
    place: BatchPlace,
    tags: Arc<PromptTags>,
    prompts: Arc<PromptInputs>,
    pub(crate) sampler: Sampler,
    /// Width of the images in pixels, before a second pass.
    pub width: usize,
    /// Height of the images in pixels, before a second pass.
    pub height: usize,
    /// Latents of the batch, `[B, h, w, C]`, before a second pass. A picture to start from that is no whole number of latents
    /// is worked on with a few more pixels to the right and below, which are cut off again.
    pub latents_shape: [usize; 4],
    pub(crate) hires: Option<SecondPass>,
    pass: PassSize,
    /// What the networks need in each pass, once a pipeline found it.
    need: Vec<PassNeed>,
}

/// A second pass that was checked.
#[derive(Clone, Debug)]
pub(crate) struct SecondPass {
    pub(crate) sampler: Sampler,
    /// Width and height in pixels of the first pass's result enlarged, of which as much is cut off as is too much.
    pub(crate) enlarged: [usize; 2],
    pub(crate) latents_shape: [usize; 4],
    pub(crate) upscaler: Upscaler,
    /// How latents are interpolated; none where pixels are enlarged.
    pub(crate) interpolation: Option<Interpolation>,
    pass: PassSize,
    /// Parsed over the evaluations of this pass.
    pub(crate) prompts: Arc<PromptInputs>,
}

/// A pass that was checked: its size, the shape of its latents, and its prompts.
type CheckedPass = (PassSize, [usize; 4], Arc<PromptInputs>);

impl Plan {
    /// Checks that a pipeline with these options can meet a request, before weights are read and anything is computed. Its
    /// prompts are parsed here, and not again.
    ///
    /// # Errors
    /// A value is out of range, the sampler can't do it, the size is not one this model can make or this machine has memory
    /// for, a prompt can't be parsed, or an image was not read.
    pub fn new(model: &Model, request: impl Into<Arc<Request>>, pipeline: &PipelineOptions) -> Result<Self> {
        let request = request.into();
        let tags = PromptTags::new(&request.prompt)?;
        Check { model, request: &request, tags: &Arc::new(tags), pipeline }.plan()
    }

    /// The same for another batch of the run.
    ///
    /// # Errors
    /// There is no such place for the images of the request.
    pub fn at(self, place: BatchPlace) -> Result<Self> {
        place.check(self.request.batch_size)?;
        Ok(Self { place, ..self })
    }

    /// The request that is met.
    #[must_use]
    pub fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// Which batch of a run it is for.
    #[must_use]
    pub fn place(&self) -> BatchPlace {
        self.place
    }

    /// The adapters that the prompt calls for.
    pub(crate) fn tags(&self) -> &PromptTags {
        &self.tags
    }

    /// The parsed prompts of the first pass.
    pub(crate) fn prompts(&self) -> &Arc<PromptInputs> {
        &self.prompts
    }

    /// Tokens of the prompt, without the tags of adapters; and how many times the text encoder runs for the longest text, on 75 tokens
    /// each time.
    ///
    /// # Errors
    /// A prompt is far too long.
    pub fn prompt_length(&self, model: &Model) -> Result<(usize, usize)> {
        let tokenizer = model.tokenizer();
        let chunks = self.prompts.context_length(tokenizer)? / calotype_text::MAX_LENGTH;
        Ok((tokenizer.encode_raw(&self.tags.prompt).len(), chunks))
    }

    /// Steps of all passes.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.sampler.steps() + self.hires.as_ref().map_or(0, |hires| hires.sampler.steps())
    }

    /// Bytes that the UNet's tensors take in the larger of the passes; 0 before a pipeline planned it.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        let most = self.need.iter().map(|need| need.unet.arena).max().unwrap_or(0);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Finds what the networks need.
    pub(crate) fn find_need(&mut self, networks: &dyn Networks) -> Result<()> {
        let passes = [Some(&self.pass), self.hires.as_ref().map(|hires| &hires.pass)];
        self.need = passes.into_iter().flatten().map(|pass| networks.need(pass)).collect::<Result<_>>()?;
        Ok(())
    }

    /// What the networks need in each pass.
    pub(crate) fn needs(&self) -> &[PassNeed] {
        &self.need
    }

    /// The pass that needs most.
    pub(crate) fn largest_pass(&self) -> PassSize {
        self.hires.as_ref().map_or(self.pass, |hires| hires.pass)
    }

    /// What they need in one of the passes.
    pub(crate) fn need_of(&self, second_pass: bool) -> PassNeed {
        let found = if second_pass { self.need.last() } else { self.need.first() };
        found.copied().unwrap_or_default()
    }

    /// Width and height in pixels of what is worked on in the first pass: the images, or a little more.
    pub(crate) fn canvas(&self) -> [usize; 2] {
        [self.pass.width, self.pass.height]
    }

    /// Width and height of the images in pixels.
    #[must_use]
    pub fn final_size(&self) -> [usize; 2] {
        let second = self.hires.as_ref().map(|hires| [hires.pass.width, hires.pass.height]);
        second.unwrap_or([self.width, self.height])
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
    request: &'a Arc<Request>,
    tags: &'a Arc<PromptTags>,
    pipeline: &'a PipelineOptions,
}

impl Check<'_> {
    fn plan(&self) -> Result<Plan> {
        let Self { model, request, tags, pipeline } = *self;
        let sampler = self.whole()?;
        let scale = request.guidance_scale;
        if !(scale.is_finite() && scale >= 0.0) {
            return out_of_range("guidance_scale", "guidance scale", scale, "a number from 0, such as 7.5");
        }
        let layers = model.text_config().num_hidden_layers;
        if !(1..=layers).contains(&request.clip_skip) {
            let expected = format!("1, for all layers of the text encoder, to {layers}");
            return out_of_range("clip_skip", "clip skip", request.clip_skip, expected);
        }
        let batch = request.batch_size;
        if !(1..=MAX_BATCH).contains(&batch) {
            return out_of_range("batch_size", "batch size", batch, format!("1 to {MAX_BATCH}"));
        }
        if request.tiling != Tiling::None && pipeline.vae_tiling {
            return conflict("seamless tiling needs the whole picture decoded at once: leave out the tiled VAE");
        }
        if let Some(tiles) = &request.tiles {
            tiles.check()?;
        }
        let Size { size: [width, height], canvas } = self.size()?;
        let encoded = match &request.init {
            Some(init) => Some(encoded_size(init, [width, height], canvas)?),
            None => Some(canvas).filter(|_| model.is_inpainting()),
        };
        let (pass, latents_shape, prompts) = self.check_pass(canvas, encoded, request.first_timeline())?;
        if let Some(latents) = request.latents.as_ref().filter(|latents| latents.shape() != latents_shape) {
            let [n, h, w, c] = latents_shape;
            let (got, expected) = (latents.shape_nchw(), [n, c, h, w]);
            let message = format!(
                "the starting latents are {got:?}, expected {expected:?} for {batch} of {width} x {height} pixels"
            );
            return Err(Error::OutOfRange { field: "latents", message });
        }
        if request.latents.as_ref().is_some_and(|latents| !latents.is_finite()) {
            let message = "the starting latents must be finite numbers".to_owned();
            return Err(Error::OutOfRange { field: "latents", message });
        }
        let sampler = match &request.init {
            Some(init) => {
                check_init(init)?;
                let [_, h, w, _] = latents_shape;
                prepare::check_mask(init, [[width, height], canvas, [w, h]], model.is_inpainting())?;
                self.part(sampler, init)?
            }
            None => sampler,
        };
        let hires = request.hires.as_ref();
        let hires = hires.map(|hires| self.second_pass(hires, [width, height])).transpose()?;
        let (request, tags) = (Arc::clone(request), Arc::clone(tags));
        let (place, need) = (BatchPlace::default(), Vec::new());
        Ok(Plan { request, place, tags, prompts, sampler, width, height, latents_shape, hires, pass, need })
    }

    /// What the sampler of a pass is asked for.
    fn options(&self, steps: usize) -> SampleOptions {
        let Self { model, request, .. } = *self;
        SampleOptions {
            steps,
            eta: request.eta,
            settings: request.sampler_settings,
            scheduler: request.effective_scheduler_settings(model),
        }
    }

    /// The sampler of a whole first pass.
    fn whole(&self) -> Result<Sampler> {
        let Self { model, request, .. } = *self;
        let options = self.options(request.num_inference_steps);
        Ok(Sampler::new(request.sampler, request.schedule, model.noise_schedule(), options)?)
    }

    /// The part of a sampler's run that begins with a picture.
    fn part(&self, whole: Sampler, init: &Init) -> Result<Sampler> {
        let Self { model, request, .. } = *self;
        let (kind, schedule) = (request.sampler, request.schedule);
        Ok(match init.strength_rule.rule(schedule) {
            Some(rule) => whole.img2img(init.strength, rule)?,
            None => {
                let options = self.options(request.num_inference_steps);
                Sampler::exact_img2img(kind, schedule, model.noise_schedule(), options, init.strength)?
            }
        })
    }

    /// Checks the size and parses the prompts of a pass.
    fn check_pass(
        &self,
        [width, height]: [usize; 2],
        encoded: Option<[usize; 2]>,
        timeline: Timeline,
    ) -> Result<CheckedPass> {
        let Self { model, request, tags, .. } = *self;
        let downscale = model.vae_config().downscale();
        let prompts = PromptInputs::parse(&tags.prompt, request, timeline)?;
        let context_length = prompts.context_length(model.tokenizer())?;
        let wrap = request.tiling.wrap();
        for (name, side, wraps) in [("width", width, wrap.x), ("height", height, wrap.y)] {
            match wraps {
                true => check_side(name, side, model.seamless_multiple(), "seamless tiling")?,
                false => check_side(name, side, downscale, "this model")?,
            }
        }
        request.check_noise(downscale)?;
        let channels = model.vae_config().latent_channels;
        let [batch, h, w] = [request.batch_size, height / downscale, width / downscale];
        let windows = request.tiles.as_ref().map(|tiles| Windows::new(tiles, [h, w], wrap).largest(batch));
        let pass = PassSize { batch, width, height, context_length, encoded, windows };
        Ok((pass, [batch, h, w, channels], Arc::new(prompts)))
    }

    /// Checks the second pass after a first one of this size.
    fn second_pass(&self, hires: &Hires, first: [usize; 2]) -> Result<SecondPass> {
        let Self { model, request, .. } = *self;
        if request.init.is_some() {
            return conflict("a second, larger pass goes with pictures from text only: leave it or the picture out");
        }
        let multiple = model.vae_config().downscale();
        let size = hires.size(first, multiple);
        let enlarged = covering(first, size, multiple);
        let [wide, high] = enlarged;
        if wide > MAX_SIDE || high > MAX_SIDE {
            let [width, height] = size;
            let message = format!(
                "to cover {width} x {height} the first pass is enlarged to {wide} x {high} pixels: ask for a shape more like its own"
            );
            return Err(Error::OutOfRange { field: "hires", message });
        }
        let interpolation = hires.interpolation();
        let encoded = match interpolation {
            None => Some(enlarged),
            Some(_) => Some(size).filter(|_| model.is_inpainting()),
        };
        let (pass, latents_shape, prompts) = self.check_pass(size, encoded, request.second_timeline())?;
        let options = self.options(hires.num_inference_steps.unwrap_or(request.num_inference_steps));
        let (kind, schedule) = (request.sampler, request.schedule);
        let sampler = Sampler::exact_img2img(kind, schedule, model.noise_schedule(), options, hires.strength)?;
        Ok(SecondPass { sampler, enlarged, latents_shape, pass, upscaler: hires.upscaler, interpolation, prompts })
    }

    /// Width and height: as asked for, else those of the starting latents or picture, else the model's own.
    fn size(&self) -> Result<Size> {
        let Self { model, request, .. } = *self;
        let downscale = model.vae_config().downscale();
        let init = match (&request.init, &request.latents) {
            (Some(init), _) => init,
            (None, Some(latents)) => {
                let [_, h, w, _] = latents.shape();
                let size = [w.saturating_mul(downscale), h.saturating_mul(downscale)];
                return Ok(Size::of(asked(request, size)));
            }
            (None, None) => return Ok(Size::of(asked(request, model.default_size().into()))),
        };
        let own = init.size()?;
        let up = own.map(|side| side.div_ceil(downscale).saturating_mul(downscale));
        let as_compvis = request.is_compvis() && init.inpaint.is_none() && init.outpaint.is_none();
        if !as_compvis && !init.is_of_part() && asked(request, own) == own {
            // At an edge that goes on at the other one there is no place for more pixels.
            let wrap = request.tiling.wrap();
            let side = |n: usize, wraps: bool| if wraps { own[n] } else { up[n] };
            return Ok(Size { size: own, canvas: [side(0, wrap.x), side(1, wrap.y)] });
        }
        if init.outpaint.is_some() {
            // With the sides that are more by up to a latent it was made by versions before 0.2.
            if asked(request, up) == up {
                return Ok(Size::of(up));
            }
            let [width, height] = own;
            return conflict(&format!(
                "the picture and its new sides have {width} x {height} pixels: leave width and height out"
            ));
        }
        let multiple = if as_compvis { downscale.max(COMPVIS_MULTIPLE) } else { downscale };
        Ok(Size::of(asked(request, own.map(|side| (side / multiple).max(1) * multiple))))
    }
}

/// Width and height in pixels.
struct Size {
    /// Of the images.
    size: [usize; 2],
    /// Of what is worked on.
    canvas: [usize; 2],
}

impl Size {
    fn of(size: [usize; 2]) -> Self {
        Self { size, canvas: size }
    }
}

/// Width and height of what is encoded of a picture to start from.
fn encoded_size(init: &Init, size: [usize; 2], canvas: [usize; 2]) -> Result<[usize; 2]> {
    Ok(match (init.resize_mode, init.masking()) {
        (ResizeMode::Latent, None) if init.size()? != size => init.size()?,
        _ => canvas,
    })
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

fn asked(request: &Request, [width, height]: [usize; 2]) -> [usize; 2] {
    [request.width.unwrap_or(width), request.height.unwrap_or(height)]
}

fn check_init(init: &Init) -> Result<()> {
    if init.outpaint.is_some_and(|sides| sides == Default::default()) {
        let message = "no side is to grow: give the pixels for at least one of left, right, top and bottom".to_owned();
        return Err(Error::OutOfRange { field: "outpaint", message });
    }
    let Some(inpaint) = &init.inpaint else { return Ok(()) };
    let blur = inpaint.mask_blur;
    if !(0.0..=MAX_BLUR).contains(&blur) {
        return out_of_range("mask_blur", "mask blur", blur, format!("0 to {MAX_BLUR} pixels"));
    }
    let strength = inpaint.conditioning_mask_strength;
    if !(0.0..=1.0).contains(&strength) {
        return out_of_range("conditioning_mask_strength", "conditioning mask strength", strength, "0 to 1");
    }
    Ok(())
}

fn out_of_range<T>(field: &'static str, name: &str, value: impl Display, expected: impl Display) -> Result<T> {
    Err(Error::out_of_range(field, name, value, expected))
}

fn conflict<T>(problem: &str) -> Result<T> {
    Err(Error::Conflict(problem.to_owned()))
}
