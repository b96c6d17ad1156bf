//! The size of pictures, and how many.

use calotype::{Request, request::Tiling};
use clap::{Args, ValueEnum};

/// Size and number of images.
#[derive(Args)]
#[command(next_help_heading = "Picture")]
pub(crate) struct PictureArgs {
    /// Width in pixels, in multiples of 8 [default: the model's own, or that of --init-img]
    #[arg(long, value_name = "PIXELS", alias = "W")]
    pub(crate) width: Option<usize>,
    /// Height in pixels, in multiples of 8 [default: as --width]
    #[arg(long, value_name = "PIXELS", alias = "H")]
    pub(crate) height: Option<usize>,
    /// Images generated at once [default: 1, or as many as --latents has]
    #[arg(long, value_name = "N", alias = "n_samples")]
    pub(crate) batch_size: Option<usize>,
    /// Batches of each prompt, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, alias = "n_iter")]
    pub(crate) batch_count: usize,
    /// Seamless images, for tiles, in one direction or both (Tiling)
    #[arg(long, value_name = "AXES", value_enum, num_args = 0..=1, default_missing_value = "xy", require_equals = true)]
    pub(crate) tiling: Option<Axes>,
}

impl PictureArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.width = self.width;
        request.height = self.height;
        request.tiling = self.tiling.map_or(Tiling::None, Axes::tiling);
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Axes {
    /// From left to right
    X,
    /// From top to bottom
    Y,
    /// Both
    Xy,
}

impl Axes {
    fn tiling(self) -> Tiling {
        match self {
            Self::X => Tiling::X,
            Self::Y => Tiling::Y,
            Self::Xy => Tiling::Xy,
        }
    }
}
