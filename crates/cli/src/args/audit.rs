//! Arguments of `calotype audit`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::watermark::id;

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Check the hash chain of an audit log
    Verify(AuditVerify),
    /// Find the log lines of an image
    Search(AuditSearch),
    /// Print a log's lines as one JSON array or as CSV, after verifying it
    Export(AuditExport),
}

#[derive(Args)]
#[command(after_help = "\
Exit status: 0 no fault was found, 1 a line is changed, missing or in the wrong place.")]
pub(crate) struct AuditVerify {
    /// The log
    #[arg(value_name = "LOG")]
    pub(crate) file: PathBuf,
    /// A file of earlier heads, kept elsewhere: it shows whether lines are missing at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("query").required(true).multiple(false), after_help = "\
Exit status: 0 something was found, 1 nothing.

Examples:
  calotype audit search audit.jsonl --watermark 0123456789abcdef
  calotype audit search audit.jsonl --picture found.png")]
pub(crate) struct AuditSearch {
    /// The log
    #[arg(value_name = "LOG")]
    pub(crate) file: PathBuf,
    /// The id of a tiled watermark, 16 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = id, group = "query")]
    pub(crate) watermark: Option<u64>,
    /// An image, which is found by its file's hash or its pixels'
    #[arg(long, value_name = "FILE", group = "query")]
    pub(crate) picture: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct AuditExport {
    /// The log
    #[arg(value_name = "LOG")]
    pub(crate) file: PathBuf,
    /// A file of earlier heads, kept elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
    /// Print CSV with a column for each member
    #[arg(long)]
    pub(crate) csv: bool,
}
