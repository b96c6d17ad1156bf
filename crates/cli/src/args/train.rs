//! Arguments of `calotype train`.

use std::path::PathBuf;

use calotype_train::RunKind;
use clap::{Args, Subcommand};

use super::{
    DeviceArg,
    choices::{Choice, choices},
    count, device,
};

#[derive(Subcommand)]
pub(crate) enum Train {
    /// Train an autoencoder: pictures to latents and back
    Autoencoder(TrainRun),
    /// Train latent diffusion with its text encoder
    Diffusion(TrainRun),
    /// Train a LoRA: small changes of a model, in a file of their own
    Lora(TrainRun),
    /// Print a config file with every setting, what it means and its default
    Init(TrainInit),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  calotype train init diffusion > run.toml
  calotype train diffusion --config run.toml --set train.steps=10")]
pub(crate) struct TrainInit {
    /// What is to be trained
    #[arg(value_parser = choices(KINDS))]
    pub(crate) kind: RunKind,
}

const KINDS: &[Choice<RunKind>] = &[
    (RunKind::Autoencoder, RunKind::Autoencoder.name(), "An autoencoder: pictures to latents and back"),
    (RunKind::Diffusion, RunKind::Diffusion.name(), "Latent diffusion with its text encoder"),
    (RunKind::Lora, RunKind::Lora.name(), "A LoRA of a model"),
];

#[derive(Args)]
#[command(after_help = "\
Ctrl-C stops after the step under way and keeps a checkpoint; the same command with --resume goes on.")]
pub(crate) struct TrainRun {
    /// What to train, on what, and how
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: PathBuf,
    /// A value in the place of the file's, as in train.steps=10; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Go on from the last checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Go on without pictures that can't be read, instead of refusing the set
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,
    /// Refused but for the processor: only that trains
    #[arg(long, value_name = "DEVICE", value_parser = device, hide = true)]
    pub(crate) device: Option<DeviceArg>,
    /// No progress, no summary
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
