//! Settings of UniPC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::{plain, shortened};
use super::{SamplerKind, SamplerSettings, ScheduleKind};
use crate::Error;

/// The `B(h)` of UniPC (Zhao et al. 2023, section 3.1): it matters in its shortened formulas, those of the predictor of
/// order 2 and of the corrector of order 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UniPcSkipType {
    /// Evenly.
    #[default]
    TimeUniform,
    /// Evenly in their square root.
    TimeQuadratic,
    /// Evenly in the logarithm of the ratio of signal to noise.
    #[serde(rename = "logSNR")]
    LogSnr,
}

impl UniPcVariant {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Bh1, Self::Bh2, Self::VaryCoeff];

    /// Its id, A1111's: `bh1`, `bh2`, `vary_coeff`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Bh1 => "bh1",
            Self::Bh2 => "bh2",
            Self::VaryCoeff => "vary_coeff",
        }
    }
}

impl UniPcSkipType {
    /// Every spacing.
    pub const ALL: [Self; 3] = [Self::TimeUniform, Self::TimeQuadratic, Self::LogSnr];

    /// Its id, A1111's: `time_uniform`, `time_quadratic`, `logSNR`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::TimeUniform => "time_uniform",
            Self::TimeQuadratic => "time_quadratic",
            Self::LogSnr => "logSNR",
        }
    }
}

impl fmt::Display for UniPcVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl fmt::Display for UniPcSkipType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for UniPcVariant {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|variant| plain(variant.id()) == plain(s));
        known.ok_or_else(|| Error::UnknownUniPc {
            what: "variant",
            name: shortened(s),
            list: Self::ALL.map(Self::id).join(", "),
        })
    }
}

impl FromStr for UniPcSkipType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|skip_type| plain(skip_type.id()) == plain(s));
        known.ok_or_else(|| Error::UnknownUniPc {
            what: "skip type",
            name: shortened(s),
            list: Self::ALL.map(Self::id).join(", "),
        })
    }
}

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
