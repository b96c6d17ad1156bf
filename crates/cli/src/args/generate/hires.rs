//! A second, larger pass.

use calotype::{Hires, Upscaler};
use clap::{Args, ValueEnum};

/// A second, larger pass.
#[derive(Args)]
#[command(next_help_heading = "Second, larger pass (hires fix)")]
pub(crate) struct HiresArgs {
    /// Make the picture anew, so many times as large (Upscale by)
    #[arg(long, value_name = "X", value_parser = scale)]
    pub(crate) hires_scale: Option<f64>,
    /// Make the picture anew at this size (Resize width to, Resize height to): what is too much of it is cut off at its
    /// sides; 0 for one in the proportions of the other
    #[arg(long, value_name = "WxH", value_parser = size, conflicts_with = "hires_scale")]
    pub(crate) hires_size: Option<[usize; 2]>,
    /// Steps of the second pass (Hires steps), taken whatever its strength [default: --steps]
    #[arg(long, value_name = "N")]
    pub(crate) hires_steps: Option<usize>,
    /// How far the enlarged picture may change (Denoising strength), above 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.7)]
    pub(crate) hires_strength: f64,
    /// How the picture is enlarged (Upscaler)
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Enlarge::Latent)]
    pub(crate) hires_upscaler: Enlarge,
}

impl HiresArgs {
    /// Of pictures of this size, for a model that makes multiples of `multiple`.
    pub(crate) fn hires(&self, [width, height]: [usize; 2], multiple: usize) -> Option<Hires> {
        let scaled = |side: usize, scale: f64| (side as f64 * scale) as usize / multiple.max(1) * multiple;
        let [width, height] =
            self.hires_size.or(self.hires_scale.map(|scale| [scaled(width, scale), scaled(height, scale)]))?;
        let (num_inference_steps, strength) = (self.hires_steps, self.hires_strength);
        Some(Hires { width, height, num_inference_steps, strength, upscaler: self.hires_upscaler.upscaler() })
    }
}

fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale| (1.0..=16.0).contains(scale));
    scale.ok_or_else(|| "expected a number from 1 to 16".to_owned())
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides.ok_or_else(|| "expected a size such as 1024x768".to_owned())
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Enlarge {
    /// Latents, bilinear
    Latent,
    /// Latents, bilinear with antialiasing
    LatentAntialiased,
    /// Latents, bicubic
    LatentBicubic,
    /// Latents, bicubic with antialiasing
    LatentBicubicAntialiased,
    /// Latents, nearest
    LatentNearest,
    /// Latents, nearest by centres
    LatentNearestExact,
    /// Pixels, Lanczos
    Lanczos,
    /// Pixels, nearest
    Nearest,
}

impl Enlarge {
    fn upscaler(self) -> Upscaler {
        match self {
            Self::Latent => Upscaler::Latent,
            Self::LatentAntialiased => Upscaler::LatentAntialiased,
            Self::LatentBicubic => Upscaler::LatentBicubic,
            Self::LatentBicubicAntialiased => Upscaler::LatentBicubicAntialiased,
            Self::LatentNearest => Upscaler::LatentNearest,
            Self::LatentNearestExact => Upscaler::LatentNearestExact,
            Self::Lanczos => Upscaler::Lanczos,
            Self::Nearest => Upscaler::Nearest,
        }
    }
}
