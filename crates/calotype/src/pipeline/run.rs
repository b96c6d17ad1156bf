//! A run: one part of the work after the other, from the prompts to the images.

use std::{
    mem,
    sync::{Arc, PoisonError},
};

use calotype_diffusion::{self as diffusion, BatchNoise, Denoiser, Latents, ModelDenoiser, Sampler, Solver};
use calotype_image::RgbImage;
use calotype_models::Component;
use calotype_tensor::CancelToken;

use super::{Event, Image, Output, Pipeline, Stage, decode::ImageDecoder, output::Made, start::Start};
use crate::{
    Error, Plan, Result, Warning,
    adapters::{AdapterMetadata, LoadedAdapters},
    conditioning::PromptInputs,
    error::NotFinite,
    latents::LatentRgb,
    mask_blend::{BlendedDenoiser, MaskBlend, Predicted},
    networks::{EncodeImage, EncodeText, GuidedPass, Lease},
    prepare::Overlay,
    sampling::Conditioning,
    tiles::Windows,
    upscale::{Target, Upscaler},
};

/// A denoiser of any kind, as a run has it.
pub type BoxDenoiser = Box<dyn Denoiser<Error = Error> + Send>;

/// A solver of any kind, as a run has it.
pub type BoxSolver = Box<dyn Solver<Error> + Send>;

/// The steps of one pass.
type Steps = diffusion::Run<'static, BoxDenoiser, BatchNoise>;

/// What a caller may add to a run.
#[derive(Clone, Default)]
pub struct RunOptions {
    /// Cancels the run from another thread.
    pub cancel: CancelToken,
    /// Puts a denoiser of the caller's around the model's, in every pass of the sampler.
    pub wrap_denoiser: Option<Arc<dyn Fn(BoxDenoiser) -> BoxDenoiser + Send + Sync>>,
    /// Takes the steps of every pass by a solver of the caller's, over the noise levels of the request's sampler.
    pub solver: Option<Arc<dyn Fn() -> BoxSolver + Send + Sync>>,
    /// Enlarges pictures between the passes of a request that asks for a network ([`Hires::network`](crate::request::Hires::network)), and
    /// finished ones.
    pub upscaler: Option<Upscaler>,
    /// How large that makes finished images; if not given, they stay as they are.
    pub upscale: Option<Target>,
}

/// A run under way. Each turn of the iterator does a part of the work and gives an [`Event`]; [`Run::finish`] takes the turns
/// that are left. Dropping it ends the run, its hold of the networks and of its memory.
///
/// Cancelled by [`RunOptions::cancel`], it gives [`Error::Cancelled`] within a block of a network, whatever it does.
pub struct Run {
    pipeline: Pipeline,
    plan: Plan,
    options: RunOptions,
    lease: Lease,
    adapters: LoadedAdapters,
    warnings: Vec<Warning>,
    phase: Phase,
    in_second_pass: bool,
    /// Those of the last step.
    latents: Option<Latents>,
    predicted: Predicted,
    blend: Option<MaskBlend>,
    overlay: Option<Overlay>,
    images: Vec<RgbImage>,
}

/// What the next turn does.
enum Phase {
    /// Looks for the prompts among those that were encoded.
    Prompt,
    LoadTextEncoder,
    EncodePrompt(Box<dyn EncodeText>),
    LoadVaeEncoder(Arc<Conditioning>),
    /// Finds what the pass starts from.
    Start(Arc<Conditioning>, Option<Box<dyn EncodeImage>>),
    LoadUNet(Arc<Conditioning>, Box<Start>),
    Denoise(Box<Steps>),
    LoadVaeDecoder,
    Decode(Box<ImageDecoder>),
    Over,
}

impl Phase {
    /// How the log calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::LoadTextEncoder => "load text encoder",
            Self::EncodePrompt(_) => "encode prompt",
            Self::LoadVaeEncoder(_) => "load VAE encoder",
            Self::Start(..) => "start",
            Self::LoadUNet(..) => "load UNet",
            Self::Denoise(_) => "step",
            Self::LoadVaeDecoder => "load VAE decoder",
            Self::Decode(_) => "decode",
            Self::Over => "over",
        }
    }

    /// How a caller is told that it begins.
    fn stage(&self) -> Option<Stage> {
        Some(match self {
            Self::LoadTextEncoder => Stage::Loading(Component::TextEncoder),
            Self::EncodePrompt(_) => Stage::EncodingPrompt,
            Self::LoadVaeEncoder(_) => Stage::Loading(Component::Vae),
            Self::Start(_, Some(_)) => Stage::EncodingImage,
            Self::LoadUNet(..) => Stage::Loading(Component::UNet),
            Self::Denoise(_) => Stage::Denoising,
            Self::LoadVaeDecoder => Stage::Loading(Component::Vae),
            Self::Decode(_) => Stage::Decoding,
            Self::Prompt | Self::Start(_, None) | Self::Over => return None,
        })
    }
}

