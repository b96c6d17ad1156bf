//! How noise becomes a picture.

use calotype::{
    Request,
    sampling::{SAMPLERS, SCHEDULES, SamplerFeature, SamplerInfo, SamplerKind, ScheduleKind, StepNoise},
};
use clap::Args;

use super::Given;

/// How noise becomes a picture.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Steps of the sampler (Sampling steps): more are finer and slower (not used by dpm_adaptive)
    #[arg(long, value_name = "N", default_value_t = 50, alias = "ddim_steps")]
    pub(crate) steps: usize,
    /// The sampler (Sampling method), by its id below or its name in A1111, ComfyUI or diffusers
    /// ("DPM++ 2M", also "DPM++ 2M Karras")
    #[arg(long, alias = "sampler-name", value_name = "NAME", default_value = SamplerKind::Ddim.id(), value_parser = NamedSampler::parse, verbatim_doc_comment, long_help = sampler_help())]
    pub(crate) sampler: NamedSampler,
    /// Noise levels (Schedule type), by their id below or their name in A1111 ("SGM Uniform")
    #[arg(long, value_name = "NAME", long_help = schedule_help())]
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
    fn parse(name: &str) -> Result<Self, String> {
        let (kind, schedule) = SamplerKind::parse_with_schedule(name).map_err(|error| error.to_string())?;
        Ok(Self { kind, schedule })
    }
}

impl SamplingArgs {
    /// With another sampler come its own schedule and eta, if what there was is none of its.
    pub(super) fn apply(&self, request: &mut Request, given: &Given) {
        given.set("steps", &mut request.num_inference_steps, self.steps);
        given.set("guidance_scale", &mut request.guidance_scale, self.guidance_scale);
        let is_chosen = ["sampler", "plms", "dpm_solver"].iter().any(|id| given.has(id));
        if is_chosen {
            request.sampler = match (self.plms, self.dpm_solver) {
                (true, _) => SamplerKind::Plms,
                (_, true) => SamplerKind::DpmSolver,
                _ => self.sampler.kind,
            };
        }
        let schedule = self.schedule.or(self.sampler.schedule.filter(|_| is_chosen));
        if given.has("schedule") || schedule.is_some() || !request.sampler.has_schedule(request.schedule) {
            request.schedule = schedule.unwrap_or(ScheduleKind::Default);
        }
        if given.has("eta") || (is_chosen && request.sampler.info().noise.default_eta().is_none()) {
            request.eta = self.eta;
        }
    }

    /// Once a line chose the sampler: the schedule is the one that its name ends with, else that of the command line.
    pub(crate) fn line_chose_sampler(&mut self, command_line: &Self) {
        (self.plms, self.dpm_solver) = (false, false);
        self.schedule = self.sampler.schedule.or(command_line.schedule).or(command_line.sampler.schedule);
    }
}

/// The help of `--sampler`: every sampler, listed with those of its kind.
fn sampler_help() -> String {
    let of_compvis = |row: &SamplerInfo| row.has(SamplerFeature::Compvis);
    let is_ancestral = |row: &SamplerInfo| row.noise == StepNoise::Ancestral;
    let is_stochastic =
        |row: &SamplerInfo| matches!(row.noise, StepNoise::Brownian | StepNoise::Restart | StepNoise::Fresh);
    let others = |row: &SamplerInfo| !(of_compvis(row) || is_ancestral(row) || is_stochastic(row));
    format!(
        r#"The sampler (Sampling method), by its id below or its name in A1111, ComfyUI or diffusers
("DPM++ 2M", also "DPM++ 2M Karras")

of CompVis:     {}
deterministic:  {}
ancestral:      {}
stochastic:     {}"#,
        ids(of_compvis).join(" "),
        ids(others).join(" "),
        ids(is_ancestral).join(" "),
        ids(is_stochastic).join(" "),
    )
}

/// The help of `--schedule`: every schedule, and which samplers take it.
fn schedule_help() -> String {
    let of_sigmas: Vec<&str> = SCHEDULES.iter().filter(|row| row.kind.is_of_sigmas()).map(|row| row.id).collect();
    let (first, rest) = of_sigmas.split_at(of_sigmas.len().div_ceil(2));
    format!(
        r#"Noise levels (Schedule type), by their id below or their name in A1111 ("SGM Uniform")

default:        as diffusers has them for the sampler; where it has not, automatic
automatic:      as A1111 has them for the sampler
compvis:        as CompVis' scripts have them ({})
of sigmas:      {}
                {}
                (not for {})

[default: default]"#,
        ids(|row| row.has(SamplerFeature::Compvis)).join(", "),
        first.join(" "),
        rest.join(" "),
        ids(|row| !row.has_sigma_schedules()).join(", "),
    )
}

/// The ids of the samplers that are so.
fn ids(is_so: impl Fn(&SamplerInfo) -> bool) -> Vec<&'static str> {
    SAMPLERS.iter().filter(|row| is_so(row)).map(|row| row.id).collect()
}
