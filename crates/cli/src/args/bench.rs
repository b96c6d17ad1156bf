//! Arguments of `calotype bench`.

use std::path::PathBuf;

use calotype_bench::BenchPart;
use clap::{Args, ValueEnum};

use super::{
    Compute, DeviceArgs, ModelArgs,
    choices::{Choice, choices},
    count,
};

const PARTS: &[Choice<BenchPart>] = &[
    (BenchPart::UNetStep, "unet", "One UNet step with guidance"),
    (BenchPart::VaeDecode, "vae", "Decoding one image"),
];

#[derive(Args)]
#[command(after_help = "\
Times the text encoder with two prompts, one UNet step with guidance (after a warm-up), and the
decoding of one picture, one network in memory at a time; with --train, training steps instead.
A profile says where each network spends its time, and how near each kind of operation comes to
the peak of this machine; on a card by the card's own clock. What a driver takes that computes on
the processor is no speed of any card, and is not printed: only what it was asked for is.

Examples:
  calotype bench --arch sd15
  calotype bench --arch sd15 --profile --repeat 1
  calotype bench --train examples/emoji/diffusion.toml
  calotype bench --width 64 --height 64")]
pub(crate) struct Bench {
    /// Networks of this size with random weights; no file is needed
    #[arg(long, value_name = "NAME", value_enum, conflicts_with = "model")]
    pub(crate) arch: Option<Arch>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) compute: Compute,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Width in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 512)]
    pub(crate) width: usize,
    /// Height in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 512)]
    pub(crate) height: usize,
    /// How many UNet steps and decodings to time; their medians are printed
    #[arg(long, value_name = "N", default_value = "3", value_parser = count)]
    pub(crate) repeat: usize,
    /// Time each kind of operation and each block too
    #[arg(long)]
    pub(crate) profile: bool,
    /// Only this network: the median of 3 runs after a warm-up
    #[arg(long, value_name = "NAME", value_parser = choices(PARTS))]
    pub(crate) part: Option<BenchPart>,
    /// Training steps of a config of `calotype train diffusion`, on random latents and texts
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["arch", "model", "part"])]
    pub(crate) train: Option<PathBuf>,
    /// Training steps of Stable Diffusion v1.5's UNet: one image of 512 x 512 pixels, with checkpointing
    #[arg(long, conflicts_with_all = ["arch", "model", "part", "train"])]
    pub(crate) train_sd15: bool,
    /// With --train-sd15: products in bf16. A config says it itself, as train.mixed_precision
    #[arg(long, requires = "train_sd15")]
    pub(crate) mixed_precision: bool,
    /// For programs that compare: a JSON line when ready, then one with the seconds for each line on stdin
    #[arg(long, hide = true)]
    pub(crate) serve: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Arch {
    /// Stable Diffusion v1.5
    Sd15,
}
