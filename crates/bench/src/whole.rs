//! How long the parts of a run take on this machine.

use std::time::Instant;

use calotype::{
    Model, Precision, Result, auxiliary_precision,
    memory::{MemoryBudget, NetworkNeed, peak_memory},
    request::check_side,
    sampling::CfgPredictor,
};
use calotype_checkpoint::NetworkFiles;
use calotype_diffusion::{BatchNoise, Predictor};
use calotype_models::{ModelConfig, Random, TextConfig, UNetConfig, VaeConfig, VaeDecoder};
use calotype_tensor::{
    Backend, BackendOptions, Device, Memory,
    profile::{Call, Profile},
};
use calotype_text::MAX_LENGTH;
use serde::Serialize;

use crate::{
    BenchProfile, Machine, PartProfile, Work,
    profile::{Run, part},
};

/// A timestep in the middle of the schedule.
pub(crate) const TIMESTEP: f64 = 500.0;
pub(crate) const SEED: u64 = 42;
/// How many names of a checkpoint path name a block: `text_model.encoder.layers.0`, `down_blocks.0`, `decoder.up_blocks.0`.
const TEXT_NAMES: usize = 3;
const UNET_NAMES: usize = 1;
const VAE_NAMES: usize = 2;

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
    /// The number type.
    pub precision: Precision,
    /// How many UNet steps and decodings are timed; at least one is.
    pub repeat: usize,
    /// Whether each operation is timed too. Without it nothing stands between the networks and the backend.
    pub profile: bool,
    /// Decode in bands of rows.
    pub vae_tiling: bool,
}

impl Default for BenchOptions {
    /// 512 × 512 pixels in f32, medians of three, no profile.
    fn default() -> Self {
        Self { width: 512, height: 512, precision: Precision::F32, repeat: 3, profile: false, vae_tiling: false }
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
    /// The instruction set in use, or the card.
    pub isa: String,
    /// Whether a driver computed on the processor that should on a card: then no time is told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub software: bool,
    /// Parameters of the three networks.
    pub parameters: usize,
    /// Seconds of the text encoder for a prompt and a negative prompt.
    pub text_encoder_seconds: Option<f64>,
    /// Seconds of a UNet step with guidance (batch 2): the median of [`Self::unet_steps_seconds`].
    pub unet_step_seconds: Option<f64>,
    /// Each step timed, after one that was not.
    pub unet_steps_seconds: Vec<f64>,
    /// Seconds of decoding one picture: the median of [`Self::vae_decodes_seconds`].
    pub vae_decode_seconds: Option<f64>,
    /// Each decoding timed.
    pub vae_decodes_seconds: Vec<f64>,
    /// The most memory the process held, in bytes; none where the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// What a device counts that it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<BenchWork>,
    /// Where the time went, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<BenchProfile>,
}

/// What each network asked of the device, in one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BenchWork {
    /// The text encoder, for two prompts.
    pub text_encoder: Work,
    /// A UNet step with guidance, what comes of its timestep included.
    pub unet_step: Work,
    /// A decoding.
    pub vae_decode: Work,
}

/// Times the networks one after the other, each on a backend of its own, so that only one is in memory at a time. `stage` is told what begins.
///
/// # Errors
/// The model can't make pictures of that size, or its weights can't be read.
pub fn bench<D: Device>(
    machine: &Machine<D>,
    source: &BenchSource<'_>,
    options: BenchOptions,
    stage: &mut dyn FnMut(&str),
) -> Result<BenchReport> {
    let backend = |precision| Ok(machine.device.backend(BackendOptions::in_precision(precision))?);
    let networks = Networks::new(source, options, &machine.device)?;
    let job = Job { source, networks: &networks, options, work: &machine.work };
    if !options.profile {
        let timed = job.time(&backend, &|b| b, &|_| Vec::new(), stage)?;
        return Ok(report(machine, options, networks, timed, None));
    }
    stage("peak of this machine");
    let peaks = (machine.peaks)(options.precision)?;
    let profiled = |precision| Ok(Profile::new(backend(precision)?));
    let timed = job.time(&profiled, &|profile| profile.inner(), &|profile| profile.take(), stage)?;
    let peak = peaks.as_ref().map(|peaks| peaks.peak_gflops);
    let of = |runs: &[Run], names| median_run(runs).map_or_else(PartProfile::default, |run| part(run, names, peak));
    let parts = BenchProfile {
        text_encoder: of(&timed.text_encoder, TEXT_NAMES),
        unet_step: of(&timed.unet_steps, UNET_NAMES),
        vae_decode: of(&timed.vae_decodes, VAE_NAMES),
        peaks,
    };
    Ok(report(machine, options, networks, timed, Some(parts)))
}

/// The runs of each part.
struct Timed {
    parameters: usize,
    text_encoder: Vec<Run>,
    unet_steps: Vec<Run>,
    vae_decodes: Vec<Run>,
}

/// What is to be timed.
pub(crate) struct Job<'a, 'm> {
    pub(crate) source: &'a BenchSource<'m>,
    pub(crate) networks: &'a Networks,
    pub(crate) options: BenchOptions,
    /// What the device was asked for so far.
    pub(crate) work: &'a dyn Fn() -> Option<Work>,
}

