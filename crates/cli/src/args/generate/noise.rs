//! What a picture starts from.

use std::path::PathBuf;

use calotype::Request;
use clap::Args;

/// What a picture starts from.
#[derive(Args)]
#[command(next_help_heading = "Noise")]
pub(crate) struct NoiseArgs {
    /// Seed of the first picture; each one after has the next
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Starting noise: a safetensors file with one tensor `latents`, f32 (B, 4, h, w)
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
}

impl NoiseArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.seed = self.seed;
    }
}
