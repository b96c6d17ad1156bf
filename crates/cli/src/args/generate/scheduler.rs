//! Settings of diffusers' schedulers.

use calotype::{
    Request,
    sampling::{
        AlgorithmType, FinalSigmas, ScheduleKind, SchedulerSettings, SigmaSpacing, SolverType, TimestepSpacing,
    },
};
use clap::Args;

/// What a `scheduler_config.json` says, for the schedule default.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Settings of diffusers' schedulers, with the schedule default")]
pub(crate) struct SchedulerArgs {
    /// Which timesteps are gone through: leading, linspace or trailing [default: the model's, else leading for ddim and plms, linspace for others]
    #[arg(long, value_name = "NAME")]
    timestep_spacing: Option<TimestepSpacing>,
    /// Where leading begins [default: 1]
    #[arg(long, value_name = "N")]
    steps_offset: Option<usize>,
    /// Sigmas in the place of those of the timesteps (use_karras_sigmas and its like): timesteps, karras, exponential, beta or
    /// lu [default: the model's, else timesteps]
    #[arg(long, value_name = "NAME")]
    sigma_spacing: Option<SigmaSpacing>,
    /// Where a run ends: zero or sigma_min (for euler, dpmpp_2m, unipc) [default: the model's, else zero]
    #[arg(long, value_name = "NAME")]
    final_sigmas_type: Option<FinalSigmas>,
    /// Order of dpmpp_2m, dpmpp_2m_sde and unipc, 1 to 3 [default: the model's, else 2]
    #[arg(long, value_name = "N")]
    solver_order: Option<usize>,
    /// midpoint or heun of dpmpp_2m, bh1 or bh2 of unipc [default: the model's, else midpoint and bh2]
    #[arg(long, value_name = "NAME")]
    solver_type: Option<SolverType>,
    /// dpmsolver++ or dpmsolver of dpmpp_2m, sde-dpmsolver++ or sde-dpmsolver of dpmpp_2m_sde [default: the model's, else those with ++]
    #[arg(long, value_name = "NAME")]
    algorithm_type: Option<AlgorithmType>,
    /// Whether the last steps of short runs are of lower order [default: the model's, else true]
    #[arg(long, value_name = "BOOL")]
    lower_order_final: Option<bool>,
    /// Whether the last step of dpmpp_2m is of order 1 in long runs too [default: the model's, else false]
    #[arg(long, value_name = "BOOL")]
    euler_at_final: Option<bool>,
    /// Whether ddim and plms end without noise [default: the model's, else true for ddim of a folder, and false]
    #[arg(long, value_name = "BOOL")]
    set_alpha_to_one: Option<bool>,
    /// Whether plms begins without its Runge-Kutta steps [default: the model's, else true]
    #[arg(long, value_name = "BOOL")]
    skip_prk_steps: Option<bool>,
    /// Dynamic thresholding (for ddim, dpmpp_2m, unipc) [default: the model's, else false]
    #[arg(long, value_name = "BOOL")]
    thresholding: Option<bool>,
    /// Which share of the numbers is within the threshold [default: the model's, else 0.995]
    #[arg(long, value_name = "X")]
    dynamic_thresholding_ratio: Option<f64>,
    /// The greatest threshold [default: the model's, else 1]
    #[arg(long, value_name = "X")]
    sample_max_value: Option<f64>,
    /// Let the model's scheduler_config.json say nothing of the sampler
    #[arg(long)]
    ignore_scheduler_config: bool,
}

impl SchedulerArgs {
    /// What is given replaces what the request has of its sampler.
    pub(super) fn apply(&self, request: &mut Request) {
        let given = SchedulerSettings {
            timestep_spacing: self.timestep_spacing,
            steps_offset: self.steps_offset,
            sigma_spacing: self.sigma_spacing,
            final_sigmas_type: self.final_sigmas_type,
            solver_order: self.solver_order,
            solver_type: self.solver_type,
            algorithm_type: self.algorithm_type,
            lower_order_final: self.lower_order_final,
            euler_at_final: self.euler_at_final,
            set_alpha_to_one: self.set_alpha_to_one,
            skip_prk_steps: self.skip_prk_steps,
            thresholding: self.thresholding,
            dynamic_thresholding_ratio: self.dynamic_thresholding_ratio,
            sample_max_value: self.sample_max_value,
        };
        let kept = match request.schedule {
            ScheduleKind::Default => request.scheduler_settings.of(request.sampler),
            _ => SchedulerSettings::default(),
        };
        request.scheduler_settings = given.or(kept);
        request.ignore_scheduler_config |= self.ignore_scheduler_config;
    }
}
