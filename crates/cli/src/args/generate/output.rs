//! Output: files and messages.

use std::path::PathBuf;

use calotype_image::FileFormat;
use clap::{ArgGroup, Args};

use crate::args::count;

/// Output.
#[derive(Args)]
#[command(next_help_heading = "Output", group = ArgGroup::new("grids").args(["grid", "skip_grid"]).multiple(true))]
pub(crate) struct OutputArgs {
    /// File for one image (.png, .jpg or .webp; replaced if it exists; - is stdout), folder for several [default:
    /// outputs/00000.png, counting up]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// CompVis' name of a folder for --output
    #[arg(long, hide = true, conflicts_with = "output")]
    pub(crate) outdir: Option<PathBuf>,
    /// Format of the files: png, jpg or webp (which is without loss) [default: as --output ends, else png]
    #[arg(long, value_name = "NAME", value_parser = format)]
    pub(crate) format: Option<FileFormat>,
    /// Quality of JPEG files, 1 to 100 [default: 95]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
    /// Also write all images as one grid: grid-0000.png, counting up
    #[arg(long)]
    pub(crate) grid: bool,
    /// Images in a row of the grid [default: --batch-size]
    #[arg(long, value_name = "N", requires = "grids", alias = "n_rows", value_parser = count)]
    pub(crate) n_rows: Option<usize>,
    /// Accepted for CompVis' scripts: no grid is the default
    #[arg(long = "skip_grid", hide = true, overrides_with = "grid")]
    pub(crate) skip_grid: bool,
    /// Write the final latents of all images to a file, in the format of --latents
    #[arg(long, value_name = "FILE")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Print a JSON object for each image
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar, no file names
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn format(name: &str) -> Result<FileFormat, String> {
    let found = FileFormat::ALL.into_iter().find(|format| format.endings().contains(&name.to_lowercase().as_str()));
    found.ok_or_else(|| "expected png, jpg or webp".to_owned())
}
