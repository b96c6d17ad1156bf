//! The way from a request to pictures.

mod networks;
mod options;
mod run;
mod text;

use std::sync::Mutex;

use calotype_diffusion::{ModelDenoiser, nchw_to_nhwc};
use calotype_models::{ClipTextEncoder, UNet, VaeDecoder, VaeEncoder};
use calotype_tensor::cpu::{Cpu, Param};

pub use options::{PipelineOptions, fastest_precision};
pub use run::{Pictures, Run};
use text::EncodedTexts;

use crate::{
    Guided, Keep, Model, Request, Result,
    adapters::{Active, Key, Library},
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
    /// The files of adapters that are open.
    library: Mutex<Library>,
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
            library: Mutex::default(),
        };
        if all {
            pipeline.text_encoder(&Active::default())?;
            pipeline.unet(&Active::default())?;
            pipeline.vae_decoder()?;
        }
        Ok(pipeline)
    }

    fn text_encoder(&self, adapters: &Active) -> Result<Resident<ClipTextEncoder<Param>>> {
        let load = |backend: &Cpu| adapters.load_text_encoder(self.model, backend);
        self.text_encoder.get(adapters.text_key(), || self.options.backend_beside_the_unet(), load)
    }

    fn unet(&self, adapters: &Active) -> Result<Resident<UNet<Param>>> {
        let load = |backend: &Cpu| adapters.load_unet(self.model, backend);
        let mut unet = self.unet.get(adapters.unet_key(), || self.options.backend(), load)?;
        adapters.set_hypernetworks(&unet.backend, &mut unet.network)?;
        Ok(unet)
    }

    fn vae_encoder(&self) -> Result<Resident<VaeEncoder<Param>>> {
        let load = |backend: &Cpu| self.model.vae.load_encoder(backend);
        self.vae_encoder.get(Key::default(), || self.options.backend_beside_the_unet(), load)
    }

    fn vae_decoder(&self) -> Result<Resident<VaeDecoder<Param>>> {
        let load = |backend: &Cpu| self.model.vae.load_decoder(backend);
        self.vae_decoder.get(Key::default(), || self.options.backend_beside_the_unet(), load)
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
        let (adapters, request) = self.adapters(request, &mut warnings)?;
        let (conditioning, of_text) = self.adapted_conditioning(&request, &adapters)?;
        warnings.extend(of_text);
        let [batch, c, h, w] = plan.latents_shape;
        let mut noise = request.batch_noise(&plan.sampler, [c, h, w], self.model.vae_config().downscale())?;
        let start = match &request.latents {
            Some(latents) => {
                noise = noise.without_start();
                nchw_to_nhwc(latents.data(), plan.latents_shape)?
            }
            None => noise.randn(),
        };
        let Resident { backend, network } = self.unet(&adapters)?;
        reserve_unet(&backend, self.model.unet_config(), [batch, h, w, c])?;
        let (scale, shape) = (request.sampler.guidance_scale(request.guidance_scale), [batch, h, w, c]);
        let predictor = Guided::with_conditioning(backend, network, conditioning, scale, shape)?;
        let denoiser = ModelDenoiser::new(predictor, self.model.prediction_type());
        let steps = plan.sampler.run(denoiser, &start, noise);
        Ok(Run { pipeline: self, plan, steps, latents: start, adapters, warnings })
    }
}
