//! How long a training step takes on this machine.

use std::{path::Path, time::Instant};

use calotype_models::{ClipTextEncoder, ModelConfig, Random, TextConfig, UNet, UNetConfig};
use calotype_tensor::{
    Backend,
    cpu::Cpu,
    tape::{Parameter, Tape, Var},
};
use calotype_text::MAX_LENGTH;
use serde::Serialize;

use crate::{
    AutoencoderSizes, Decay, DiffusionConfig, DiffusionLossConfig, MixedPrecision, Prediction, Result, TrainConfig,
    backend, check,
    diffusion::{latent_shape, noise_error},
    ema::Ema,
    folders::noise_schedule,
    noising::{Noised, Noising, timestep},
    optimiser::Optimiser,
    random::{Stream, generator},
    start,
};

const SEED: u64 = 42;

/// What is trained.
#[derive(Clone, Copy, Debug)]
pub enum StepSource<'a> {
    /// UNet and text encoder of a config file of `calotype train diffusion`, as it says. No other file is needed: while the
    /// autoencoder is not there yet, [`AutoencoderSizes::default`] gives the sizes of the latents.
    Config(&'a Path),
    /// The UNet of Stable Diffusion v1.5 on one picture of 512 × 512 pixels, its blocks checkpointed, the text encoder frozen.
    Sd15(MixedPrecision),
}

/// What a step works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepWork {
    /// `training step` and of what.
    pub name: String,
    /// Pictures in a step.
    pub batch_size: usize,
    /// `[h, w, c]` of a picture's latents.
    pub latents: [usize; 3],
    /// Trained values.
    pub parameters: usize,
    /// The number type.
    pub precision: &'static str,
    /// Threads.
    pub threads: usize,
    /// The instruction set in use.
    pub isa: String,
}

/// Times training steps: forward, backward, clipping, AdamW and, if the config has one, the moving average. Weights, latents
/// and texts are random.
///
/// After each step `next` is told what it was and its seconds (none after the first, which warms up), and says whether to
/// take another.
///
/// # Errors
/// The config breaks a rule, or the loss is not finite.
pub fn bench(
    source: StepSource<'_>,
    threads: usize,
    next: &mut (dyn FnMut(&StepWork, Option<f64>) -> bool + Send),
) -> Result<StepWork> {
    let source = Source::read(source)?;
    let cpu = backend(threads, source.train().mixed_precision)?;
    Backend::threads(&cpu).clone().enter(move || time_steps(source, cpu, next))
}

