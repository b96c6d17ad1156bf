//! Settings of UniPC.

use super::{SamplerKind, SamplerSettings, ScheduleKind};
use crate::Error;
use crate::ids::ids;

/// The `B(h)` of UniPC (Zhao et al. 2023, section 3.1): it matters in its shortened formulas, those of the predictor of
/// order 2 and of the corrector of order 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum UniPcVariant {
    /// `B₁(h) = h`.
    #[default]
    Bh1,
    /// `B₂(h) = e^h − 1`.
    Bh2,
    /// UniPCᵥ, with coefficients that vary (its appendix C), as its code computes them: nothing is shortened, but the
    /// corrector leaves out the highest power.
    VaryCoeff,
}

/// How the timesteps of UniPC's own schedule are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum UniPcSkipType {
    /// Evenly.
    #[default]
    TimeUniform,
    /// Evenly in their square root.
    TimeQuadratic,
    /// Evenly in the logarithm of the ratio of signal to noise.
    LogSnr,
}

ids!(UniPcVariant, "UniPC variant", [Bh1 = "bh1", Bh2 = "bh2", VaryCoeff = "vary_coeff"]);
ids!(
    UniPcSkipType,
    "UniPC skip type",
    [TimeUniform = "time_uniform", TimeQuadratic = "time_quadratic", LogSnr = "logSNR"]
);

/// Whether a sampler and its schedule can take these of the settings.
pub(super) fn check(settings: &SamplerSettings, sampler: SamplerKind, schedule: ScheduleKind) -> Result<(), Error> {
    let of = |s: &SamplerSettings| (s.uni_pc_variant, s.uni_pc_skip_type, s.uni_pc_order, s.uni_pc_lower_order_final);
    if of(settings) == of(&SamplerSettings::default()) {
        return Ok(());
    }
    if sampler != SamplerKind::UniPc {
        return Err(Error::SamplerOption { sampler, option: "uni_pc settings", has: "unipc" });
    }
    if !(1..=9).contains(&settings.uni_pc_order) {
        let value = settings.uni_pc_order as f64;
        return Err(Error::OptionRange { option: "uni_pc_order", value, expected: "1 to 9" });
    }
    if settings.uni_pc_skip_type != UniPcSkipType::TimeUniform && schedule != ScheduleKind::Automatic {
        return Err(Error::ScheduleOption { schedule, option: "uni_pc_skip_type", has: "automatic" });
    }
    Ok(())
}
