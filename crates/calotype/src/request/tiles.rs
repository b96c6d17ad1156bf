//! Latents that are worked on in overlapping windows (MultiDiffusion, Bar-Tal et al. 2023; Mixture of Diffusers, Jiménez 2023).

use serde::{Deserialize, Serialize};

use super::choices::choices;
use crate::{Error, Result};

/// The widest window, in latent pixels.
const MAX_TILE: usize = 2048;
/// The most windows that go through the UNet at once.
const MAX_BATCH: usize = 256;
/// The most regions.
const MAX_REGIONS: usize = 64;

choices! {
    /// How the predictions of windows are weighed where they overlap.
    pub enum TileMethod("method of tiled diffusion") = MultiDiffusion {
        /// All alike
        MultiDiffusion = "multidiffusion",
        /// By a bell, the middle of a window more than its edges
        MixtureOfDiffusers = "mixture",
    }
}

impl TileMethod {
    /// Every one, with the name that A1111's extension "Tiled Diffusion" has.
    pub const LABELS: [(Self, &'static str); 2] =
        [(Self::MultiDiffusion, "MultiDiffusion"), (Self::MixtureOfDiffusers, "Mixture of Diffusers")];
}

/// Windows of the latents, each of which the UNet sees alone at every evaluation; what it predicts is averaged. The UNet's memory is
/// that of the windows, however large the image is. Where images go on at their other edge
/// ([`Request::tiling`](crate::Request::tiling)), windows do too: a panorama that closes on itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tiles {
    /// How they are weighed.
    pub method: TileMethod,
    /// Width of a window in latent pixels, of which most models have one for 8 of the image.
    pub width: usize,
    /// Height of a window in latent pixels.
    pub height: usize,
    /// By how many latent pixels windows overlap at least.
    pub overlap: usize,
    /// Windows that go through the UNet at once.
    pub batch_size: usize,
    /// Parts of the image with prompts of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
}

impl Default for Tiles {
    /// The defaults of A1111's extension.
    fn default() -> Self {
        Self { method: TileMethod::default(), width: 96, height: 96, overlap: 48, batch_size: 4, regions: Vec::new() }
    }
}

/// A part of the image with a prompt of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Region {
    /// What is to be seen there.
    pub prompt: String,
    /// What is not to be seen there; that of the request if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// Its left edge, as a part of the image's width.
    pub x: f64,
    /// Its upper edge, as a part of the image's height.
    pub y: f64,
    /// Its width, as a part of the image's.
    pub width: f64,
    /// Its height, as a part of the image's.
    pub height: f64,
    /// If given, it is laid over the rest, and its edges are mixed with it over so much of the way to its middle, 0 to 1; else it is
    /// averaged with the windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feather: Option<f64>,
}

impl Default for Region {
    /// All of the image.
    fn default() -> Self {
        Self { prompt: String::new(), negative_prompt: None, x: 0.0, y: 0.0, width: 1.0, height: 1.0, feather: None }
    }
}

impl Tiles {
    /// # Errors
    /// A value is out of range.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field, name: &str, value: &dyn std::fmt::Display, expected: String| {
            Err(Error::out_of_range(field, name, value, expected))
        };
        for (name, side) in [("tile width", self.width), ("tile height", self.height)] {
            if !(1..=MAX_TILE).contains(&side) {
                return refuse("tiles", name, &side, format!("1 to {MAX_TILE} latent pixels"));
            }
        }
        if self.overlap >= self.width.min(self.height) {
            let expected = format!("less than the tiles' sides, {} by {} latent pixels", self.width, self.height);
            return refuse("tiles", "tile overlap", &self.overlap, expected);
        }
        if !(1..=MAX_BATCH).contains(&self.batch_size) {
            return refuse("tiles", "tile batch size", &self.batch_size, format!("1 to {MAX_BATCH}"));
        }
        if self.regions.len() > MAX_REGIONS {
            return refuse("tiles", "number of regions", &self.regions.len(), format!("at most {MAX_REGIONS}"));
        }
        self.regions.iter().try_for_each(Region::check)
    }
}

impl Region {
    fn check(&self) -> Result<()> {
        let part = 0.0..=1.0;
        let fits = |start: f64, length: f64| {
            part.contains(&start) && length > 0.0 && length <= 1.0 && start + length <= 1.0 + 1e-6 && start < 1.0
        };
        if !(fits(self.x, self.width) && fits(self.y, self.height)) {
            let Self { x, y, width, height, .. } = self;
            let expected = "left, top, width and height as parts of the image, from 0 to 1 and within it";
            return Err(Error::out_of_range("tiles", "region", format!("{x},{y},{width},{height}"), expected));
        }
        match self.feather.filter(|feather| !part.contains(feather)) {
            Some(feather) => Err(Error::out_of_range("tiles", "feather of a region", feather, "0 to 1")),
            None => Ok(()),
        }
    }

    /// Its place in latents `[h, w]`: top, left, height, width.
    pub(crate) fn area(&self, [h, w]: [usize; 2]) -> [usize; 4] {
        let along = |start: f64, length: f64, extent: usize| {
            let all = extent as f64;
            let first = ((start * all) as usize).min(extent.saturating_sub(1));
            (first, ((length * all).ceil() as usize).clamp(1, extent - first))
        };
        let (top, height) = along(self.y, self.height, h);
        let (left, width) = along(self.x, self.width, w);
        [top, left, height, width]
    }
}
