//! The way from a request to pictures.

mod networks;
mod options;
mod run;
mod start;
mod text;

use std::sync::{Arc, Mutex};

use calotype_diffusion::{BatchNoise, ModelDenoiser, Sampler};
use calotype_models::{ClipTextEncoder, UNet, VaeDecoder, VaeEncoder};
use calotype_tensor::cpu::{Cpu, Param};

pub(crate) use options::auxiliary_precision;
pub use options::{PipelineOptions, fastest_precision};
use run::Steps;
pub use run::{Pictures, Run};
use start::Start;
use text::EncodedTexts;

use crate::{
    Conditioning, Guided, Keep, Model, Plan, Request, Result,
    adapters::{Active, Key, Library},
    masked::Masked,
    resident::{Resident, Slot},
};

/// What a pass of the sampler is made with, besides its latents.
struct Pass<'a> {
    request: &'a Request,
    adapters: &'a Active,
    conditioning: Arc<Conditioning>,
}

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
        self.text_encoder.get(adapters.text_key(), || self.options.auxiliary_backend(), load)
    }

    fn unet(&self, adapters: &Active) -> Result<Resident<UNet<Param>>> {
        let load = |backend: &Cpu| adapters.load_unet(self.model, backend);
        let mut unet = self.unet.get(adapters.unet_key(), || self.options.backend(), load)?;
        adapters.set_hypernetworks(&unet.backend, &mut unet.network)?;
        Ok(unet)
    }

    fn vae_encoder(&self) -> Result<Resident<VaeEncoder<Param>>> {
        let load = |backend: &Cpu| Ok(self.model.vae().load_encoder(backend)?);
        self.vae_encoder.get(Key::default(), || self.options.auxiliary_backend(), load)
    }

    fn vae_decoder(&self) -> Result<Resident<VaeDecoder<Param>>> {
        let load = |backend: &Cpu| Ok(self.model.vae().load_decoder(backend)?);
        self.vae_decoder.get(Key::default(), || self.options.auxiliary_backend(), load)
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
    /// As [`Plan::new`], or a file can't be read.
    pub fn run(&self, request: &Request) -> Result<Run<'_>> {
        let plan = Plan::new(self.model, request, self.options)?;
        let mut warnings = Vec::new();
        let (adapters, request) = self.adapters(request, &mut warnings)?;
        let (conditioning, of_text) = self.adapted_conditioning(&request, &adapters, request.first_timeline())?;
        warnings.extend(of_text);
        let (mut start, noise) = self.start(&request, &plan)?;
        let (overlay, kept) = (start.overlay.take(), start.kept.clone());
        let pass = Pass { request: &request, adapters: &adapters, conditioning };
        let steps = self.pass(pass, (&plan.sampler, plan.latents_shape, plan.arena), start, noise)?;
        let latents = steps.latents();
        Ok(Run {
            pipeline: self,
            request,
            plan,
            steps: Some(steps),
            in_second_pass: false,
            latents,
            kept,
            overlay,
            adapters,
            warnings,
        })
    }

    /// One pass of a sampler on latents of a shape, the UNet's arena so large.
    fn pass(
        &self,
        Pass { request, adapters, conditioning }: Pass<'_>,
        (sampler, shape, arena): (&Sampler, [usize; 4], usize),
        start: Start,
        noise: BatchNoise,
    ) -> Result<Steps<'_>> {
        let Resident { backend, mut network } = self.unet(adapters)?;
        network.set_wrap(request.tiling.wrap());
        backend.reserve(arena);
        let scale = request.sampler.guidance_scale(request.guidance_scale);
        let mut predictor = Guided::with_conditioning(backend, network, conditioning, scale, shape)?;
        if let Some(beside) = start.beside {
            predictor = predictor.beside(beside, 1 + shape[3])?;
        }
        let inner = ModelDenoiser::new(predictor, self.model.prediction_type());
        let denoiser = Masked { inner, kept: start.kept };
        Ok(match &start.picture {
            Some(picture) => {
                // A1111's "Extra noise": `extra · noise` beside `sigma · noise`.
                let sigma = sampler.noised_level().sigma;
                let factor = start.noise_multiplier * (1.0 + request.noise.extra / sigma);
                let scaled = start.noise.map(|x| (f64::from(x) * factor) as f32);
                sampler.run_from(denoiser, picture, &scaled, noise)?
            }
            None => sampler.run(denoiser, &start.noise, noise),
        })
    }
}
