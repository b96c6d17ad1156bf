//! Marks: what images carry so that they are known to be generated.

use std::path::PathBuf;

use clap::Args;

use crate::args::SchemeArg;

/// Marks.
#[derive(Args)]
#[command(next_help_heading = "Marks of generated images")]
pub(crate) struct MarkArgs {
    /// The invisible watermark in the pixels, read by calotype watermark read. It is read back from each file before that is
    /// written, and made stronger if need be. Images smaller than 96 x 96 (of the other schemes, 256 x 256) stay without [default:
    /// tiled; remake: as it was]
    #[arg(long, value_name = "SCHEME", value_enum)]
    pub(crate) watermark: Option<SchemeArg>,
    /// No watermark
    #[arg(long, conflicts_with = "watermark")]
    pub(crate) no_watermark: bool,
    /// No metadata in the files: neither the parameters nor (XMP) that the image was generated
    #[arg(long)]
    pub(crate) no_metadata: bool,
    /// Sign the files with this private key (PEM), as C2PA has it: who made an image with what, and every later change, can be told.
    /// For a calotype built with --features c2pa
    #[arg(long, value_name = "FILE", requires = "sign_cert", conflicts_with = "no_metadata")]
    pub(crate) sign_key: Option<PathBuf>,
    /// The key's certificate and those that it comes from, without the root (PEM)
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    pub(crate) sign_cert: Option<PathBuf>,
}
