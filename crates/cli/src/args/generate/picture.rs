//! The size of pictures, and how many.

use calotype::Request;
use clap::Args;

/// The size of pictures, and how many.
#[derive(Args)]
#[command(next_help_heading = "Picture")]
pub(crate) struct PictureArgs {
    /// Width in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) width: Option<usize>,
    /// Height in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) height: Option<usize>,
    /// Pictures made at once [default: 1, or as many as --latents has]
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// Batches, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) batch_count: usize,
}

impl PictureArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.width = self.width;
        request.height = self.height;
    }
}
