//! How noise becomes a picture.

use calotype::{Request, SamplerKind, ScheduleKind};
use clap::Args;

/// How noise becomes a picture.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Steps of the sampler (Sampling steps): more are finer and slower (not used by dpm_adaptive)
    #[arg(long, value_name = "N", default_value_t = 50, alias = "ddim_steps")]
    pub(crate) steps: usize,
    /// The sampler (Sampling method), by its id below or its name in A1111, ComfyUI or diffusers
    /// ("DPM++ 2M", also "DPM++ 2M Karras")
    ///
    /// of CompVis:     ddim plms dpm_solver
    /// deterministic:  euler heun lms dpm_2 dpmpp_2m unipc ddim_cfgpp
    /// ancestral:      euler_a dpm_2_a dpmpp_2s_a dpm_fast dpm_adaptive
    /// stochastic:     dpmpp_sde dpmpp_2m_sde dpmpp_2m_sde_heun dpmpp_3m_sde restart lcm
    #[arg(long, value_name = "NAME", default_value = SamplerKind::Ddim.id(), value_parser = NamedSampler::parse, verbatim_doc_comment)]
    pub(crate) sampler: NamedSampler,
    /// Noise levels (Schedule type), by their id below or their name in A1111 ("SGM Uniform")
    ///
    /// default:        as diffusers has them for the sampler; where it has not, automatic
    /// automatic:      as A1111 has them for the sampler
    /// compvis:        as CompVis' scripts have them (ddim, plms, dpm_solver)
    /// of sigmas:      uniform karras exponential polyexponential sgm_uniform kl_optimal
    ///                 align_your_steps simple normal ddim beta
    ///                 (not for ddim, ddim_cfgpp, plms and dpm_solver)
    ///
    /// [default: default]
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    pub(crate) schedule: Option<ScheduleKind>,
    /// Fresh noise of the steps (Eta for DDIM, for ancestral samplers), 0 to 1 [default: the sampler's own, 0 for ddim and 1 for others]
    #[arg(long, value_name = "X", alias = "ddim_eta")]
    pub(crate) eta: Option<f64>,
    /// How strongly the prompt pulls (CFG scale); 1 is without guidance, and twice as fast
    #[arg(long, value_name = "X", default_value_t = 7.5, aliases = ["scale", "cfg-scale"])]
    pub(crate) guidance_scale: f32,
    /// CompVis' name of --sampler plms
    #[arg(long, hide = true, conflicts_with = "sampler")]
    pub(crate) plms: bool,
    /// CompVis' name of --sampler dpm_solver
    #[arg(long = "dpm_solver", hide = true, conflicts_with_all = ["sampler", "plms"])]
    pub(crate) dpm_solver: bool,
}

/// A sampler, and the schedule that its name ends with, as A1111 wrote them before its version 1.9: "DPM++ 2M Karras".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NamedSampler {
    pub(crate) kind: SamplerKind,
    pub(crate) schedule: Option<ScheduleKind>,
}

impl NamedSampler {
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let (kind, schedule) = SamplerKind::parse_with_schedule(name).map_err(|error| error.to_string())?;
        Ok(Self { kind, schedule })
    }
}

impl SamplingArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.num_inference_steps = self.steps;
        request.sampler = match (self.plms, self.dpm_solver) {
            (true, _) => SamplerKind::Plms,
            (_, true) => SamplerKind::DpmSolver,
            _ => self.sampler.kind,
        };
        request.schedule = self.schedule.or(self.sampler.schedule).unwrap_or(ScheduleKind::Default);
        request.eta = self.eta;
        request.guidance_scale = self.guidance_scale;
    }
}