fn time_steps(
    source: Source<'_>,
    cpu: Cpu,
    next: &mut (dyn FnMut(&StepWork, Option<f64>) -> bool + Send),
) -> Result<StepWork> {
    let mixed_precision = source.train().mixed_precision;
    let tape = Tape::new(cpu);
    let mut step = source.step(&tape)?;
    let parameters = tape.parameters();
    let work = StepWork {
        name: step.name.clone(),
        batch_size: step.train.batch_size,
        latents: step.latents,
        parameters: parameters.iter().map(|p| p.shape().count()).sum(),
        precision: if mixed_precision.is_no() { "f32" } else { "f32, products in bf16" },
        threads: tape.inner().threads(),
        isa: tape.inner().isa().to_string(),
    };
    let mut optimiser = Optimiser::new(tape.inner(), &parameters)?;
    let mut ema = if step.train.ema_decay > 0.0 { Some(Ema::new(tape.inner(), &parameters)?) } else { None };
    for number in 1.. {
        let start = Instant::now();
        let gradients = tape.backward(&step.loss(&tape, number)?)?;
        optimiser.step(tape.inner(), &parameters, &gradients, 1, number, &step.train)?;
        drop(gradients);
        if let Some(ema) = &mut ema {
            ema.update(tape.inner(), &parameters, number, step.train.ema_decay)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        if !next(&work, (number > 1).then_some(seconds)) {
            break;
        }
    }
    Ok(work)
}

/// The networks on a tape, and how they are trained.
struct Step {
    name: String,
    unet: UNet<Parameter<Cpu>>,
    text: Text,
    train: TrainConfig,
    loss: DiffusionLossConfig,
    /// `[h, w, c]`.
    latents: [usize; 3],
}

/// Where contexts come from.
enum Text {
    /// A text encoder that learns too.
    Trained { encoder: ClipTextEncoder<Parameter<Cpu>>, ids: Vec<u32> },
    /// One that does not: its output, `(B, L, C)`.
    Frozen(Var<Cpu>),
}

/// What is said of a step before there is a tape.
enum Source<'a> {
    Config(&'a Path, Box<DiffusionConfig>),
    Sd15(TrainConfig),
}

impl<'a> Source<'a> {
    fn read(source: StepSource<'a>) -> Result<Self> {
        Ok(match source {
            StepSource::Config(file) => Self::Config(file, Box::new(check::read(file, &[])?.config)),
            StepSource::Sd15(mixed_precision) => Self::Sd15(fine_tuning(mixed_precision)),
        })
    }

    fn train(&self) -> &TrainConfig {
        match self {
            Self::Config(_, config) => &config.train,
            Self::Sd15(train) => train,
        }
    }

    fn step(self, tape: &Tape<Cpu>) -> Result<Step> {
        match self {
            Self::Config(file, config) => Step::of_config(tape, file, &config),
            Self::Sd15(train) => Step::sd15(tape, train),
        }
    }
}

impl Step {
    fn of_config(tape: &Tape<Cpu>, file: &Path, config: &DiffusionConfig) -> Result<Self> {
        let DiffusionConfig { data, model, loss, train, .. } = config;
        let vae = match start::open_vae(&model.autoencoder) {
            Ok(vae) => vae.config().clone(),
            Err(_) if !model.autoencoder.exists() => AutoencoderSizes::default().vae(data.size),
            Err(error) => return Err(error),
        };
        let latents = latent_shape(data.size, model.block_out_channels.len(), &vae)?;
        let mut unet = model.unet(latents).init(tape, &mut Random { seed: SEED })?;
        let text_config = model.text();
        let mut encoder = text_config.init(tape, &mut Random { seed: SEED })?;
        unet.checkpointing = train.checkpointing;
        encoder.checkpointing = train.checkpointing;
        let vocabulary = text_config.vocab_size.max(1);
        let ids = (0..train.batch_size * MAX_LENGTH).map(|n| (n * 7 % vocabulary) as u32).collect();
        let text = Text::Trained { encoder, ids };
        let name = format!("training step of {}", file.display());
        Ok(Self { name, unet, text, train: train.clone(), loss: loss.clone(), latents })
    }

    fn sd15(tape: &Tape<Cpu>, train: TrainConfig) -> Result<Self> {
        let mut unet = UNetConfig::sd15().init(tape, &mut Random { seed: SEED })?;
        unet.checkpointing = true;
        let shape = [1, MAX_LENGTH, TextConfig::sd15().hidden_size];
        let values = generator(SEED, Stream::HeldOut, 0).randn(shape.iter().product());
        let context = tape.from_f32(shape.into(), values)?;
        Ok(Self {
            name: "training step of sd15, checkpointed, text encoder frozen".to_owned(),
            unet,
            text: Text::Frozen(context),
            train,
            loss: DiffusionLossConfig::default(),
            latents: [64, 64, 4],
        })
    }

    /// The loss of a batch of noise, recorded on `tape`.
    fn loss(&mut self, tape: &Tape<Cpu>, number: u64) -> Result<Var<Cpu>> {
        let random = &mut generator(SEED, Stream::Training, number);
        let size = self.latents.iter().product();
        let noising =
            Noising { schedule: noise_schedule()?, prediction: Prediction::Epsilon, weighting: self.loss.weighting };
        let mut noised = Noised::default();
        for _ in 0..self.train.batch_size {
            let timestep = timestep(&self.loss, &noising.schedule, random);
            let [latents, noise] = [random.randn(size), random.randn(size)];
            noising.push(&mut noised, &latents, noise, timestep)?;
        }
        let context = match &self.text {
            Text::Trained { encoder, ids } => encoder.forward(tape, ids, self.train.batch_size)?,
            Text::Frozen(context) => context.clone(),
        };
        noise_error(tape, &self.unet, &context, noised, self.latents)
    }
}
/// The settings of diffusers' `examples/text_to_image/train_text_to_image.py`: one picture, no moving average.
fn fine_tuning(mixed_precision: MixedPrecision) -> TrainConfig {
    TrainConfig {
        batch_size: 1,
        gradient_accumulation: 1,
        steps: 1,
        learning_rate: 1e-5,
        warmup_steps: 0,
        decay: Decay::Constant,
        final_ratio: 1.0,
        weight_decay: 0.01,
        betas: [0.9, 0.999],
        eps: 1e-8,
        gradient_clip: 1.0,
        ema_decay: 0.0,
        seed: SEED,
        checkpointing: true,
        mixed_precision,
        init_from: None,
    }
}