impl Run {
    pub(super) fn new(pipeline: Pipeline, plan: Plan, options: RunOptions) -> Result<Self> {
        check_network(&plan, options.upscaler.as_ref())?;
        let lease = pipeline.lease(&plan, options.cancel.clone())?;
        let (adapters, mut warnings) = pipeline.adapters(&plan)?;
        warnings.extend(plan.request().unheeded_settings(pipeline.model()));
        // Adapters may have taught it others.
        if adapters.is_empty() {
            warnings.extend(plan.unknown_words(pipeline.model()));
        }
        Ok(Self {
            pipeline,
            plan,
            options,
            lease,
            adapters,
            warnings,
            phase: Phase::Prompt,
            in_second_pass: false,
            latents: None,
            predicted: Predicted::default(),
            blend: None,
            overlay: None,
            images: Vec::new(),
        })
    }

    /// The plan that is carried out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What cancels it.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.lease.cancel.clone()
    }

    /// What the caller should know, as far as it is known.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The adapters in use, as the metadata of the images have them. Hashes their files at the first call for each.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn adapters(&self) -> Result<Vec<AdapterMetadata>> {
        AdapterMetadata::of(&self.adapters)
    }

    /// Small images of where the images are going, one pixel for each latent: the last prediction of the model through a
    /// linear map ([`LatentRgb`]). None before the first step, or if there is no map for the model's latents.
    #[must_use]
    pub fn preview(&self) -> Vec<RgbImage> {
        let predicted = self.predicted.lock().unwrap_or_else(PoisonError::into_inner);
        let map = LatentRgb::of(self.pipeline.model());
        predicted.as_ref().zip(map).map_or_else(Vec::new, |(latents, map)| map.images(latents))
    }

    /// The latents between two steps, to be changed: `x0 + sigma · noise`, `(B, h, w, C)`, of which [`Step::latents`](crate::Step::latents) is a
    /// copy, divided by `sqrt(sigma² + 1)`. After the last step they are the result. `None` while no steps are taken. Their
    /// shape has to stay as it is.
    ///
    /// ```no_run
    /// # use calotype::{Event, Pipeline, Request, Result};
    /// # fn run(pipeline: &Pipeline) -> Result<()> {
    /// let mut run = pipeline.generate(Request::new("a lighthouse at dawn"))?;
    /// while let Some(event) = run.next() {
    ///     if let (Event::Step(step), Some(latents)) = (event?, run.latents_mut()) {
    ///         let most = 4.0 * (step.sigma as f32).hypot(1.0);
    ///         latents.data_mut().iter_mut().for_each(|x| *x = x.clamp(-most, most));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "callback_on_step_end")]
    #[must_use]
    pub fn latents_mut(&mut self) -> Option<&mut Latents> {
        match &mut self.phase {
            Phase::Denoise(steps) => Some(steps.latents_mut()),
            _ => None,
        }
    }

    /// Takes the steps that are left and gives the final latents, as diffusers' `output_type="latent"`.
    ///
    /// # Errors
    /// A step fails, or the latents are no longer finite.
    pub fn finish_latents(mut self) -> Result<Latents> {
        while !matches!(self.phase, Phase::LoadVaeDecoder | Phase::Decode(_) | Phase::Over) {
            if let Some(event) = self.next() {
                event?;
            }
        }
        self.final_latents()
    }

    /// Does the work that is left and gives the images.
    ///
    /// # Errors
    /// As [`Self::finish_latents`], or a file of an adapter can't be read to hash it.
    pub fn finish(mut self) -> Result<Output> {
        for event in &mut self {
            event?;
        }
        let (latents, adapters, cancel) = (self.final_latents()?, self.adapters()?, self.cancel_token());
        let upscaled = self.options.upscaler.as_ref().zip(self.options.upscale);
        let upscaled = upscaled.map(|(upscaler, target)| upscaler.done(target).text());
        let Self { pipeline, plan, images, .. } = self;
        let (model, options) = (Arc::clone(pipeline.model()), pipeline.options());
        let (precision, vae_precision) = (options.precision, options.vae_precision);
        let made = Arc::new(Made { model, plan, precision, vae_precision, adapters, cancel, upscaled });
        let image = |(index, pixels)| Image { pixels, index, made: Arc::clone(&made) };
        Ok(Output { images: images.into_iter().enumerate().map(image).collect(), latents })
    }

    fn final_latents(&self) -> Result<Latents> {
        // A run that ended in an error has none.
        self.latents.clone().ok_or(Error::Unfinished)
    }
}

