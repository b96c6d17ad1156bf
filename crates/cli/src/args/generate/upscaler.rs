//! Images enlarged by a network, in the midst of their making or after it.

use std::path::PathBuf;

use calotype::{
    CpuDevice, Request, RunOptions,
    upscale::{Target, Upscaler, UpscalerOptions},
};
use clap::Args;

use crate::failure::Failure;

/// Enlarging by a network.
#[derive(Args)]
#[command(next_help_heading = "Enlarge by a network")]
pub(crate) struct UpscalerArgs {
    /// A network (.pth or .safetensors; see calotype upscale): it enlarges between the passes of a hires fix, in the place of
    /// --hires-upscaler, else the finished images
    #[arg(long, value_name = "FILE")]
    pub(crate) upscaler: Option<PathBuf>,
    /// How many times as wide and high it makes finished images, after a hires fix too [default: as the network makes them]
    #[arg(long, value_name = "X", requires = "upscaler", value_parser = crate::args::upscale::scale)]
    pub(crate) upscale_by: Option<f64>,
}

impl UpscalerArgs {
    /// What a run is given for a request, and what this is asked for then.
    ///
    /// # Errors
    /// The file has no upscaler.
    pub(crate) fn open(&self, request: &mut Request, device: &CpuDevice) -> Result<RunOptions, Failure> {
        let Some(path) = &self.upscaler else { return Ok(RunOptions::default()) };
        let upscaler = Upscaler::open(device, path, UpscalerOptions::default())?;
        let upscale = match &mut request.hires {
            Some(hires) => {
                hires.network = Some(upscaler.name().to_owned());
                self.upscale_by.map(Target::Scale)
            }
            None => Some(self.upscale_by.map_or(Target::Native, Target::Scale)),
        };
        Ok(RunOptions { upscaler: Some(upscaler), upscale, ..RunOptions::default() })
    }
}
