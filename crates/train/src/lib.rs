//! The trainer: datasets, losses, optimisers, EMA, resumable runs.
//!
//! [`train_autoencoder`] and [`train_diffusion`] each read a TOML file ([`AutoencoderConfig`], [`DiffusionConfig`]) and
//! keep a run in its `output` folder: `checkpoint.safetensors`, `metrics.jsonl` ([`StepMetrics`] a line), `loss.png`,
//! `samples/step_NNNNNN.png` and, when the run ends or is stopped, a diffusers folder `model/`.
//!
//! Pictures are decoded, the disk looked at and what doesn't fit together refused before anything is learned; a start that is refused
//! leaves nothing behind.
//!
//! A run may be killed at any moment. Everything that a step depends on is in the checkpoint or follows from the seed and
//! the step's number, so a resumed run has the same losses, bit for bit, as one that never stopped.

mod adversary;
mod autoencoder;
mod bench;
mod captions;
mod check;
mod complete;
mod config;
mod data;
mod diffusion;
mod disk;
mod ema;
mod error;
mod folder;
mod folders;
mod keys;
mod latents;
mod list;
mod lora;
mod losses;
mod metrics;
mod noising;
mod optimiser;
mod random;
mod run;
mod sampling;
mod start;
mod state;
#[cfg(test)]
mod ten_steps;
mod weights;

use std::path::Path;

use calotype_tensor::{Backend, cpu::Cpu, tape::Tape};

use autoencoder::AutoencoderTask;
use check::{Config, Read};
use diffusion::DiffusionTask;
use folder::RunFolder;
use run::{Plan, run};

pub use bench::{StepSource, StepWork, bench};
pub use config::{
    AutoencoderConfig, AutoencoderLossConfig, AutoencoderSizes, DataConfig, Decay, DiffusionConfig,
    DiffusionLossConfig, DiffusionSizes, DiscriminatorLossConfig, LoraConfig, LoraOptions, LossWeighting,
    MixedPrecision, PerceptualNetwork, Precision, Prediction, ReportConfig, TextEncoderSizes, TimestepSampling,
    TrainConfig,
};
pub use error::{Error, Result};
pub use keys::{RunKind, template};
pub use metrics::StepMetrics;
pub use run::{Notice, Progress, RunOptions, Summary};

/// Trains an autoencoder as the config file says, on the CPU.
///
/// # Errors
/// The config or the data break a rule, the run's folder is in use or of another run, the disk fails, or the loss is no
/// longer finite. The last checkpoint is usable after any of them.
pub fn train_autoencoder(config: &Path, mut options: RunOptions<'_>) -> Result<Summary> {
    let Read { config, filled } = check::read::<AutoencoderConfig>(config, options.set)?;
    let folder = RunFolder::open(&config.output, options.resume)?;
    tell_filled(&filled, &mut options);
    let cpu = backend(options.threads, config.train.mixed_precision)?;
    Backend::threads(&cpu).clone().enter(move || {
        let tape = Tape::new(cpu);
        let task = AutoencoderTask::new(&tape, &config, &mut options)?;
        let plan = Plan {
            folder: &folder,
            train: &config.train,
            report: &config.report,
            fixed: config.fixed()?,
            whole: config.whole()?,
        };
        run(&task, &tape, &plan, &mut options)
    })
}

/// Trains latent diffusion with its text encoder as the config file says, on the CPU.
///
/// # Errors
/// As [`train_autoencoder`]; also when the autoencoder that the config names can't be loaded.
pub fn train_diffusion(config: &Path, options: RunOptions<'_>) -> Result<Summary> {
    let Read { config, filled } = check::read::<DiffusionConfig>(config, options.set)?;
    diffusion(&config, &config, &filled, options)
}

/// Trains a LoRA of a model as the config file says, on the CPU.
///
/// # Errors
/// As [`train_autoencoder`]; also when the model that the run starts from is not there.
pub fn train_lora(config: &Path, options: RunOptions<'_>) -> Result<Summary> {
    let Read { config, filled } = check::read::<LoraConfig>(config, options.set)?;
    diffusion(&config.0, &config, &filled, options)
}

/// Trains latent diffusion, or a LoRA of it: `settings` are those of `config`.
fn diffusion<C: Config>(
    settings: &DiffusionConfig,
    config: &C,
    filled: &[String],
    mut options: RunOptions<'_>,
) -> Result<Summary> {
    let folder = RunFolder::open(&settings.output, options.resume)?;
    tell_filled(filled, &mut options);
    let cpu = backend(options.threads, settings.train.mixed_precision)?;
    let (fixed, whole) = (config.fixed()?, config.whole()?);
    Backend::threads(&cpu).clone().enter(move || {
        let tape = Tape::new(cpu);
        let task = DiffusionTask::new(&tape, settings, &folder, &mut options)?;
        let plan = Plan { folder: &folder, train: &settings.train, report: &settings.report, fixed, whole };
        run(&task, &tape, &plan, &mut options)
    })
}

/// Says what the config left out.
fn tell_filled(filled: &[String], options: &mut RunOptions<'_>) {
    if !filled.is_empty() {
        (options.tell)(&Notice::Filled(filled.to_vec()));
    }
}

/// What computes the steps of a run.
fn backend(threads: usize, mixed_precision: MixedPrecision) -> Result<Cpu> {
    let cpu = Cpu::new(threads)?;
    match mixed_precision {
        MixedPrecision::No => Ok(cpu),
        MixedPrecision::Bf16 => {
            let isa = cpu.isa().to_string();
            // In f32 the processor alone can be what lacks it.
            cpu.in_mixed_precision().map_err(|_| Error::MixedPrecision { isa })
        }
    }
}