/// Refuses a request for another network than the one that is given.
fn check_network(plan: &Plan, given: Option<&Upscaler>) -> Result<()> {
    let asked = plan.request().hires.as_ref().and_then(|hires| hires.network.as_deref());
    match asked {
        Some(name) if given.is_none_or(|given| given.name() != name) => {
            let shown = calotype_checkpoint::brief(name);
            let message = format!(
                "the second pass is to be enlarged by the network {shown:?}, which was not given: give it, or a filter"
            );
            Err(Error::UnknownName { kind: "network", name: name.to_owned(), message })
        }
        _ => Ok(()),
    }
}

impl Iterator for Run {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = self.advance().map_err(|error| if error.is_cancelled() { Error::Cancelled } else { error });
        if event.is_err() {
            (self.phase, self.latents) = (Phase::Over, None);
        }
        event.transpose()
    }
}

impl Run {
    /// Does the work of phases until there is something to tell.
    #[tracing::instrument(level = "debug", skip_all, fields(phase = self.phase.name()))]
    fn advance(&mut self) -> Result<Option<Event>> {
        while !matches!(self.phase, Phase::Over) {
            self.lease.cancel.check()?;
            let next = match mem::replace(&mut self.phase, Phase::Over) {
                Phase::Over => break,
                Phase::Prompt => match self.pipeline.encoded(self.prompts(), &self.adapters) {
                    Some((conditioning, warnings)) => self.prompted(conditioning, warnings),
                    None => Phase::LoadTextEncoder,
                },
                Phase::LoadTextEncoder => {
                    Phase::EncodePrompt(self.pipeline.networks().text_encoder(&self.adapters, &mut self.lease)?)
                }
                Phase::EncodePrompt(network) => {
                    let encoded = self.pipeline.encode_prompts(self.prompts(), &self.adapters, &*network)?;
                    self.prompted(encoded.0, encoded.1)
                }
                Phase::LoadVaeEncoder(conditioning) => {
                    Phase::Start(conditioning, Some(self.pipeline.networks().vae_encoder(&mut self.lease)?))
                }
                Phase::Start(conditioning, encoder) => {
                    let start = self.start(encoder.as_deref())?;
                    Phase::LoadUNet(conditioning, Box::new(start))
                }
                Phase::LoadUNet(conditioning, start) => Phase::Denoise(Box::new(self.steps(conditioning, *start)?)),
                Phase::Denoise(mut steps) => {
                    if let Some(step) = steps.next() {
                        let step = self.stepped(step?)?;
                        self.phase = Phase::Denoise(steps);
                        return Ok(Some(Event::Step(step)));
                    }
                    // The caller may have changed the last step's.
                    self.latents = Some(steps.latents());
                    // Its hold of the UNet ends, so that what follows has its memory.
                    drop(steps);
                    self.passed()?
                }
                Phase::LoadVaeDecoder => {
                    let (shape, wrap) = (self.plan.final_shape(), self.plan.request().tiling.wrap());
                    let rounding = self.plan.request().rounding();
                    let decoder = ImageDecoder::new(&self.pipeline, shape, wrap, rounding, &mut self.lease)?;
                    Phase::Decode(Box::new(decoder))
                }
                Phase::Decode(decoder) => return self.decode(decoder).map(Some),
            };
            self.phase = next;
            if let Some(stage) = self.phase.stage() {
                return Ok(Some(Event::Stage(stage)));
            }
        }
        Ok(None)
    }

    /// The prompts of the pass.
    fn prompts(&self) -> &Arc<PromptInputs> {
        match &self.plan.hires {
            Some(hires) if self.in_second_pass => &hires.prompts,
            _ => self.plan.prompts(),
        }
    }

    /// After the prompts: to the encoder of images, if it is needed.
    fn prompted(&mut self, conditioning: Arc<Conditioning>, warnings: Vec<Warning>) -> Phase {
        if !self.in_second_pass {
            self.warnings.extend(warnings);
            if self.plan.request().init.is_some() || self.pipeline.model().is_inpainting() {
                return Phase::LoadVaeEncoder(conditioning);
            }
        }
        Phase::Start(conditioning, None)
    }

