//! What is written and printed.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::args::count;

/// What is written and printed.
#[derive(Args)]
#[command(next_help_heading = "Output", group = ArgGroup::new("grids").args(["grid", "skip_grid"]).multiple(true))]
pub(crate) struct OutputArgs {
    /// File for one picture (replaced if it exists; - is stdout), folder for several [default: outputs/00000.png, counting up]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// CompVis' name of a folder for --output
    #[arg(long, hide = true, conflicts_with = "output")]
    pub(crate) outdir: Option<PathBuf>,
    /// Write all pictures in one too: grid-0000.png, counting up
    #[arg(long)]
    pub(crate) grid: bool,
    /// Pictures in a row of the grid [default: --batch-size]
    #[arg(long, value_name = "N", requires = "grids", alias = "n_rows", value_parser = count)]
    pub(crate) n_rows: Option<usize>,
    /// CompVis' way to make no grid, as is usual here
    #[arg(long = "skip_grid", hide = true, overrides_with = "grid")]
    pub(crate) skip_grid: bool,
    /// Write the final latents of all pictures to a file of the same form as --latents
    #[arg(long, value_name = "FILE")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Print a JSON object for each picture
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar, no file names
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
