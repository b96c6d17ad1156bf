//! The way from a request to pictures.

mod networks;
mod options;
mod run;
mod text;

use std::sync::Mutex;

use calotype_diffusion::{ModelDenoiser, nchw_to_nhwc};
use calotype_models::{ClipTextEncoder, UNet, VaeDecoder, VaeEncoder};
use calotype_tensor::{Backend, cpu::Param};

pub use options::{PipelineOptions, fastest_precision};
pub use run::{Pictures, Run};
use text::EncodedTexts;

use crate::{
    Guided, Keep, Model, Request, Result,
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

    /// Starts a run: checks the request, encodes its texts and reads the UNet. Each `next` of the run takes one step.
    ///
    /// # Errors
    /// As [`Model::check`], or a file can't be read.
    pub fn run(&self, request: &Request) -> Result<Run<'_>> {
        let plan = self.model.check(request, self.options)?;
        let mut warnings = Vec::new();
        let (context_shape, context) = self.guided_context(request, &mut warnings)?;
        let [batch, c, h, w] = plan.latents_shape;
        let mut noise = request.batch_noise(&plan.sampler, [c, h, w], self.model.vae_config().downscale())?;
        let start = match &request.latents {
            Some(latents) => {
                noise = noise.without_start();
                nchw_to_nhwc(latents.data(), plan.latents_shape)?
            }
            None => noise.randn(),
        };
        let Resident { backend, network } = self.unet()?;
        reserve_unet(&backend, self.model.unet_config(), [batch, h, w, c])?;
        let context = backend.from_f32(context_shape.into(), context)?;
        let scale = request.sampler.guidance_scale(request.guidance_scale);
        let predictor = Guided::new(backend, network, &context, scale, [batch, h, w, c])?;
        let denoiser = ModelDenoiser::new(predictor, self.model.prediction_type());
        let steps = plan.sampler.run(denoiser, &start, noise);
        Ok(Run { pipeline: self, plan, steps, latents: start, warnings })
    }
}
