//! How noise becomes a picture.

use calotype::{Request, SamplerKind, ScheduleKind};
use clap::Args;

/// How noise becomes a picture.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Steps of the sampler: more are finer and slower (not used by dpm_adaptive)
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) steps: usize,
    /// The sampler, by its id below or its name in A1111, ComfyUI or diffusers ("DPM++ 2M")
    ///
    /// of CompVis:     ddim plms dpm_solver
    /// deterministic:  euler heun lms dpm_2 dpmpp_2m unipc ddim_cfgpp
    /// ancestral:      euler_a dpm_2_a dpmpp_2s_a dpm_fast dpm_adaptive
    /// stochastic:     dpmpp_sde dpmpp_2m_sde dpmpp_2m_sde_heun dpmpp_3m_sde restart lcm
    #[arg(long, value_name = "NAME", default_value_t = SamplerKind::Ddim, verbatim_doc_comment)]
    pub(crate) sampler: SamplerKind,
    /// Noise levels, by their id below or their name in A1111 ("SGM Uniform")
    ///
    /// default:        as diffusers has them for the sampler; where it has not, automatic
    /// automatic:      as A1111 has them for the sampler
    /// compvis:        as CompVis' scripts have them (ddim, plms, dpm_solver)
    /// of sigmas:      uniform karras exponential polyexponential sgm_uniform kl_optimal
    ///                 align_your_steps simple normal ddim beta
    ///                 (not for ddim, ddim_cfgpp, plms and dpm_solver)
    #[arg(long, value_name = "NAME", default_value_t = ScheduleKind::Default, verbatim_doc_comment)]
    pub(crate) schedule: ScheduleKind,
    /// Fresh noise of the steps, 0 to 1 [default: the sampler's own, 0 for ddim and 1 for others]
    #[arg(long, value_name = "X")]
    pub(crate) eta: Option<f64>,
    /// How strongly the prompt pulls; 1 is without guidance, and twice as fast
    #[arg(long, value_name = "X", default_value_t = 7.5)]
    pub(crate) guidance_scale: f32,
}

impl SamplingArgs {
    pub(super) fn apply(&self, request: &mut Request) {
        request.num_inference_steps = self.steps;
        request.sampler = self.sampler;
        request.schedule = self.schedule;
        request.eta = self.eta;
        request.guidance_scale = self.guidance_scale;
    }
}
