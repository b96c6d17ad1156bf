//! Arguments of `calotype compare`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
#[command(after_help = "\
The first image is what the others are held to; all have one size. PSNR in dB, SSIM as
scikit-image has it (1 is equal), LPIPS 0.1 of VGG16 where its weights are given (0 is equal), and
with --seam how much more an image changes across the borders of tiles than elsewhere (1 where
none can be told).

Examples:
  calotype compare whole.png tiled.png --seam 512
  calotype compare photo.png a.png b.png --lpips vgg16.pth --lpips-heads lpips/weights/v0.1/vgg.pth")]
pub(crate) struct Compare {
    /// What the others are held to
    #[arg(value_name = "FILE")]
    pub(crate) first: PathBuf,
    /// Images to compare with it
    #[arg(required = true, value_name = "FILE")]
    pub(crate) others: Vec<PathBuf>,
    /// The weights of LPIPS' network: torchvision's VGG16, or one file with its heads
    #[arg(long, value_name = "FILE")]
    pub(crate) lpips: Option<PathBuf>,
    /// The heads of LPIPS: weights/v0.1/vgg.pth of the Python package lpips [default: in the file of --lpips]
    #[arg(long, value_name = "FILE", requires = "lpips")]
    pub(crate) lpips_heads: Option<PathBuf>,
    /// The side of the tiles that an image was made in, in its pixels
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) seam: Option<u32>,
    /// Print a JSON object for each image
    #[arg(long)]
    pub(crate) json: bool,
}
