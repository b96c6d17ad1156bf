//! The command line.

use std::path::PathBuf;

use calotype::{SamplerKind, ScheduleKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Stable Diffusion: pictures from text, and the training of models that make them.
#[derive(Parser)]
#[command(
    name = "calotype",
    version,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = "\
Examples:
  calotype txt2img \"an octopus on a yellow background\"
  calotype txt2img \"a cat\" --model ~/models/sd15 --steps 25 --sampler dpmpp_2m --schedule karras
  calotype models inspect ~/models/sd15

Exit status: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make pictures from a text
    Txt2img(Txt2img),
    /// Train a model on a folder of pictures
    #[command(subcommand)]
    Train(Train),
    /// Look at models
    #[command(subcommand)]
    Models(Models),
    /// Time the parts of a run on this machine
    Bench(Bench),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  calotype txt2img \"a red apple on a blue background\"
  calotype txt2img \"a dog\" --negative-prompt blurry --seed 7 --output dog.png
  calotype txt2img \"a dog\" --batch-size 4 --batch-count 2 --output dogs")]
pub(crate) struct Txt2img {
    /// What is to be seen
    pub(crate) prompt: String,
    /// Folder of a diffusers model [default: the model inside this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// What is not to be seen
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) negative_prompt: String,
    /// Steps of the sampler: more are finer and slower
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) steps: usize,
    /// ddim, plms, euler, euler_a, heun, lms or dpmpp_2m
    #[arg(long, value_name = "NAME", default_value_t = SamplerKind::Ddim)]
    pub(crate) sampler: SamplerKind,
    /// Noise levels: default or karras (not for ddim and plms)
    #[arg(long, value_name = "NAME", default_value_t = ScheduleKind::Default)]
    pub(crate) schedule: ScheduleKind,
    /// Fresh noise of ddim, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) eta: f64,
    /// How strongly the prompt pulls; 1 is without guidance, and twice as fast
    #[arg(long, value_name = "X", default_value_t = 7.5)]
    pub(crate) guidance_scale: f32,
    /// Width in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) width: Option<usize>,
    /// Height in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) height: Option<usize>,
    /// Seed of the first picture; each one after has the next
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Pictures made at once [default: 1, or as many as --latents has]
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// Batches, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) batch_count: usize,
    #[command(flatten)]
    pub(crate) compute: Compute,
    /// File for one picture (replaced if it exists), folder for several [default: outputs/00000.png, counting up]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Starting noise: a safetensors file with one tensor `latents`, f32 (B, 4, h, w)
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    /// Write the final latents of all pictures to a file of the same form
    #[arg(long, value_name = "FILE")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Print a JSON object for each picture
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar, no file names
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// How to compute.
#[derive(Args)]
pub(crate) struct Compute {
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Precision::Auto)]
    pub(crate) precision: Precision,
    /// How 3x3 convolutions with stride 1 are computed
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Convolution::Auto)]
    pub(crate) convolution: Convolution,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,
    /// Decode in bands of rows: the same picture in half of the memory, for large ones
    #[arg(long)]
    pub(crate) vae_tiling: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Precision {
    /// bf16 where the processor has instructions for it, else f32
    Auto,
    /// 32-bit floats
    F32,
    /// Weights and activations in bf16, sums in f32
    Bf16,
    /// Weights and activations in f16, sums in f32
    F16,
    /// The UNet's large products in 8 bits, the rest as bf16
    Int8,
}

impl Precision {
    /// What `auto` means here, and what the others say.
    pub(crate) fn resolve(self) -> Result<calotype::Precision, calotype::Error> {
        Ok(match self {
            Self::Auto => calotype::fastest_precision()?,
            Self::F32 => calotype::Precision::F32,
            Self::Bf16 => calotype::Precision::BF16,
            Self::F16 => calotype::Precision::F16,
            Self::Int8 => calotype::Precision::Int8,
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Convolution {
    /// By whichever method is faster for the shape
    Auto,
    /// As sums of products of inputs and weights
    Direct,
    /// By Winograd's minimal filtering, with fewer products (not for int8)
    Winograd,
}

impl From<Convolution> for calotype::Convolution {
    fn from(method: Convolution) -> Self {
        match method {
            Convolution::Auto => Self::Auto,
            Convolution::Direct => Self::Direct,
            Convolution::Winograd => Self::Winograd,
        }
    }
}

/// A number of threads, or of repetitions.
fn count(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("expected a number from 1 to {MOST}"))
}

#[derive(Subcommand)]
pub(crate) enum Train {
    /// Train an autoencoder: pictures to latents and back
    Autoencoder(TrainRun),
    /// Train latent diffusion with its text encoder
    Diffusion(TrainRun),
}

#[derive(Args)]
#[command(after_help = "\
Ctrl-C stops after the step under way and keeps a checkpoint; the same command with --resume goes on.")]
pub(crate) struct TrainRun {
    /// What to train, on what, and how
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: PathBuf,
    /// Go on from the last checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,
    /// No progress bar, no summary
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Models {
    /// Say what a diffusers folder or a safetensors file is, and whether it is sound
    Inspect(Inspect),
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// A diffusers folder, or a safetensors file [default: the model inside this program]
    pub(crate) path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Times the text encoder with two prompts, one UNet step with guidance (after a warm-up), and the
decoding of one picture, one network in memory at a time; with --train, training steps instead.
A profile says where each network spends its time, and how near each kind of operation comes to
the peak of this machine.

Examples:
  calotype bench --arch sd15
  calotype bench --arch sd15 --profile --repeat 1
  calotype bench --train examples/emoji/diffusion.toml
  calotype bench --width 64 --height 64")]
pub(crate) struct Bench {
    /// Networks of this size with random weights; no file is needed
    #[arg(long, value_name = "NAME", value_enum, conflicts_with = "model")]
    pub(crate) arch: Option<Arch>,
    /// Folder of a diffusers model [default: the model inside this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compute: Compute,
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
    #[arg(long, value_name = "NAME", value_enum)]
    pub(crate) part: Option<Part>,
    /// Training steps of a config of `calotype train diffusion`, on random latents and texts
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["arch", "model", "part"])]
    pub(crate) train: Option<PathBuf>,
    /// Training steps of Stable Diffusion v1.5's UNet: one picture of 512 x 512 pixels, blocks checkpointed
    #[arg(long, conflicts_with_all = ["arch", "model", "part", "train"])]
    pub(crate) train_sd15: bool,
    /// For programs that compare: a JSON line when ready, then one with the seconds for each line on stdin
    #[arg(long, hide = true)]
    pub(crate) serve: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    /// One UNet step with guidance
    Unet,
    /// The decoding of one picture
    Vae,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Arch {
    /// Stable Diffusion v1.5
    Sd15,
}
