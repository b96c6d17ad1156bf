//! Arguments of `calotype review`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Review {
    /// List the images that are held
    List(ReviewList),
    /// Show what is known of held images
    Show(ReviewShow),
    /// Give held images out: each takes the place of its blurred copy
    Release(ReviewRelease),
    /// Remove held images; their blurred copies stay
    Reject(ReviewDecide),
}

#[derive(Args)]
#[command(after_help = "\
Images are held by --safety hold, or by a policy file with action = \"hold\".

Example:
  calotype review list outputs/")]
pub(crate) struct ReviewList {
    /// Folders of held images, or of images with a folder held in it
    #[arg(required = true, value_name = "FOLDER")]
    pub(crate) folders: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ReviewShow {
    #[command(flatten)]
    pub(crate) which: HeldArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "\
The decision is in the audit log before the image is there. An image whose blurred copy was
replaced meanwhile is not released over what is there: give --output.

Example:
  calotype review release outputs/ 0123456789abcdef --reason \"a statue\"")]
pub(crate) struct ReviewRelease {
    #[command(flatten)]
    pub(crate) decide: ReviewDecide,
    /// Write the image to this new file and leave the blurred copy where it is
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ReviewDecide {
    #[command(flatten)]
    pub(crate) which: HeldArgs,
    /// Who decides, for the audit log [default: the user's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The audit log [default: the one that has the line of the image]
    #[arg(long, value_name = "LOG")]
    pub(crate) audit: Option<PathBuf>,
}

/// Which held images.
#[derive(Args)]
pub(crate) struct HeldArgs {
    /// The folder of held images, or of images with a folder held in it
    pub(crate) folder: PathBuf,
    /// Ids as calotype review list shows them, or what they begin with
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}