impl<'m> Job<'_, 'm> {
    /// Makes and runs the networks, each on a backend of its own, so that with the network all memory goes that it used.
    /// `inner` is what a backend computes on, `calls` gives the operations of a backend since it was last asked.
    fn time<B: Backend + Clone, M: Memory>(
        &self,
        backend: &dyn Fn(Precision) -> Result<B>,
        inner: &dyn Fn(&B) -> &M,
        calls: &dyn Fn(&B) -> Vec<Call>,
        stage: &mut dyn FnMut(&str),
    ) -> Result<Timed> {
        let Self { networks, options, .. } = *self;
        let repeat = options.repeat.max(1);
        let [c, h, w] = networks.latents;
        let mut parameters = 0;

        stage("text encoder: weights");
        let b = backend(auxiliary_precision(options.precision))?;
        let text_encoder = self.make(&b, &networks.text, Model::text_encoder, &mut parameters)?;
        stage("text encoder: two prompts");
        let ids: Vec<u32> = (0..2 * MAX_LENGTH).map(|n| (n * 7 % networks.text.vocab_size.max(1)) as u32).collect();
        let (context, text_encoder_run) = self.timed(&b, calls, || Ok(text_encoder.forward(&b, &ids, 2)?))?;
        let (context_shape, context) = (b.shape(&context), b.to_f32(&context)?);
        drop((text_encoder, b));

        stage("UNet: weights");
        let b = backend(options.precision)?;
        let context = b.from_f32(context_shape, context)?;
        let unet = self.make(&b, &networks.unet, Model::unet, &mut parameters)?;
        let x = BatchNoise::new(SEED, 1, [h, w, c]).randn();
        let shape = [1, h, w, c];
        inner(&b).reserve(networks.need.unet)?;
        let guided = CfgPredictor::new(b.clone(), unet, &context, 7.5, shape)?;
        let mut guided = extra_channels(guided, &networks.unet, shape)?;
        stage("UNet: guided step (warm-up)");
        guided.predict(&x, TIMESTEP)?;
        let mut unet_steps = Vec::new();
        for step in 1..=repeat {
            stage(&format!("UNet: guided step {step} of {repeat}"));
            // A timestep of its own, as every step of a run has: what comes of it is part of the step.
            let timestep = TIMESTEP - step as f64;
            unet_steps.push(self.timed(&b, calls, || guided.predict(&x, timestep))?.1);
        }
        drop((guided, context, b));

        stage("VAE: weights");
        let b = backend(auxiliary_precision(options.precision))?;
        let vae = self.vae_decoder(&b, &mut parameters)?;
        inner(&b).reserve(networks.need.vae)?;
        let latents = b.from_f32(shape.into(), x.into_data())?;
        let mut vae_decodes = Vec::new();
        for decode in 1..=repeat {
            stage(&format!("VAE: decode {decode} of {repeat}"));
            let decode = || match options.vae_tiling {
                true => Ok(vae.forward_tiled(&b, &latents)?),
                false => Ok(vae.forward(&b, &latents, false)?),
            };
            vae_decodes.push(self.timed(&b, calls, decode)?.1);
        }
        Ok(Timed { parameters, text_encoder: vec![text_encoder_run], unet_steps, vae_decodes })
    }

    /// What `run` gives, how long it took until the device had computed it, and its operations.
    fn timed<B: Backend, T>(
        &self,
        b: &B,
        calls: &dyn Fn(&B) -> Vec<Call>,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Run)> {
        calls(b);
        let before = (self.work)();
        let start = Instant::now();
        let result = run()?;
        b.synchronize()?;
        let seconds = start.elapsed().as_secs_f64();
        let work = (self.work)().zip(before).map(|(now, before)| now.since(before));
        Ok((result, Run { seconds, calls: calls(b), work }))
    }

    /// The decoder; the whole VAE's parameters are counted.
    pub(crate) fn vae_decoder<B: Backend>(&self, backend: &B, parameters: &mut usize) -> Result<VaeDecoder<B::Param>> {
        let config = &self.networks.vae;
        *parameters += count(config)?;
        Ok(match self.source {
            BenchSource::Sd15 => config.init_decoder(backend, &mut Random { seed: SEED })?,
            BenchSource::Model(model) => model.vae().load_decoder(backend)?,
        })
    }

    /// Makes a network, and counts its parameters.
    pub(crate) fn make<B: Backend, C: ModelConfig + 'm>(
        &self,
        backend: &B,
        config: &C,
        network: impl FnOnce(&'m Model) -> &'m NetworkFiles<C>,
        parameters: &mut usize,
    ) -> Result<C::Model<B::Param>> {
        *parameters += count(config)?;
        match self.source {
            BenchSource::Sd15 => Ok(config.init(backend, &mut Random { seed: SEED })?),
            BenchSource::Model(model) => Ok(network(model).load(backend)?),
        }
    }
}

