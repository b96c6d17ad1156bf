//! Safety: what is refused, what is done with images by what they show, and the record of both.

use std::path::PathBuf;

use clap::Args;

/// Safety.
#[derive(Args)]
#[command(next_help_heading = "Safety")]
pub(crate) struct SafetyArgs {
    /// What to do with images that a classifier flags: off, flag (say so), blur, hold (blur, and keep the image apart for calotype
    /// review) or block, by Stable Diffusion's safety checker; or a policy file (.toml). Images to start from are checked too
    /// [default: off]
    #[arg(long, value_name = "POLICY")]
    pub(crate) safety: Option<String>,
    /// The safety checker for flag, blur, hold and block: its folder or file [default: the folder safety_checker of the model]
    #[arg(long, value_name = "PATH", requires = "safety")]
    pub(crate) safety_checker: Option<PathBuf>,
    /// Write the scores, thresholds and the verdict into the metadata of images
    #[arg(long, requires = "safety")]
    pub(crate) safety_scores: bool,
    /// The folder for images that are held [default: held, beside the images]
    #[arg(long, value_name = "FOLDER", requires = "safety")]
    pub(crate) held: Option<PathBuf>,
    /// Refuse prompts by a file of rules (.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Write a line to this audit log for every image, before its file is there, and for every refusal
    #[arg(long, value_name = "LOG")]
    pub(crate) audit: Option<PathBuf>,
    /// Keep the SHA-256 of prompts in the audit log, not their text
    #[arg(long, requires = "audit")]
    pub(crate) audit_hash_prompts: bool,
    /// Accept the model's licence without being asked: its use restrictions are shown once
    #[arg(long)]
    pub(crate) accept_license: bool,
}
