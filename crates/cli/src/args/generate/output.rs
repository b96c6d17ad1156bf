//! What is written and printed.

use std::path::PathBuf;

use clap::Args;

/// What is written and printed.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// File for one picture (replaced if it exists), folder for several [default: outputs/00000.png, counting up]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
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
