//! How noise becomes a picture.

use calotype::{Request, SamplerKind, ScheduleKind};
use clap::Args;

/// How noise becomes a picture.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Steps of the sampler: more are finer and slower
    #[arg(long, value_name = "N", default_value_t = 50, alias = "ddim_steps")]
    pub(crate) steps: usize,
    /// ddim, plms, euler, euler_a, heun, lms, dpmpp_2m or dpm_solver
    #[arg(long, value_name = "NAME", default_value_t = SamplerKind::Ddim)]
    pub(crate) sampler: SamplerKind,
    /// Noise levels: default, karras (not for ddim and plms) or compvis (for ddim, plms and dpm_solver,
    /// exactly as CompVis' scripts have them)
    #[arg(long, value_name = "NAME", default_value_t = ScheduleKind::Default)]
    pub(crate) schedule: ScheduleKind,
    /// Fresh noise of ddim, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0, alias = "ddim_eta")]
    pub(crate) eta: f64,
    /// How strongly the prompt pulls; 1 is without guidance, and twice as fast
    #[arg(long, value_name = "X", default_value_t = 7.5, aliases = ["scale", "cfg-scale"])]
    pub(crate) guidance_scale: f32,
    /// CompVis' name of --sampler plms
    #[arg(long, hide = true, conflicts_with = "sampler")]
    pub(crate) plms: bool,
    /// CompVis' name of --sampler dpm_solver
    #[arg(long = "dpm_solver", hide = true, conflicts_with_all = ["sampler", "plms"])]
    pub(crate) dpm_solver: bool,
}

impl SamplingArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.num_inference_steps = self.steps;
        request.sampler = match (self.plms, self.dpm_solver) {
            (true, _) => SamplerKind::Plms,
            (_, true) => SamplerKind::DpmSolver,
            _ => self.sampler,
        };
        request.schedule = self.schedule;
        request.eta = self.eta;
        request.guidance_scale = self.guidance_scale;
    }
}
