//! The command line.

mod audit;
mod bench;
mod choices;
mod compare;
mod compute;
mod device;
mod elsewhere;
mod generate;
mod info;
mod keys;
mod model;
mod models;
mod pull;
mod review;
mod serve;
mod train;
pub(crate) mod upscale;
mod watermark;

use clap::{Parser, Subcommand};

pub(crate) use audit::{Audit, AuditExport, AuditSearch, AuditVerify};
pub(crate) use bench::{Arch, Bench};
pub(crate) use compare::Compare;
pub(crate) use compute::{Compute, PictureCompute};
pub(crate) use device::{DeviceArg, DeviceArgs, Devices, device};
pub(crate) use elsewhere::owners;
pub(crate) use generate::{
    GenerateArgs, Img2img, InpaintCommand, LineArgs, MarkArgs, Outpaint, OutputArgs, PromptArgs, Remake, SafetyArgs,
    Txt2img,
};
pub(crate) use info::Info;
pub(crate) use keys::{DataFolder, Keys, KeysList, KeysNew, KeysRevoke, KeysSigning};
pub(crate) use model::ModelArgs;
pub(crate) use models::{Convert, Inspect, LicenseArgs, List, Models, Verify};
pub(crate) use pull::Pull;
pub(crate) use review::{Review, ReviewDecide, ReviewList, ReviewRelease, ReviewShow};
pub(crate) use serve::{Health, Serve};
pub(crate) use train::{Train, TrainRun};
pub(crate) use upscale::Upscale;
pub(crate) use watermark::{SchemeArg, Watermark, WatermarkRead, WatermarkWrite};

/// Stable Diffusion: generate images from text, and train models.
#[derive(Parser)]
#[command(
    name = "calotype",
    version,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100,
    after_help = "\
Examples:
  calotype txt2img \"a fox on a blue background\"
  calotype txt2img \"a cat\" --model ~/models/sd15 --steps 25 --sampler dpmpp_2m --schedule karras
  calotype models inspect ~/models/sd15

Exit status: 0 done, 1 failed, 2 wrong use, 130 stopped by Ctrl-C."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log what is done and how long it takes to stderr: error, warn, info, debug, trace, or parts such as calotype=debug
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Log")]
    pub(crate) log: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Generate images from text
    Txt2img(Box<Txt2img>),
    /// Generate images from text and an image
    Img2img(Box<Img2img>),
    /// Inpaint part of an image
    Inpaint(Box<InpaintCommand>),
    /// Extend an image at its sides
    Outpaint(Box<Outpaint>),
    /// Generate an image again from the metadata in its file
    Remake(Box<Remake>),
    /// Enlarge images by a network
    Upscale(Box<Upscale>),
    /// Compare images by numbers
    Compare(Compare),
    /// Show what images say of how they were made
    Info(Info),
    /// Train a model on a folder of images
    #[command(subcommand)]
    Train(Train),
    /// Inspect, download, verify and convert models
    #[command(subcommand)]
    Models(Models),
    /// Read and write invisible watermarks in images
    #[command(subcommand)]
    Watermark(Watermark),
    /// Check and search the audit log of generated images
    #[command(subcommand)]
    Audit(Audit),
    /// Decide on images that a policy holds
    #[command(subcommand)]
    Review(Review),
    /// Serve images over HTTP, with a page in the browser
    Serve(Serve),
    /// Ask a server whether it is ready
    Health(Health),
    /// Make keys for the server, and for signing images
    #[command(subcommand)]
    Keys(Keys),
    /// List what there is to compute on
    Devices(Devices),
    /// Measure the speed of this machine
    Bench(Bench),
}

/// A number of threads, or of repetitions.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    const MOST: usize = 1024;
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("expected a number from 1 to {MOST}"))
}
