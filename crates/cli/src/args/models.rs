//! Arguments of `calotype models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Pull;

#[derive(Subcommand)]
pub(crate) enum Models {
    /// Say what a diffusers folder or a safetensors file is, and whether it is sound
    Inspect(Inspect),
    /// Download a model from the Hugging Face hub
    Pull(Pull),
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// A diffusers folder, or a safetensors file [default: the model inside this program]
    pub(crate) path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
