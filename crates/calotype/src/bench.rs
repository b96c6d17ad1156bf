//! How long the parts of a run take on this machine.

use std::time::Instant;

use calotype_diffusion::{BatchNoise, Predictor};
use calotype_models::{ModelConfig, Random, TextConfig, UNetConfig, VaeConfig};
use calotype_tensor::{Backend, cpu::Cpu};
use calotype_text::MAX_LENGTH;
use serde::Serialize;

use crate::{
    Model, PipelineOptions, Precision, Result, memory::peak_memory, model::Network, pipeline::Guided,
    request::check_size,
};

/// Guided steps that are timed, after one that is not.
const STEPS: usize = 3;
/// A timestep in the middle of the schedule.
const TIMESTEP: f64 = 500.0;
const SEED: u64 = 42;

/// Which networks.
pub enum BenchSource<'a> {
    /// Stable Diffusion v1.5's sizes with random weights: no file is needed.
    Sd15,
    /// A model's.
    Model(&'a Model),
}

/// What is timed, and how.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Width of the picture in pixels.
    pub width: usize,
    /// Height of the picture in pixels.
    pub height: usize,
    /// Threads; 0 for one on each core.
    pub threads: usize,
    /// The number type.
    pub precision: Precision,
}

impl Default for BenchOptions {
    /// 512 × 512 pixels on all cores, in f32.
    fn default() -> Self {
        Self { width: 512, height: 512, threads: 0, precision: Precision::F32 }
    }
}

/// Seconds, and bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// The networks' name.
    pub model: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The number type.
    pub precision: &'static str,
    /// Threads.
    pub threads: usize,
    /// The instruction set in use.
    pub isa: String,
    /// Parameters of the three networks.
    pub parameters: usize,
    /// Seconds of the text encoder for a prompt and a negative prompt.
    pub text_encoder_seconds: f64,
    /// Seconds of a UNet step with guidance (batch 2): the median of [`Self::unet_steps_seconds`].
    pub unet_step_seconds: f64,
    /// Each step timed, after one that was not.
    pub unet_steps_seconds: Vec<f64>,
    /// Seconds of decoding one picture.
    pub vae_decode_seconds: f64,
    /// The most memory the process held, in bytes; none where the system does not say.
    pub peak_memory_bytes: Option<u64>,
}

/// Times the networks one after the other, so that only one is in memory at a time. `stage` is told what begins.
///
/// # Errors
/// The model can't make pictures of that size, or its weights can't be read.
pub fn bench(source: &BenchSource<'_>, options: BenchOptions, stage: &mut dyn FnMut(&str)) -> Result<BenchReport> {
    let backend = PipelineOptions { threads: options.threads, precision: options.precision }.backend()?;
    let wide = backend.with_precision(options.precision.wide());
    let networks = Networks::new(source, options)?;
    let [c, h, w] = networks.latents;
    let mut parameters = 0;

    stage("text encoder: weights");
    let text_encoder = make(&wide, &networks.text, source, |m| &m.text_encoder, &mut parameters)?;
    stage("text encoder: two prompts");
    let ids: Vec<u32> = (0..2 * MAX_LENGTH).map(|n| (n * 7 % networks.text.vocab_size.max(1)) as u32).collect();
    let start = Instant::now();
    let context = text_encoder.forward(&backend, &ids, 2)?;
    let text_encoder_seconds = start.elapsed().as_secs_f64();
    drop(text_encoder);

    stage("UNet: weights");
    let unet = make(&backend, &networks.unet, source, |m| &m.unet, &mut parameters)?;
    let x = BatchNoise::new(SEED, 1, [c, h, w]).randn();
    let shape = [1, h, w, c];
    let mut guided = Guided { backend: &backend, unet: &unet, context, guidance_scale: 7.5, shape };
    let mut unet_steps_seconds = Vec::with_capacity(STEPS);
    for step in 0..=STEPS {
        stage(&format!("UNet: guided step {step} of {STEPS}{}", if step == 0 { " (warm-up)" } else { "" }));
        let start = Instant::now();
        guided.predict(&x, TIMESTEP)?;
        if step > 0 {
            unet_steps_seconds.push(start.elapsed().as_secs_f64());
        }
    }
    drop(guided);
    drop(unet);

    stage("VAE: weights");
    let vae = make(&wide, &networks.vae, source, |m| &m.vae, &mut parameters)?;
    stage("VAE: decode");
    let latents = backend.from_f32(shape.into(), x)?;
    let start = Instant::now();
    vae.decode(&backend, &latents)?;
    let vae_decode_seconds = start.elapsed().as_secs_f64();

    Ok(BenchReport {
        model: networks.name,
        width: options.width,
        height: options.height,
        precision: options.precision.id(),
        threads: backend.threads(),
        isa: backend.isa().to_string(),
        parameters,
        text_encoder_seconds,
        unet_step_seconds: median(&unet_steps_seconds),
        unet_steps_seconds,
        vae_decode_seconds,
        peak_memory_bytes: peak_memory(),
    })
}

/// The sizes to time.
struct Networks {
    name: String,
    text: TextConfig,
    unet: UNetConfig,
    vae: VaeConfig,
    /// `[C, h, w]`.
    latents: [usize; 3],
}

impl Networks {
    fn new(source: &BenchSource<'_>, options: BenchOptions) -> Result<Self> {
        let (name, text, unet, vae) = match source {
            BenchSource::Sd15 => {
                ("sd15 (random weights)".to_owned(), TextConfig::sd15(), UNetConfig::sd15(), VaeConfig::sd15())
            }
            BenchSource::Model(m) => {
                (m.name().to_owned(), m.text_config().clone(), m.unet_config().clone(), m.vae_config().clone())
            }
        };
        check_size(&unet, &vae, 1, options.width, options.height)?;
        let downscale = vae.downscale();
        let latents = [vae.latent_channels, options.height / downscale, options.width / downscale];
        Ok(Self { name, text, unet, vae, latents })
    }
}

/// Makes a network, and counts its parameters.
fn make<'a, C: ModelConfig + 'a>(
    backend: &Cpu,
    config: &C,
    source: &BenchSource<'a>,
    network: impl FnOnce(&'a Model) -> &'a Network<C>,
    parameters: &mut usize,
) -> Result<C::Model<<Cpu as Backend>::Param>> {
    *parameters += config.specs()?.iter().map(|spec| spec.count()).sum::<usize>();
    match source {
        BenchSource::Sd15 => Ok(config.init(backend, &mut Random { seed: SEED })?),
        BenchSource::Model(model) => network(model).load(backend),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
