//! The sizes of pictures that a model can make.

use calotype_checkpoint::MAX_SIDE;
use calotype_models::{UNetConfig, VaeConfig};

use crate::{
    Error, PipelineOptions, Result,
    memory::{self, PassSize},
};

/// Checks that networks of these sizes can make such pictures, on this machine. Gives the arena that the UNet takes.
pub(crate) fn check_size(
    unet: &UNetConfig,
    vae: &VaeConfig,
    pass: &PassSize,
    options: PipelineOptions,
) -> Result<usize> {
    check_side("width", pass.width, vae.downscale(), "this model")?;
    check_side("height", pass.height, vae.downscale(), "this model")?;
    memory::check(unet, vae, pass, options)
}

pub(crate) fn check_side(name: &str, side: usize, multiple: usize, who: &str) -> Result<()> {
    let most = MAX_SIDE / multiple * multiple;
    if side > most {
        return Err(Error::Request(format!("{name} {side} is too large: give at most {most}")));
    }
    if side > 0 && side.is_multiple_of(multiple) {
        return Ok(());
    }
    let nearest = match side / multiple * multiple {
        0 => multiple.to_string(),
        below => format!("{below} or {}", below + multiple),
    };
    let problem = format!("{name} {side} is not a multiple of {multiple}, which {who} needs: give {nearest}");
    Err(Error::Request(problem))
}
