//! Latents in overlapping windows.

use calotype::{
    Request,
    request::{Region, TileMethod, Tiles},
};
use clap::Args;

use super::Given;
use crate::args::choices::choices;

/// Tiled diffusion.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Tiled diffusion")]
pub(crate) struct TileArgs {
    /// Let the UNet see overlapping windows of a large picture, whose predictions are averaged: its memory is that of the windows.
    /// With --tiling they go on at the other edge (a panorama)
    #[arg(long, value_name = "METHOD", value_parser = choices(TileMethod::CHOICES), num_args = 0..=1, default_missing_value = "multidiffusion", require_equals = true)]
    pub(crate) tiled_diffusion: Option<TileMethod>,
    /// Width of a window in latent pixels, of 8 pixels each [default: 96]
    #[arg(long, value_name = "N")]
    pub(crate) tile_width: Option<usize>,
    /// Height of a window in latent pixels [default: 96]
    #[arg(long, value_name = "N")]
    pub(crate) tile_height: Option<usize>,
    /// By how many latent pixels windows overlap at least [default: 48]
    #[arg(long, value_name = "N")]
    pub(crate) tile_overlap: Option<usize>,
    /// Windows that go through the UNet at once [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) tile_batch_size: Option<usize>,
    /// A part of the picture with a prompt of its own: left, top, width and height as parts of the picture's, such as
    /// "0,0,0.5,1=a red house". With a fifth number it is laid over the rest, its edges mixed over so much of the way to its middle
    /// ("0.3,0.3,0.4,0.4,0.2=a fox"). Any number of them
    #[arg(long, value_name = "BOX=PROMPT", value_parser = region)]
    pub(crate) region: Vec<Region>,
}

impl TileArgs {
    pub(super) fn apply(&self, request: &mut Request, given: &Given) {
        let Self { tiled_diffusion, tile_width, tile_height, tile_overlap, tile_batch_size, region } = self;
        let sizes = [tile_width, tile_height, tile_overlap, tile_batch_size];
        let is_asked = tiled_diffusion.is_some() || !region.is_empty() || sizes.iter().any(|size| size.is_some());
        let defaults = Tiles::default();
        let [width, height] = [tile_width.unwrap_or(defaults.width), tile_height.unwrap_or(defaults.height)];
        let tiles = || Tiles {
            method: tiled_diffusion.unwrap_or_default(),
            width,
            height,
            // Half of small windows.
            overlap: tile_overlap.unwrap_or_else(|| defaults.overlap.min(width.min(height) / 2)),
            batch_size: tile_batch_size.unwrap_or(defaults.batch_size),
            regions: region.clone(),
        };
        given.set("tiled_diffusion", &mut request.tiles, is_asked.then(tiles));
    }
}

/// Reads `0,0,0.5,1=a red house`.
fn region(text: &str) -> Result<Region, String> {
    let expected = "expected left,top,width,height=prompt with parts of the picture, such as 0,0,0.5,1=a red house";
    let (place, prompt) = text.split_once('=').ok_or(expected)?;
    let numbers: Vec<f64> =
        place.split(',').map(|number| number.trim().parse().map_err(|_| expected)).collect::<Result<_, _>>()?;
    let (x, y, width, height, feather) = match numbers[..] {
        [x, y, width, height] => (x, y, width, height, None),
        [x, y, width, height, feather] => (x, y, width, height, Some(feather)),
        _ => return Err(expected.to_owned()),
    };
    Ok(Region { prompt: prompt.to_owned(), negative_prompt: None, x, y, width, height, feather })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    #[test]
    fn regions_are_read() {
        let read = region("0, 0,0.5,1=a house = red").unwrap();
        assert_eq!((read.prompt.as_str(), read.width, read.height, read.feather), ("a house = red", 0.5, 1.0, None));
        assert_eq!(region("0.3,0.3,0.4,0.4,0.2=a fox").unwrap().feather, Some(0.2));
        for wrong in ["a fox", "0,0,1=a fox", "0,0,1,x=a fox", "0,0,1,1,1,1=a fox"] {
            assert!(region(wrong).unwrap_err().starts_with("expected left,top"), "{wrong}");
        }
    }
}
