//! Arguments of `calotype watermark`.

use std::path::PathBuf;

use calotype_safety::watermark::package::Scheme;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand)]
pub(crate) enum Watermark {
    /// Detect invisible watermarks
    Read(WatermarkRead),
    /// Write an invisible watermark into an image
    Write(WatermarkWrite),
}

#[derive(Args)]
#[command(after_help = "\
Looks for the tiled watermark, also after the image was cropped, scaled or brightened, and for
those of Stable Diffusion's scripts (dwtDct, dwtDctSvd) with most of --text in them. With
--rivagan also for rivaGan's 32 bits. A network reads some bits in every image, so that this
mark is found only where most are those of --rivagan-bits.

Exit status: 0 every image has a watermark, 1 an image has none or can't be read.

Examples:
  calotype watermark read outputs/00000.png
  calotype watermark read --json *.jpg")]
pub(crate) struct WatermarkRead {
    /// PNG, JPEG or WebP images
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The expected text of dwtDct and dwtDctSvd
    #[arg(long, value_name = "TEXT", default_value = calotype_safety::watermark::package::DEFAULT_TEXT)]
    pub(crate) text: String,
    /// The weights of rivaGan: rivagan_decoder.onnx of the Python package invisible-watermark
    #[arg(long, value_name = "FILE")]
    pub(crate) rivagan: Option<PathBuf>,
    /// The expected bits of rivaGan, 8 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = bits, requires = "rivagan")]
    pub(crate) rivagan_bits: Option<u32>,
    /// Faster: finds the watermark only if the image was at most cropped or compressed
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  calotype watermark write photo.jpg --output marked.png
  calotype watermark write photo.png --output marked.png --scheme dwtDctSvd --text StableDiffusionV1")]
pub(crate) struct WatermarkWrite {
    /// A PNG, JPEG or WebP image
    pub(crate) file: PathBuf,
    /// The PNG to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The watermark scheme
    #[arg(long, value_name = "SCHEME", value_enum, default_value_t = SchemeArg::Tiled)]
    pub(crate) scheme: SchemeArg,
    /// The id of a tiled watermark, 16 hexadecimal digits [default: a random one]
    #[arg(long, value_name = "HEX", value_parser = id)]
    pub(crate) id: Option<u64>,
    /// The text of the other schemes
    #[arg(long, value_name = "TEXT", default_value = calotype_safety::watermark::package::DEFAULT_TEXT)]
    pub(crate) text: String,
}

/// The schemes that can be written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemeArg {
    /// Survives cropping, scaling and JPEG; carries an id
    Tiled,
    /// That of CompVis' scripts; lost after cropping, scaling or JPEG
    #[value(name = "dwtDct")]
    DwtDct,
    /// The stronger scheme of the same package; lost after cropping or scaling
    #[value(name = "dwtDctSvd")]
    DwtDctSvd,
}

impl SchemeArg {
    /// The package's scheme; none for our own.
    pub(crate) fn package(self) -> Option<Scheme> {
        match self {
            Self::Tiled => None,
            Self::DwtDct => Some(Scheme::DwtDct),
            Self::DwtDctSvd => Some(Scheme::DwtDctSvd),
        }
    }
}

/// An id of a tiled watermark.
pub(crate) fn id(text: &str) -> Result<u64, String> {
    hexadecimal(text, 16)
}

/// The bits of rivaGan.
fn bits(text: &str) -> Result<u32, String> {
    let bits = hexadecimal(text, 8)?;
    u32::try_from(bits).map_err(|error| error.to_string())
}

fn hexadecimal(text: &str, digits: usize) -> Result<u64, String> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if is_number { u64::from_str_radix(text, 16).ok() } else { None };
    number.ok_or_else(|| format!("expected {digits} hexadecimal digits"))
}
