//! The way from a text to pictures.

use std::sync::{Mutex, PoisonError};

use calotype_diffusion::{self as diffusion, BatchNoise, ModelDenoiser, nchw_to_nhwc, nhwc_to_nchw};
use calotype_image::RgbImage;
use calotype_models::{ClipTextEncoder, UNet, VaeDecoder, VaeEncoder, posterior};
use calotype_tensor::{
    Backend, Precision,
    cpu::{Convolution, Cpu, CpuOptions, Param, Tensor},
    infer,
};

use crate::{
    Error, Guided, Keep, Latents, Model, Plan, Result, Step, Text2ImageRequest, Warning, guides,
    resident::{Resident, Slot},
};

/// How to compute.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineOptions {
    /// Threads; 0 for one on each core. Results do not depend on it.
    pub threads: usize,
    /// The number types.
    pub precision: Precision,
    /// How 3×3 convolutions with stride 1 are computed.
    pub convolution: Convolution,
    /// What stays in memory.
    pub keep: Keep,
    /// Decode in bands of rows: half of the memory, for large pictures. The values are those of the whole decoded at
    /// once, up to rounding.
    pub vae_tiling: bool,
}

impl PipelineOptions {
    /// What the UNet computes on.
    pub(crate) fn backend(self) -> Result<Cpu> {
        let Self { threads, precision, convolution, .. } = self;
        Ok(Cpu::with_options(CpuOptions { threads, precision, convolution, ..CpuOptions::default() })?)
    }

    /// What the other networks compute on.
    fn backend_beside_the_unet(self) -> Result<Cpu> {
        Self { precision: self.precision.beside_the_unet(), ..self }.backend()
    }
}

/// The fastest number type on this processor that changes pictures no more than rounding does.
///
/// # Errors
/// The environment asks for an instruction set that this processor lacks.
pub fn fastest_precision() -> Result<Precision> {
    Ok(Cpu::fastest_precision()?)
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
}

/// Texts, and what [`Pipeline::encode_text`] makes of them.
struct EncodedTexts {
    texts: Vec<String>,
    context: Vec<f32>,
    cut: Vec<Option<String>>,
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
    pub fn txt2img(&self, request: &Text2ImageRequest) -> Result<Run<'_>> {
        let plan = self.model.check(request, self.options)?;
        let mut warnings = Vec::new();
        let (context_shape, context) = self.guided_context(request, &mut warnings)?;
        let [batch, c, h, w] = plan.latents_shape;
        let mut noise = BatchNoise::new(request.seed, batch, [c, h, w]);
        let start = match &request.latents {
            Some(latents) => nchw_to_nhwc(latents.data(), plan.latents_shape)?,
            None => noise.randn(),
        };
        let Resident { backend, network } = self.unet()?;
        let context = backend.from_f32(context_shape.into(), context)?;
        let predictor = Guided::new(backend, network, &context, request.guidance_scale, [batch, h, w, c])?;
        let denoiser = ModelDenoiser::new(predictor, self.model.prediction_type());
        let steps = plan.sampler.run(denoiser, &start, noise);
        Ok(Run { pipeline: self, plan, steps, latents: start, warnings })
    }

    /// The output of the text encoder for texts, `(B, 77, hidden_size)` row-major, and what was cut from each. That of
    /// the last texts is remembered.
    ///
    /// # Errors
    /// The text encoder fails.
    pub fn encode_text(&self, texts: &[&str]) -> Result<(Vec<f32>, Vec<Option<String>>)> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = encoded.as_ref().filter(|last| last.texts == texts) {
            return Ok((last.context.clone(), last.cut.clone()));
        }
        let Resident { backend, network } = self.text_encoder()?;
        let encodings: Vec<_> = texts.iter().map(|text| self.model.tokenizer().encode(text)).collect();
        let ids: Vec<u32> = encodings.iter().flat_map(|encoding| &encoding.ids).copied().collect();
        let context = backend.to_f32(&network.forward(&backend, &ids, texts.len())?);
        let cut: Vec<_> = encodings.into_iter().map(|encoding| encoding.truncated_text).collect();
        let texts = texts.iter().map(ToString::to_string).collect();
        *encoded = Some(EncodedTexts { texts, context: context.clone(), cut: cut.clone() });
        Ok((context, cut))
    }

    /// The context of every picture of the batch, `[B, 77, hidden_size]` and the numbers: with guidance the negative
    /// prompt's for all, then the prompt's.
    fn guided_context(
        &self,
        request: &Text2ImageRequest,
        warnings: &mut Vec<Warning>,
    ) -> Result<([usize; 3], Vec<f32>)> {
        let mut texts = vec![("prompt", request.prompt.as_str())];
        if guides(request.guidance_scale) {
            texts.insert(0, ("negative prompt", request.negative_prompt.as_str()));
        }
        let (context, cut) = self.encode_text(&texts.iter().map(|(_, text)| *text).collect::<Vec<_>>())?;
        for (&(field, _), cut) in texts.iter().zip(cut) {
            warnings.extend(cut.map(|text| Warning::Truncated { field, text }));
        }
        let (batch, width) = (request.batch_size, self.model.text_config().hidden_size);
        let length = context.len() / (texts.len() * width).max(1);
        let rows = context.chunks_exact((length * width).max(1)).flat_map(|row| row.repeat(batch)).collect();
        Ok(([texts.len() * batch, length, width], rows))
    }

    /// The UNet's prediction for latents `(B, C, h, w)` at one timestep, each with its context `(77, hidden_size)`.
    ///
    /// # Errors
    /// The shapes don't fit the model.
    pub fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents> {
        let Resident { backend, network } = self.unet()?;
        let batch = latents.shape()[0];
        let width = self.model.text_config().hidden_size;
        let length = context.len() / (batch * width).max(1);
        let context = backend.from_f32([batch, length, width].into(), context.to_vec())?;
        let time = network.time_embedding(&backend, &vec![timestep as f32; batch])?;
        let context = network.prepare(&backend, &context)?;
        let x = upload(&backend, latents.data(), latents.shape())?;
        download(&backend, &network.forward(&backend, &x, &time, &context)?)
    }

    /// Final latents to pictures, one after the other to bound memory: divided by the scaling factor and decoded.
    ///
    /// # Errors
    /// The latents have other channels than the VAE.
    pub fn decode(&self, latents: &Latents) -> Result<Vec<RgbImage>> {
        let Resident { backend, network } = self.vae_decoder()?;
        let [batch, c, h, w] = latents.shape();
        let scaling_factor = self.model.vae_config().scaling_factor;
        let mut pictures = Vec::with_capacity(batch);
        for data in latents.data().chunks_exact((c * h * w).max(1)) {
            let scaled: Vec<f32> = data.iter().map(|x| x / scaling_factor).collect();
            let scaled = upload(&backend, &scaled, [1, c, h, w])?;
            let decoded = match self.options.vae_tiling {
                true => network.forward_tiled(&backend, &scaled)?,
                false => network.forward(&backend, &scaled, false)?,
            };
            let [_, height, width, _] = infer::picture("decode", "the picture", backend.shape(&decoded))?;
            let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            pictures.push(RgbImage::from_unit_f32(&backend.to_f32(&decoded), side(width), side(height))?);
        }
        Ok(pictures)
    }

    /// The VAE's decoder alone: latents `(B, C, h, w)`, not scaled, to values of pictures `(B, 3, H, W)`, about `-1..1`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_unscaled(&self, latents: &Latents) -> Result<Latents> {
        let Resident { backend, network } = self.vae_decoder()?;
        let x = upload(&backend, latents.data(), latents.shape())?;
        download(&backend, &network.forward(&backend, &x, false)?)
    }

    /// The VAE's encoder alone: values of pictures `(B, 3, H, W)` in `-1..1` to means and log-variances `(B, 2C, h, w)`.
    /// The log-variances are held within `-30..20`, as diffusers' posterior does.
    ///
    /// # Errors
    /// The pictures have other channels than the VAE, or are too small.
    pub fn encode_unscaled(&self, pictures: &Latents) -> Result<Latents> {
        let Resident { backend, network } = self.vae_encoder()?;
        let moments = network.forward(&backend, &upload(&backend, pictures.data(), pictures.shape())?, false)?;
        let (mean, logvar) = posterior(&backend, &moments)?;
        download(&backend, &backend.concat(&mean, &logvar)?)
    }
}

