//! Which model.

use std::path::PathBuf;

use clap::Args;

/// Which model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Folder of a diffusers model, or a pulled one as org/name [default: the model inside this program]
    #[arg(long, value_name = "DIR", alias = "ckpt")]
    pub(crate) model: Option<PathBuf>,
}