    /// What the pass starts from.
    fn start(&mut self, encoder: Option<&dyn EncodeImage>) -> Result<Start> {
        match (&self.plan.hires, &self.latents) {
            (Some(hires), Some(latents)) if self.in_second_pass => {
                let asked = self.plan.request().hires.as_ref().is_some_and(|hires| hires.network.is_some());
                let upscaler = self.options.upscaler.as_ref().filter(|_| asked);
                self.pipeline.enlarge(&self.plan, hires, latents, upscaler, &mut self.lease)
            }
            _ => {
                let mut start = self.pipeline.start(&self.plan, encoder)?;
                (self.overlay, self.blend) = (start.overlay.take(), start.blend.clone());
                Ok(start)
            }
        }
    }

    /// Reads the UNet and begins the steps of a pass.
    fn steps(&mut self, conditioning: Arc<Conditioning>, start: Start) -> Result<Steps> {
        let Self { pipeline, plan, adapters, lease, .. } = self;
        let request = plan.request();
        let (sampler, shape): (&Sampler, _) = match &plan.hires {
            Some(hires) if self.in_second_pass => (&hires.sampler, hires.latents_shape),
            _ => (&plan.sampler, plan.latents_shape),
        };
        let predictor = pipeline.networks().unet(adapters, lease)?.guided(GuidedPass {
            conditioning,
            guidance_scale: request.sampler.guidance_scale(request.guidance_scale),
            shape,
            extra_channels: start.extra_channels.clone(),
            wrap: request.tiling.wrap(),
            windows: request
                .tiles
                .as_ref()
                .map(|tiles| Windows::new(tiles, [shape[1], shape[2]], request.tiling.wrap())),
            arena: plan.need_of(self.in_second_pass).unet.arena,
        })?;
        let inner = ModelDenoiser::new(predictor, pipeline.model().prediction_type());
        let (blend, predicted) = (start.blend.clone(), Arc::clone(&self.predicted));
        let mut denoiser: BoxDenoiser = Box::new(BlendedDenoiser { inner, blend, predicted });
        if let Some(wrap) = &self.options.wrap_denoiser {
            denoiser = wrap(denoiser);
        }
        let mut steps = match &start.init_latents {
            Some(latents) => {
                let noise = start.scaled_noise(sampler, request.extra_noise);
                sampler.run_from(denoiser, latents, &noise, start.noise)?
            }
            None => sampler.run(denoiser, &start.start_noise, start.noise),
        };
        if let Some(solver) = &self.options.solver {
            steps = steps.with_solver(solver());
        }
        self.latents = Some(steps.latents());
        Ok(steps)
    }

    /// A step that was taken, counted over both passes.
    fn stepped(&mut self, mut step: diffusion::Step) -> Result<diffusion::Step> {
        match (self.in_second_pass, &self.plan.hires) {
            (true, _) => {
                step.index += self.plan.sampler.steps();
                step.total += self.plan.sampler.steps();
            }
            (false, Some(hires)) => step.total += hires.sampler.steps(),
            (false, None) => {}
        }
        if !step.latents.is_finite() {
            return Err(Error::NotFinite(NotFinite::Latents));
        }
        self.latents = Some(step.latents.clone());
        Ok(step)
    }

    /// After the steps of a pass: to the second one, or to the decoder.
    fn passed(&mut self) -> Result<Phase> {
        if !self.latents.as_ref().is_some_and(Latents::is_finite) {
            return Err(Error::NotFinite(NotFinite::Latents));
        }
        if self.plan.hires.is_some() && !self.in_second_pass {
            self.in_second_pass = true;
            return Ok(Phase::Prompt);
        }
        if let (Some(blend), Some(latents)) = (&self.blend, &mut self.latents) {
            blend.apply(latents);
        }
        Ok(Phase::LoadVaeDecoder)
    }

    /// Decodes the next image.
    fn decode(&mut self, mut decoder: Box<ImageDecoder>) -> Result<Event> {
        let (index, total) = (self.images.len(), self.plan.final_shape()[0]);
        let latents = self.latents.as_ref().and_then(|latents| latents.images().nth(index)).unwrap_or_default();
        let (mut image, warning) = decoder.decode(&self.pipeline, latents, &self.lease)?;
        let [width, height] = self.plan.final_size().map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        if (width, height) != (image.width(), image.height()) {
            image = image.crop(0, 0, width, height);
        }
        if let Some(overlay) = &self.overlay {
            image = overlay.over(&image)?;
        }
        if let (Some(upscaler), Some(target)) = (&self.options.upscaler, self.options.upscale) {
            image = upscaler.enlarge_to(image, target, &self.lease.cancel)?;
        }
        self.images.push(image);
        self.warnings.extend(warning.filter(|warning| !self.warnings.contains(warning)));
        if index + 1 < total {
            self.phase = Phase::Decode(decoder);
        }
        Ok(Event::Decoded { index, total })
    }
}