/// `(B, C, H, W)` to a tensor `(B, H, W, C)`.
fn upload(backend: &Cpu, data: &[f32], shape: [usize; 4]) -> Result<Tensor> {
    let [b, c, h, w] = shape;
    Ok(backend.from_f32([b, h, w, c].into(), nchw_to_nhwc(data, shape)?)?)
}

/// A tensor `(B, H, W, C)` to `(B, C, H, W)`.
fn download(backend: &Cpu, x: &Tensor) -> Result<Latents> {
    let [b, h, w, c] = infer::picture("pipeline", "the output", backend.shape(x))?;
    let shape = [b, c, h, w];
    Latents::new(shape, nhwc_to_nchw(&backend.to_f32(x), shape)?)
}

/// A run under way. Each `next` takes one step of the sampler; dropping it ends the run, and its hold of the UNet.
pub struct Run<'a> {
    pipeline: &'a Pipeline<'a>,
    plan: Plan,
    steps: diffusion::Run<'a, ModelDenoiser<Guided<Cpu>>, BatchNoise>,
    /// Those of the last step, `(B, h, w, C)`.
    latents: Vec<f32>,
    warnings: Vec<Warning>,
}

impl Run<'_> {
    /// The request as it is carried out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the caller should know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Takes the steps that are left and gives the final latents `(B, C, h, w)`, as diffusers' `output_type="latent"`.
    ///
    /// # Errors
    /// A step fails, or the latents are no longer finite.
    pub fn finish_latents(mut self) -> Result<Latents> {
        for step in &mut self {
            step?;
        }
        let shape = self.plan.latents_shape;
        Latents::new(shape, nhwc_to_nchw(&self.latents, shape)?)
    }

    /// Takes the steps that are left and decodes the pictures.
    ///
    /// # Errors
    /// As [`Self::finish_latents`].
    pub fn finish(self) -> Result<Pictures> {
        let pipeline = self.pipeline;
        let latents = self.finish_latents()?;
        Ok(Pictures { images: pipeline.decode(&latents)?, latents })
    }
}

impl Iterator for Run<'_> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.next()?.and_then(|step| {
            let finite = step.latents.iter().all(|x| x.is_finite());
            if finite { Ok(step) } else { Err(Error::NotFinite) }
        });
        if let Ok(step) = &step {
            self.latents.clone_from(&step.latents);
        }
        Some(step)
    }
}

/// What a run made.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The pictures, in the order of their seeds.
    pub images: Vec<RgbImage>,
    /// The latents they were decoded from, `(B, C, h, w)`.
    pub latents: Latents,
}