/// With zeros for the channels that the UNet sees beside the latents of `shape`, if there are any.
pub(crate) fn extra_channels<B: Backend>(
    guided: CfgPredictor<B>,
    config: &UNetConfig,
    [batch, h, w, c]: [usize; 4],
) -> Result<CfgPredictor<B>> {
    match config.in_channels.saturating_sub(c) {
        0 => Ok(guided),
        more => guided.with_extra_channels(vec![0.0; batch * h * w * more], more),
    }
}

/// The sizes to time.
pub(crate) struct Networks {
    pub(crate) name: String,
    pub(crate) text: TextConfig,
    pub(crate) unet: UNetConfig,
    pub(crate) vae: VaeConfig,
    /// `[C, h, w]`.
    pub(crate) latents: [usize; 3],
    pub(crate) need: Arenas,
}

/// The arenas that the networks take, in bytes.
pub(crate) struct Arenas {
    pub(crate) unet: usize,
    /// None is taken for a decoder in bands.
    pub(crate) vae: usize,
}

impl Arenas {
    /// Finds them, and whether the networks fit into memory.
    fn new<D: Device>(device: &D, options: BenchOptions, unet: &UNetConfig, vae: &VaeConfig) -> Result<Self> {
        let [h, w] = [options.height, options.width].map(|side| side / vae.downscale());
        let backend = |precision| device.backend(BackendOptions::in_precision(precision));
        let unet = NetworkNeed::unet(&backend(options.precision)?, unet, [1, h, w], MAX_LENGTH)?;
        let auxiliary = backend(auxiliary_precision(options.precision))?;
        let decoder = if options.vae_tiling { NetworkNeed::tiled_decoder } else { NetworkNeed::decoder };
        let vae = decoder(&auxiliary, vae, [h, w])?;
        MemoryBudget::system().check(unet.total().max(vae.total()))?;
        let bytes = |arena| usize::try_from(arena).unwrap_or(usize::MAX);
        Ok(Self { unet: bytes(unet.arena), vae: if options.vae_tiling { 0 } else { bytes(vae.arena) } })
    }
}

impl Networks {
    pub(crate) fn new<D: Device>(source: &BenchSource<'_>, options: BenchOptions, device: &D) -> Result<Self> {
        let (name, text, unet, vae) = match source {
            BenchSource::Sd15 => {
                ("sd15 (random weights)".to_owned(), TextConfig::sd15(), UNetConfig::sd15(), VaeConfig::sd15())
            }
            BenchSource::Model(m) => {
                (m.name().to_owned(), m.text_config().clone(), m.unet_config().clone(), m.vae_config().clone())
            }
        };
        let downscale = vae.downscale();
        check_side("width", options.width, downscale, "this model")?;
        check_side("height", options.height, downscale, "this model")?;
        let need = Arenas::new(device, options, &unet, &vae)?;
        let latents = [vae.latent_channels, options.height / downscale, options.width / downscale];
        Ok(Self { name, text, unet, vae, latents, need })
    }
}

fn report<D: Device>(
    machine: &Machine<D>,
    options: BenchOptions,
    networks: Networks,
    timed: Timed,
    profile: Option<BenchProfile>,
) -> BenchReport {
    // What such a driver takes says nothing of any card.
    let is_told = !machine.is_software;
    let seconds = |runs: &[Run]| runs.iter().filter(|_| is_told).map(|run| run.seconds).collect();
    let middle = |runs: &[Run]| median_run(runs).filter(|_| is_told).map(|run| run.seconds);
    let work = |runs: &[Run]| runs.first().and_then(|run| run.work);
    let parts = (work(&timed.text_encoder), work(&timed.unet_steps), work(&timed.vae_decodes));
    BenchReport {
        model: networks.name,
        width: options.width,
        height: options.height,
        precision: options.precision.id(),
        threads: machine.device.threads().count(),
        isa: machine.isa.clone(),
        software: machine.is_software,
        parameters: timed.parameters,
        text_encoder_seconds: middle(&timed.text_encoder),
        unet_step_seconds: middle(&timed.unet_steps),
        unet_steps_seconds: seconds(&timed.unet_steps),
        vae_decode_seconds: middle(&timed.vae_decodes),
        vae_decodes_seconds: seconds(&timed.vae_decodes),
        peak_memory_bytes: peak_memory(),
        work: match parts {
            (Some(text_encoder), Some(unet_step), Some(vae_decode)) => {
                Some(BenchWork { text_encoder, unet_step, vae_decode })
            }
            _ => None,
        },
        profile: profile.filter(|_| is_told),
    }
}

/// The run with as many slower ones as faster ones, the slower of the two when there is an even number.
fn median_run(runs: &[Run]) -> Option<&Run> {
    let mut sorted: Vec<&Run> = runs.iter().collect();
    sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    sorted.get(sorted.len() / 2).copied()
}

/// The parameters of a network.
fn count(config: &impl ModelConfig) -> Result<usize> {
    Ok(config.specs()?.iter().map(|spec| spec.count()).sum())
}

/// The middle one of `values` as they are sorted, the upper of two; not a number without any.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
