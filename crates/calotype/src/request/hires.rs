//! A second, larger pass; A1111's "hires. fix".

use calotype_image::{Interpolation, RgbImage, resize};
use serde::{Deserialize, Serialize};

use super::choices::choices;
use crate::Result;

/// A second pass over an enlarged first one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hires {
    /// Width in pixels of the larger picture; if 0, as the height says in the proportions of the first pass.
    pub width: usize,
    /// Height in pixels of the larger picture; if 0, as the width says.
    pub height: usize,
    /// Steps of the second pass, all of which are taken whatever its strength: they are the last of as many more as it
    /// says. Those of the first pass if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_inference_steps: Option<usize>,
    /// How much of the way from noise the second pass goes, 0 to 1.
    pub strength: f64,
    /// How the first pass's result is enlarged.
    pub upscaler: Upscaler,
    /// The name of a network that enlarges it in the place of that: the one that a run is given
    /// ([`RunOptions::upscaler`](crate::RunOptions::upscaler)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl Default for Hires {
    /// No size yet; A1111's strength 0.7 and `Latent`.
    fn default() -> Self {
        let upscaler = Upscaler::default();
        Self { width: 0, height: 0, num_inference_steps: None, strength: 0.7, upscaler, network: None }
    }
}

impl Hires {
    /// How latents are interpolated; none where pixels are enlarged.
    pub(crate) fn interpolation(&self) -> Option<Interpolation> {
        if self.network.is_some() { None } else { self.upscaler.interpolation() }
    }

    /// Width and height of the larger picture after a first pass of `[width, height]`.
    pub(crate) fn size(&self, [width, height]: [usize; 2], multiple: usize) -> [usize; 2] {
        let in_proportion =
            |side: usize, of: usize, to: usize| side.saturating_mul(to) / of.max(1) / multiple * multiple;
        match (self.width, self.height) {
            (0, high) => [in_proportion(high, height, width), high],
            (wide, 0) => [wide, in_proportion(wide, width, height)],
            (wide, high) => [wide, high],
        }
    }
}

choices! {
    /// How an image is enlarged between two passes.
    pub enum Upscaler("upscaler") = Latent {
        /// Latents, bilinear
        Latent = "latent",
        /// Latents, bilinear with antialiasing
        LatentAntialiased = "latent-antialiased",
        /// Latents, bicubic
        LatentBicubic = "latent-bicubic",
        /// Latents, bicubic with antialiasing
        LatentBicubicAntialiased = "latent-bicubic-antialiased",
        /// Latents, nearest
        LatentNearest = "latent-nearest",
        /// Latents, nearest by centres
        LatentNearestExact = "latent-nearest-exact",
        /// Pixels, Lanczos
        Lanczos = "lanczos",
        /// Pixels, nearest
        Nearest = "nearest",
    }

    /// Along which axes images go on at their other edge.
    pub enum Tiling("tiling") = None {
        /// Neither
        None = "none",
        /// From left to right
        X = "x",
        /// From top to bottom
        Y = "y",
        /// Both
        Xy = "xy",
    }
}

impl Upscaler {
    /// Every one, with A1111's name.
    pub const LABELS: [(Self, &'static str); 8] = [
        (Self::Latent, "Latent"),
        (Self::LatentAntialiased, "Latent (antialiased)"),
        (Self::LatentBicubic, "Latent (bicubic)"),
        (Self::LatentBicubicAntialiased, "Latent (bicubic antialiased)"),
        (Self::LatentNearest, "Latent (nearest)"),
        (Self::LatentNearestExact, "Latent (nearest-exact)"),
        (Self::Lanczos, "Lanczos"),
        (Self::Nearest, "Nearest"),
    ];

    /// A picture at a larger size, in pixels; by those of latents as by [`Self::Lanczos`].
    ///
    /// # Errors
    /// A side is 0.
    pub fn enlarge(self, picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
        if self != Self::Nearest {
            return Ok(resize(picture, width, height)?);
        }
        let mut large = RgbImage::filled(width, height, [0; 3]);
        let from = |at: u32, old: u32, new: u32| (u64::from(at) * u64::from(old) / u64::from(new)) as u32;
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            if let Some(rgb) = picture.pixel(from(x, picture.width(), width), from(y, picture.height(), height)) {
                large.set_pixel(x, y, rgb);
            }
        }
        Ok(large)
    }

    /// How latents are interpolated; none where pixels are.
    pub(crate) fn interpolation(self) -> Option<Interpolation> {
        Some(match self {
            Self::Latent => Interpolation::Bilinear { antialias: false },
            Self::LatentAntialiased => Interpolation::Bilinear { antialias: true },
            Self::LatentBicubic => Interpolation::Bicubic { antialias: false },
            Self::LatentBicubicAntialiased => Interpolation::Bicubic { antialias: true },
            Self::LatentNearest => Interpolation::Nearest,
            Self::LatentNearestExact => Interpolation::NearestExact,
            Self::Lanczos | Self::Nearest => return None,
        })
    }
}

impl Tiling {
    pub(crate) fn wrap(self) -> calotype_models::CircularPadding {
        calotype_models::CircularPadding {
            x: matches!(self, Self::X | Self::Xy),
            y: matches!(self, Self::Y | Self::Xy),
        }
    }
}
