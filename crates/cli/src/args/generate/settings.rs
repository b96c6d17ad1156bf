//! Settings of some samplers and schedules.

use calotype::{
    Request,
    sampling::{SamplerSettings, UniPcSkipType, UniPcVariant},
};
use clap::Args;

use super::Given;

/// Advanced settings of samplers and schedules.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Settings of some samplers and schedules")]
pub(crate) struct SettingsArgs {
    /// Noise added before steps (Sigma churn; for euler, heun and dpm_2) [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) s_churn: Option<f64>,
    /// The least sigma that is churned [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) s_tmin: Option<f64>,
    /// The greatest sigma that is churned [default: no bound]
    #[arg(long, value_name = "X")]
    pub(crate) s_tmax: Option<f64>,
    /// Multiplier of the noise that is added in steps (Sigma noise) [default: 1]
    #[arg(long, value_name = "X")]
    pub(crate) s_noise: Option<f64>,
    /// rho of the schedules karras and polyexponential [default: 7 and 1]
    #[arg(long, value_name = "X")]
    pub(crate) rho: Option<f64>,
    /// The least sigma of the noise levels [default: the model's]
    #[arg(long, value_name = "X")]
    pub(crate) sigma_min: Option<f64>,
    /// The greatest sigma of the noise levels [default: the model's]
    #[arg(long, value_name = "X")]
    pub(crate) sigma_max: Option<f64>,
    /// Alpha of the schedule beta [default: 0.6]
    #[arg(long, value_name = "X")]
    pub(crate) beta_alpha: Option<f64>,
    /// Beta of the schedule beta [default: 0.6]
    #[arg(long, value_name = "X")]
    pub(crate) beta_beta: Option<f64>,
    /// Leave out the last noise level but one (Always discard next-to-last sigma), as dpm_2, dpm_2_a and dpmpp_3m_sde always do
    #[arg(long)]
    pub(crate) discard_next_to_last_sigma: bool,
    /// Start from noise of sqrt(sigma² + 1) instead of sigma
    #[arg(long)]
    pub(crate) sgm_noise_multiplier: bool,
    /// UniPC variant: bh1, bh2 or vary_coeff [default: bh1]
    #[arg(long, value_name = "NAME")]
    pub(crate) uni_pc_variant: Option<UniPcVariant>,
    /// UniPC skip type, of its own timesteps: time_uniform, time_quadratic or logSNR [default: time_uniform]
    #[arg(long, value_name = "NAME")]
    pub(crate) uni_pc_skip_type: Option<UniPcSkipType>,
    /// UniPC order, 1 to 9 [default: 3]
    #[arg(long, value_name = "N")]
    pub(crate) uni_pc_order: Option<usize>,
    /// UniPC lower order final: whether its last steps are of lower order [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) uni_pc_lower_order_final: Option<bool>,
}

impl SettingsArgs {
    pub(super) fn apply(&self, request: &mut Request, given: &Given) {
        let (default, to) = (SamplerSettings::default(), &mut request.sampler_settings);
        given.set("s_churn", &mut to.s_churn, self.s_churn.unwrap_or(default.s_churn));
        given.set("s_tmin", &mut to.s_tmin, self.s_tmin.unwrap_or(default.s_tmin));
        given.set("s_tmax", &mut to.s_tmax, self.s_tmax);
        given.set("s_noise", &mut to.s_noise, self.s_noise.unwrap_or(default.s_noise));
        given.set("rho", &mut to.rho, self.rho);
        given.set("sigma_min", &mut to.sigma_min, self.sigma_min);
        given.set("sigma_max", &mut to.sigma_max, self.sigma_max);
        given.set("beta_alpha", &mut to.beta_alpha, self.beta_alpha.unwrap_or(default.beta_alpha));
        given.set("beta_beta", &mut to.beta_beta, self.beta_beta.unwrap_or(default.beta_beta));
        let discard = self.discard_next_to_last_sigma;
        given.set("discard_next_to_last_sigma", &mut to.discard_next_to_last_sigma, discard);
        given.set("sgm_noise_multiplier", &mut to.sgm_noise_multiplier, self.sgm_noise_multiplier);
        given.set("uni_pc_variant", &mut to.uni_pc_variant, self.uni_pc_variant.unwrap_or(default.uni_pc_variant));
        let skip_type = self.uni_pc_skip_type.unwrap_or(default.uni_pc_skip_type);
        given.set("uni_pc_skip_type", &mut to.uni_pc_skip_type, skip_type);
        given.set("uni_pc_order", &mut to.uni_pc_order, self.uni_pc_order.unwrap_or(default.uni_pc_order));
        let lower_order = self.uni_pc_lower_order_final.unwrap_or(default.uni_pc_lower_order_final);
        given.set("uni_pc_lower_order_final", &mut to.uni_pc_lower_order_final, lower_order);
    }
}
