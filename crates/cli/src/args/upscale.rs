//! Arguments of `calotype upscale`.

use std::path::PathBuf;

use calotype::{Precision, upscale::Target};
use clap::Args;

use super::{
    choices::{Choice, choices},
    count,
};

const PRECISIONS: &[Choice<Precision>] = &[
    (Precision::F32, "f32", "32-bit floats"),
    (Precision::BF16, "bf16", "Weights and activations in bf16, sums in f32: faster, some values a level or two off"),
    (Precision::F16, "f16", "Weights and activations in f16, sums in f32"),
];

#[derive(Args)]
#[command(after_help = "\
Networks: ESRGAN (as ESRGAN, BSRGAN, Real-ESRGAN and ESRGAN+ write it), Real-ESRGAN Compact, SPAN,
SwinIR and HAT, told by their tensors; PyTorch's files or safetensors. Grey images, alpha and 16 bits
stay what they are. What an image says of how it was made goes along.

Examples:
  calotype upscale photo.jpg --model RealESRGAN_x4plus.pth
  calotype upscale outputs/ --model 4x-UltraSharp.pth --scale 2 --output large/
  calotype upscale scan.png --model a.pth --model2 b.pth --blend 0.3 --output scan-large.png")]
pub(crate) struct Upscale {
    /// Images, or folders of them: PNG, JPEG, WebP, GIF, BMP or TIFF
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub(crate) files: Vec<PathBuf>,
    /// The network: a .pth or .safetensors file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// How many times as wide and high [default: as the network makes it]
    #[arg(long, value_name = "X", value_parser = scale, conflicts_with = "size")]
    pub(crate) scale: Option<f64>,
    /// Width and height, of which the middle is taken where the image has another ratio; one of them may be 0
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<[u32; 2]>,
    /// A second network, whose result is mixed in
    #[arg(long, value_name = "FILE", requires = "blend")]
    pub(crate) model2: Option<PathBuf>,
    /// The share of the second network, 0 to 1
    #[arg(long, value_name = "SHARE", requires = "model2", value_parser = share)]
    pub(crate) blend: Option<f32>,
    /// The longest side of a tile in pixels of the image; 0: no tiles [default: as memory allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=16384))]
    pub(crate) tile: Option<u32>,
    /// Pixels around a tile that are seen with it [default: as far as the network sees, at most 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1024))]
    pub(crate) overlap: Option<u32>,
    /// PNG file for one image (replaced if it exists), folder for several [default: outputs/NAME-4x.png]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Print a JSON object for each image
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar, no file names
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", value_parser = choices(PRECISIONS), default_value = "f32", help_heading = "Compute")]
    pub(crate) precision: Precision,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Compute")]
    pub(crate) threads: Option<usize>,
}

impl Upscale {
    /// How large the images are to be.
    pub(crate) fn target(&self) -> Target {
        match (self.scale, self.size) {
            (Some(scale), _) => Target::Scale(scale),
            (None, Some(size)) => Target::Size(size),
            (None, None) => Target::Native,
        }
    }
}

/// A factor.
pub(crate) fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale: &f64| (0.01..=64.0).contains(scale));
    scale.ok_or_else(|| "expected a number from 0.01 to 64".to_owned())
}

/// A share.
fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().ok().filter(|share: &f32| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// `1920x1080`, or `0x1080`.
fn size(text: &str) -> Result<[u32; 2], String> {
    let expected = || "expected width x height, as 1920x1080; one of them may be 0".to_owned();
    let (width, height) = text.split_once(['x', 'X', '×']).ok_or_else(expected)?;
    match (width.parse(), height.parse()) {
        (Ok(width), Ok(height)) if width > 0 || height > 0 => Ok([width, height]),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_factors_are_read() {
        assert_eq!(size("1920x1080"), Ok([1920, 1080]));
        assert_eq!([size("0X9"), size("9×0")], [Ok([0, 9]), Ok([9, 0])]);
        for text in ["", "9", "0x0", "9x", "x9", "-1x9", "9x9x9", "1.5x2"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(scale("2.5"), Ok(2.5));
        for text in ["0", "-1", "nan", "inf", "65", "x"] {
            assert!(scale(text).is_err(), "{text}");
        }
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(share("1.1").is_err() && share("nan").is_err());
    }
}
