//! Arguments of `calotype models`.

use std::path::PathBuf;

use calotype::checkpoint::{ConvertTo, DType};
use clap::{Args, Subcommand};

use super::{
    Pull,
    choices::{Choice, choices},
    model::ModelOptionArgs,
};

const LAYOUTS: &[Choice<ConvertTo>] = &[
    (ConvertTo::Diffusers, "diffusers", "A folder as diffusers has it"),
    (ConvertTo::CompVis, "compvis", "One safetensors file as CompVis and A1111 have it, and its YAML config"),
];

const DTYPES: &[Choice<DType>] =
    &[(DType::F32, "f32", "32-bit floats"), (DType::F16, "f16", "16-bit floats"), (DType::BF16, "bf16", "bfloat16")];

#[derive(Subcommand)]
pub(crate) enum Models {
    /// Show what a checkpoint, a diffusers folder or a file of weights is
    Inspect(Inspect),
    /// Download a model from the Hugging Face hub
    Pull(Pull),
    /// Read every number of a model and check it: shapes, finite values, hash
    Verify(Verify),
    /// Convert a model to another layout or number type, as safetensors
    Convert(Convert),
    /// List the models on this machine
    List(List),
    /// Show a model's licence and its use restrictions, and accept it
    License(LicenseArgs),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  calotype models inspect sd-v1-4.ckpt
  calotype models inspect style.safetensors --json
  calotype models inspect style.safetensors --model sd-v1-4.ckpt")]
pub(crate) struct Inspect {
    /// A checkpoint, a diffusers folder, an adapter, or any file of weights [default: the model inside this program]
    pub(crate) path: Option<PathBuf>,
    /// The model that an adapter is to be tried with: which of its tensors have a place there
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: ModelOptionArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// A checkpoint, a diffusers folder, or any file of weights
    pub(crate) path: PathBuf,
    /// The SHA-256 it must have, 64 hexadecimal digits [default: from PATH.sha256, if it exists]
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    #[command(flatten)]
    pub(crate) options: ModelOptionArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
#[command(after_help = "\
What is written is what is computed with: one set of weights, no optimiser. Without --dtype
every bit stays as it is.

Examples:
  calotype models convert sd-v1-4.ckpt --to diffusers --output sd14
  calotype models convert v1-5-pruned.ckpt --to compvis --output v1-5.safetensors --dtype f16
  calotype models convert vae.ckpt --to diffusers --output vae")]
pub(crate) struct Convert {
    /// A checkpoint, a diffusers folder, or one network of either
    pub(crate) path: PathBuf,
    /// The layout to write
    #[arg(long, value_name = "LAYOUT", value_parser = choices(LAYOUTS))]
    pub(crate) to: ConvertTo,
    /// Folder (diffusers) or file (compvis) to write, which must not be there yet
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Number type to write [default: as in the input]
    #[arg(long, value_name = "TYPE", value_parser = choices(DTYPES))]
    pub(crate) dtype: Option<DType>,
    #[command(flatten)]
    pub(crate) options: ModelOptionArgs,
    /// No progress bar
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
#[command(after_help = "\
Without folders: $CALOTYPE_MODELS (or ~/.local/share/calotype/models), ./models, A1111's and
ComfyUI's trees in the home folder, and the cache of the Hugging Face hub.")]
pub(crate) struct List {
    /// Folders to look in: A1111's or ComfyUI's own (extra_model_paths.yaml is followed), a hub cache, any other
    pub(crate) folders: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "\
What is accepted is noted in $XDG_DATA_HOME/calotype/licenses.json (or ~/.local/share/calotype).")]
pub(crate) struct LicenseArgs {
    /// A checkpoint or a diffusers folder [default: the model inside this program]
    pub(crate) path: Option<PathBuf>,
    /// Accept it
    #[arg(long)]
    pub(crate) accept: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
