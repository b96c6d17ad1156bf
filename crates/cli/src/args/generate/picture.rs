//! The size of pictures, and how many.

use calotype::{Request, request::Tiling};
use clap::Args;

use super::{Given, tiles::TileArgs};
use crate::args::choices::choices;

/// Size and number of images.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Picture")]
pub(crate) struct PictureArgs {
    #[command(flatten)]
    pub(crate) size: SizeArgs,
    #[command(flatten)]
    pub(crate) tiles: TileArgs,
    /// Images generated at once [default: 1, or as many as --latents has]
    #[arg(long, value_name = "N", alias = "n_samples")]
    pub(crate) batch_size: Option<usize>,
    /// Batches of each prompt, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, aliases = ["n_iter", "n-iter"])]
    pub(crate) batch_count: usize,
}

/// Size of an image.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Picture")]
pub(crate) struct SizeArgs {
    /// Width in pixels, in multiples of 8 [default: the model's own, or that of --init-img, whatever it is]
    #[arg(long, value_name = "PIXELS", alias = "W")]
    pub(crate) width: Option<usize>,
    /// Height in pixels, in multiples of 8 [default: as --width]
    #[arg(long, value_name = "PIXELS", alias = "H")]
    pub(crate) height: Option<usize>,
    /// Seamless images, for tiles, in one direction or both (Tiling)
    #[arg(long, value_name = "AXES", value_parser = choices(Tiling::CHOICES), num_args = 0..=1, default_missing_value = "xy", require_equals = true)]
    pub(crate) tiling: Option<Tiling>,
}

impl SizeArgs {
    pub(super) fn apply(&self, request: &mut Request, given: &Given) {
        given.set("width", &mut request.width, self.width);
        given.set("height", &mut request.height, self.height);
        given.set("tiling", &mut request.tiling, self.tiling.unwrap_or_default());
    }
}
