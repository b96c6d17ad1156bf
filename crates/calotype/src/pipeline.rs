//! A model in memory, and the way from a text to pictures.

use calotype_diffusion::{self as diffusion, BatchNoise, ModelDenoiser, Predictor, guide, nchw_to_nhwc, nhwc_to_nchw};
use calotype_image::RgbImage;
use calotype_models::{AutoencoderKl, ClipTextEncoder, UNet, posterior};
use calotype_tensor::{
    Backend, Precision, Shape,
    cpu::{Cpu, CpuOptions, Param, Tensor},
    infer,
};

use crate::{Error, Latents, Model, Plan, Result, Step, Text2ImageRequest, Warning};

/// How to compute.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineOptions {
    /// Threads; 0 for one on each core. Results do not depend on it.
    pub threads: usize,
    /// The number types.
    pub precision: Precision,
}

impl PipelineOptions {
    pub(crate) fn backend(self) -> Result<Cpu> {
        let options = CpuOptions { threads: self.threads, precision: self.precision, ..CpuOptions::default() };
        Ok(Cpu::with_options(options)?)
    }
}

/// The fastest number type on this processor that changes pictures no more than rounding does.
///
/// # Errors
/// The environment asks for an instruction set that this processor lacks.
pub fn fastest_precision() -> Result<Precision> {
    Ok(Cpu::fastest_precision()?)
}

/// A model whose weights are in memory.
pub struct Pipeline<'a> {
    model: &'a Model,
    backend: Cpu,
    text_encoder: ClipTextEncoder<Param>,
    unet: UNet<Param>,
    vae: AutoencoderKl<Param>,
}

