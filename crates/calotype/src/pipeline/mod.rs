//! The way from a request to pictures.

mod networks;
mod options;
mod run;
mod start;
mod text;

use std::sync::Mutex;

use calotype_diffusion::{BatchNoise, ModelDenoiser, Sampler};
use calotype_models::{ClipTextEncoder, UNet, VaeDecoder, VaeEncoder};
use calotype_tensor::{Backend, cpu::Param};

pub use options::{PipelineOptions, fastest_precision};
use run::Steps;
pub use run::{Pictures, Run};
use start::Start;
use text::{Context, EncodedTexts};

use crate::{
    Guided, Keep, Model, Request, Result,
    masked::Masked,
    memory::reserve_unet,
    resident::{Resident, Slot},
};

/// A model, and those of its networks that are in memory.
pub struct Pipeline<'a> {
    model: &'a Model,
    options: PipelineOptions,
    text_encoder: Slot<ClipTextEncoder<Param>>,
    unet: Slot<UNet<Param>>,
    vae_encoder: Slot<VaeEncoder<Param>>,
    vae_decoder: Slot<VaeDecoder<Param>>,
    /// The last texts that were encoded.
    encoded: Mutex<Option<EncodedTexts>>,
}

impl<'a> Pipeline<'a> {
    /// Makes a pipeline. With [`Keep::All`] it reads the weights now, without a network is read when it is first needed.
    ///
    /// # Errors
    /// A file can't be read, or threads can't be started.
    pub fn load(model: &'a Model, options: PipelineOptions) -> Result<Self> {
        let all = options.keep == Keep::All;
        let pipeline = Self {
            model,
            options,
            text_encoder: Slot::new(all),
            unet: Slot::new(options.keep != Keep::Nothing),
            vae_encoder: Slot::new(all),
            vae_decoder: Slot::new(all),
            encoded: Mutex::new(None),
        };
        if all {
            pipeline.text_encoder()?;
            pipeline.unet()?;
            pipeline.vae_decoder()?;
        }
        Ok(pipeline)
    }

    fn text_encoder(&self) -> Result<Resident<ClipTextEncoder<Param>>> {
        self.text_encoder
            .get(|| self.options.backend_beside_the_unet(), |backend| self.model.text_encoder.load(backend))
    }

    fn unet(&self) -> Result<Resident<UNet<Param>>> {
        self.unet.get(|| self.options.backend(), |backend| self.model.unet.load(backend))
    }

    fn vae_encoder(&self) -> Result<Resident<VaeEncoder<Param>>> {
        self.vae_encoder.get(|| self.options.backend_beside_the_unet(), |backend| self.model.vae.load_encoder(backend))
    }

    fn vae_decoder(&self) -> Result<Resident<VaeDecoder<Param>>> {
        self.vae_decoder.get(|| self.options.backend_beside_the_unet(), |backend| self.model.vae.load_decoder(backend))
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// Starts a run: checks the request, encodes its texts and pictures and reads the UNet. Each `next` of the run takes
    /// one step.
    ///
    /// # Errors
    /// As [`Model::check`], or a file can't be read.
    pub fn run(&self, request: &Request) -> Result<Run<'_>> {
        let plan = self.model.check(request, self.options)?;
        let mut warnings = Vec::new();
        let context = self.guided_context(request, &mut warnings)?;
        let (mut start, noise) = self.start(request, &plan)?;
        let (overlay, kept) = (start.overlay.take(), start.kept.clone());
        let latents = start.noise.clone();
        let steps = self.pass(request, &context, plan.latents_shape, &plan.sampler, start, noise)?;
        let request = request.clone();
        let steps = Some(steps);
        Ok(Run {
            pipeline: self,
            request,
            plan,
            context,
            steps,
            in_second_pass: false,
            latents,
            kept,
            overlay,
            warnings,
        })
    }

    /// One pass of the sampler.
    fn pass(
        &self,
        request: &Request,
        context: &Context,
        [batch, c, h, w]: [usize; 4],
        sampler: &Sampler,
        start: Start,
        noise: BatchNoise,
    ) -> Result<Steps<'_>> {
        let Resident { backend, mut network } = self.unet()?;
        network.set_wrap(request.tiling.wrap());
        reserve_unet(&backend, self.model.unet_config(), [batch, h, w])?;
        let context = backend.from_f32(context.shape.into(), context.data.clone())?;
        let mut predictor = Guided::new(backend, network, &context, request.guidance_scale, [batch, h, w, c])?;
        if let Some(beside) = start.beside {
            predictor = predictor.beside(beside, 1 + c)?;
        }
        let inner = ModelDenoiser::new(predictor, self.model.prediction_type());
        let denoiser = Masked { inner, kept: start.kept };
        Ok(match &start.picture {
            Some(picture) => sampler.run_from(denoiser, picture, &start.noise, noise)?,
            None => sampler.run(denoiser, &start.noise, noise),
        })
    }
}
