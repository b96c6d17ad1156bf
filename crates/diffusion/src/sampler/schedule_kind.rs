use crate::ids::rows;

/// How the noise levels between the first and the last are spaced. The formulas are those of A1111's
/// `sd_schedulers.py` and of k-diffusion (`sampler/sigmas.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ScheduleKind {
    /// What diffusers has for the sampler with the scheduler config of Stable Diffusion 1, evenly spaced in timesteps:
    /// for `ddim`, `plms`, `euler`, `euler_a`, `heun`, `lms`, `dpmpp_2m`, and `ddim_cfgpp` as `ddim`.
    /// For the others [`ScheduleKind::Automatic`]. Only this one takes [`super::SchedulerSettings`].
    #[default]
    Default,
    /// What A1111 has for the sampler if nothing else is chosen: [`super::SamplerKind::own_schedule`].
    Automatic,
    /// Evenly spaced in timesteps from the last to the first (k-diffusion `DiscreteSchedule.get_sigmas`).
    Uniform,
    /// Evenly spaced in the seventh root of sigma (Karras et al. 2022, eq. 5).
    Karras,
    /// Evenly spaced in log sigma.
    Exponential,
    /// A power of the way through log sigma; with ρ = 1, [`ScheduleKind::Exponential`].
    Polyexponential,
    /// Evenly spaced in timesteps, one more than is used, so that the last is not the first timestep (generative-models).
    SgmUniform,
    /// Evenly spaced in the arc tangent of sigma ("Align Your Steps", Sabour et al. 2024, section 3.2); ends at the
    /// least sigma, not at 0.
    KlOptimal,
    /// The optimised levels of "Align Your Steps" for Stable Diffusion 1.5, interpolated in log sigma.
    AlignYourSteps,
    /// Every so many of the training sigmas, from the last.
    Simple,
    /// Evenly spaced in timesteps between those of the greatest and the least sigma.
    Normal,
    /// Every `T / steps`th training sigma from the second up: may give more levels than steps.
    Ddim,
    /// Quantiles of a beta distribution between the least and the greatest sigma (Lee et al. 2024, "Beta Sampling is All
    /// You Need"), as A1111 spreads them: over sigma, not over timesteps.
    Beta,
    /// What CompVis' samplers lay out for themselves: `ddim` and `plms` every `T / steps`th timestep from 1 up, which may
    /// be more than `steps` of them; `dpm_solver` fractional timesteps from the last to 0.
    Compvis,
}

/// What there is to know of a schedule besides its formula.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Which it is.
    pub kind: ScheduleKind,
    /// Its id, by which it is written and read.
    pub id: &'static str,
    /// Its name in A1111 ("Schedule type" in an image's parameters); `Default` and `Compvis` have none there.
    pub label: &'static str,
    /// Its ρ where none is given; `None` for schedules without.
    pub rho: Option<f64>,
    /// Whether its greatest and least sigma can be set (`sigma_max`, `sigma_min`).
    pub has_ends: bool,
    /// ComfyUI's other name.
    pub alias: Option<&'static str>,
}

/// Every schedule, a row each.
#[rustfmt::skip]
pub static SCHEDULES: [ScheduleInfo; 14] = {
    use ScheduleKind::*;
    [
        row(Default,         "default",          "Default",          None,      false, None),
        row(Automatic,       "automatic",        "Automatic",        None,      false, None),
        row(Uniform,         "uniform",          "Uniform",          None,      false, None),
        row(Karras,          "karras",           "Karras",           Some(7.0), true,  None),
        row(Exponential,     "exponential",      "Exponential",      None,      true,  None),
        row(Polyexponential, "polyexponential",  "Polyexponential",  Some(1.0), true,  None),
        row(SgmUniform,      "sgm_uniform",      "SGM Uniform",      None,      true,  None),
        row(KlOptimal,       "kl_optimal",       "KL Optimal",       None,      true,  None),
        row(AlignYourSteps,  "align_your_steps", "Align Your Steps", None,      false, Some("ays")),
        row(Simple,          "simple",           "Simple",           None,      false, None),
        row(Normal,          "normal",           "Normal",           None,      true,  None),
        row(Ddim,            "ddim",             "DDIM",             None,      false, Some("ddim_uniform")),
        row(Beta,            "beta",             "Beta",             None,      true,  None),
        row(Compvis,         "compvis",          "CompVis",          None,      false, None),
    ]
};

const fn row(
    kind: ScheduleKind,
    id: &'static str,
    label: &'static str,
    rho: Option<f64>,
    has_ends: bool,
    alias: Option<&'static str>,
) -> ScheduleInfo {
    ScheduleInfo { kind, id, label, rho, has_ends, alias }
}

rows!(ScheduleKind, SCHEDULES, ScheduleInfo);

impl ScheduleKind {
    /// Whether it is laid out over the training sigmas, for any sampler that has no schedule of its own kind.
    #[must_use]
    pub fn is_of_sigmas(self) -> bool {
        !matches!(self, Self::Default | Self::Automatic | Self::Compvis)
    }
}