impl<'a> Pipeline<'a> {
    /// Reads a model's weights.
    ///
    /// # Errors
    /// A file can't be read, or threads can't be started.
    pub fn load(model: &'a Model, options: PipelineOptions) -> Result<Self> {
        let backend = options.backend()?;
        let wide = backend.with_precision(options.precision.wide());
        Ok(Self {
            text_encoder: model.text_encoder.load(&wide)?,
            unet: model.unet.load(&backend)?,
            vae: model.vae.load(&wide)?,
            model,
            backend,
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// Starts a run: checks the request and encodes its texts. Each `next` of the run takes one step.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub fn txt2img(&self, request: &Text2ImageRequest) -> Result<Run<'_>> {
        let plan = self.model.check(request)?;
        let mut warnings = Vec::new();
        let context = self.guided_context(request, &mut warnings)?;
        let [batch, c, h, w] = plan.latents_shape;
        let mut noise = BatchNoise::new(request.seed, batch, [c, h, w]);
        let start = match &request.latents {
            Some(latents) => nchw_to_nhwc(latents.data(), plan.latents_shape)?,
            None => noise.randn(),
        };
        let predictor = Guided {
            backend: &self.backend,
            unet: &self.unet,
            context,
            guidance_scale: request.guidance_scale,
            shape: [batch, h, w, c],
        };
        let denoiser = ModelDenoiser::new(predictor, self.model.prediction_type());
        let steps = plan.sampler.run(denoiser, &start, noise);
        Ok(Run { pipeline: self, plan, steps, latents: start, warnings })
    }

    /// The output of the text encoder for texts, `(B, 77, hidden_size)` row-major, and what was cut from each.
    ///
    /// # Errors
    /// The text encoder fails.
    pub fn encode_text(&self, texts: &[&str]) -> Result<(Vec<f32>, Vec<Option<String>>)> {
        let encodings: Vec<_> = texts.iter().map(|text| self.model.tokenizer().encode(text)).collect();
        let ids: Vec<u32> = encodings.iter().flat_map(|encoding| &encoding.ids).copied().collect();
        let context = self.text_encoder.forward(&self.backend, &ids, texts.len())?;
        let cut = encodings.into_iter().map(|encoding| encoding.truncated_text).collect();
        Ok((self.backend.to_f32(&context), cut))
    }

    /// The context of every picture of the batch: with guidance the negative prompt's for all, then the prompt's.
    fn guided_context(&self, request: &Text2ImageRequest, warnings: &mut Vec<Warning>) -> Result<Tensor> {
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
        Ok(self.backend.from_f32([texts.len() * batch, length, width].into(), rows)?)
    }

    /// The UNet's prediction for latents `(B, C, h, w)` at one timestep, each with its context `(77, hidden_size)`.
    ///
    /// # Errors
    /// The shapes don't fit the model.
    pub fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents> {
        let batch = latents.shape()[0];
        let width = self.model.text_config().hidden_size;
        let length = context.len() / (batch * width).max(1);
        let context = self.backend.from_f32([batch, length, width].into(), context.to_vec())?;
        let x = self.upload(latents.data(), latents.shape())?;
        self.download(&self.unet.forward(&self.backend, &x, &vec![timestep as f32; batch], &context)?)
    }

    /// Final latents to pictures, one after the other to bound memory: divided by the scaling factor and decoded.
    ///
    /// # Errors
    /// The latents have other channels than the VAE.
    pub fn decode(&self, latents: &Latents) -> Result<Vec<RgbImage>> {
        let [batch, c, h, w] = latents.shape();
        let scaling_factor = self.model.vae_config().scaling_factor;
        let mut pictures = Vec::with_capacity(batch);
        for data in latents.data().chunks_exact((c * h * w).max(1)) {
            let scaled: Vec<f32> = data.iter().map(|x| x / scaling_factor).collect();
            let decoded = self.vae.decode(&self.backend, &self.upload(&scaled, [1, c, h, w])?)?;
            let [_, height, width, _] = infer::picture("decode", "the picture", self.backend.shape(&decoded))?;
            let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            pictures.push(RgbImage::from_unit_f32(&self.backend.to_f32(&decoded), side(width), side(height))?);
        }
        Ok(pictures)
    }

    /// The VAE's decoder alone: latents `(B, C, h, w)`, not scaled, to values of pictures `(B, 3, H, W)`, about `-1..1`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_unscaled(&self, latents: &Latents) -> Result<Latents> {
        self.download(&self.vae.decode(&self.backend, &self.upload(latents.data(), latents.shape())?)?)
    }

    /// The VAE's encoder alone: values of pictures `(B, 3, H, W)` in `-1..1` to means and log-variances `(B, 2C, h, w)`.
    /// The log-variances are held within `-30..20`, as diffusers' posterior does.
    ///
    /// # Errors
    /// The pictures have other channels than the VAE, or are too small.
    pub fn encode_unscaled(&self, pictures: &Latents) -> Result<Latents> {
        let moments = self.vae.encode(&self.backend, &self.upload(pictures.data(), pictures.shape())?)?;
        let (mean, logvar) = posterior(&self.backend, &moments)?;
        self.download(&self.backend.concat(&mean, &logvar)?)
    }

    /// `(B, C, H, W)` to a tensor `(B, H, W, C)`.
    fn upload(&self, data: &[f32], shape: [usize; 4]) -> Result<Tensor> {
        let [b, c, h, w] = shape;
        Ok(self.backend.from_f32([b, h, w, c].into(), nchw_to_nhwc(data, shape)?)?)
    }

    /// A tensor `(B, H, W, C)` to `(B, C, H, W)`.
    fn download(&self, x: &Tensor) -> Result<Latents> {
        let [b, h, w, c] = infer::picture("pipeline", "the output", self.backend.shape(x))?;
        let shape = [b, c, h, w];
        Latents::new(shape, nhwc_to_nchw(&self.backend.to_f32(x), shape)?)
    }
}

/// Whether the scale asks for a second, unconditional prediction.
pub(crate) fn guides(guidance_scale: f32) -> bool {
    guidance_scale != 1.0
}

/// The UNet with classifier-free guidance: both halves in one batch, the unconditional first.
pub(crate) struct Guided<'a, B: Backend = Cpu> {
    pub(crate) backend: &'a B,
    pub(crate) unet: &'a UNet<B::Param>,
    /// `(2B, L, C)`, or `(B, L, C)` without guidance.
    pub(crate) context: B::Tensor,
    pub(crate) guidance_scale: f32,
    /// `[B, h, w, C]` of the latents.
    pub(crate) shape: [usize; 4],
}

impl<B: Backend> Predictor for Guided<'_, B> {
    type Error = Error;

    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>> {
        let [batch, h, w, c] = self.shape;
        let halves = if guides(self.guidance_scale) { 2 } else { 1 };
        let shape: Shape = [halves * batch, h, w, c].into();
        let latents = self.backend.from_f32(shape, x.repeat(halves))?;
        let timesteps = vec![timestep as f32; halves * batch];
        let predicted = self.unet.forward(self.backend, &latents, &timesteps, &self.context)?;
        let predicted = self.backend.to_f32(&predicted);
        if halves == 1 {
            return Ok(predicted);
        }
        let (uncond, cond) = predicted.split_at(predicted.len() / 2);
        Ok(guide(uncond, cond, self.guidance_scale)?)
    }
}

/// A run under way. Each `next` takes one step of the sampler; dropping it ends the run.
pub struct Run<'a> {
    pipeline: &'a Pipeline<'a>,
    plan: Plan,
    steps: diffusion::Run<'a, ModelDenoiser<Guided<'a>>, BatchNoise>,
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
