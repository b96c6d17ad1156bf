//! Which instructions this processor has, chosen at run time.

use std::fmt;

use crate::{Error, Precision, Result};

/// An instruction set that the kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// x86-64 AVX2 and FMA: 8 lanes.
    Avx2,
    /// x86-64 AVX-512 F, VL, BW and DQ: 16 lanes.
    Avx512,
    /// That and VNNI: products of bytes.
    Avx512Vnni,
    /// That and BF16: products of bf16 pairs.
    Avx512Bf16,
}

/// The environment variable that forces an instruction set.
const VARIABLE: &str = "CALOTYPE_ISA";

impl Isa {
    /// The instruction sets of this processor, the best last.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") {
                found.push(Self::Avx2);
                if has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq") {
                    found.push(Self::Avx512);
                    if has!("avx512vnni") {
                        found.push(Self::Avx512Vnni);
                        if has!("avx512bf16") {
                            found.push(Self::Avx512Bf16);
                        }
                    }
                }
            }
        }
        found
    }

    /// The one that the environment variable `CALOTYPE_ISA` names, or else the best of this processor.
    ///
    /// # Errors
    /// The variable names none, or one that this processor lacks.
    pub fn preferred() -> Result<Self> {
        let available = Self::available();
        let Ok(name) = std::env::var(VARIABLE) else {
            return Ok(available.last().copied().unwrap_or(Self::Portable));
        };
        available.iter().find(|isa| isa.to_string() == name).copied().ok_or_else(|| {
            let has: Vec<String> = available.iter().map(Self::to_string).collect();
            let name = name.escape_debug();
            Error::Invalid {
                op: "cpu",
                message: format!("{VARIABLE} is \"{name}\", this processor has {}", has.join(", ")),
            }
        })
    }

    /// The fastest precision with it that changes images no more than rounding does: bf16 where there are instructions for it,
    /// else f32.
    #[must_use]
    pub fn fastest_precision(self) -> Precision {
        if self >= Self::Avx512Bf16 { Precision::BF16 } else { Precision::F32 }
    }

    /// Floats in one vector register.
    pub(crate) const fn lanes(self) -> usize {
        match self {
            Self::Portable => 4,
            Self::Avx2 => 8,
            Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 => 16,
        }
    }

    /// Columns of a packed panel: as many vectors as the kernels keep of one row.
    pub(crate) const fn panel(self) -> usize {
        match self {
            Self::Portable => 8,
            Self::Avx2 => 16,
            Self::Avx512 | Self::Avx512Vnni | Self::Avx512Bf16 => 64,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
        })
    }
}

/// Compiles a function once per instruction set, so that the compiler's vectoriser uses each, and chooses at run time:
/// `f(isa, arguments…)`. The body must be plain safe Rust.
macro_rules! for_each_isa {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$doc])*
        $vis fn $name(isa: $crate::cpu::isa::Isa, $($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? { body($($arg),*) }
            match isa {
                // SAFETY: a backend is made only with an instruction set that was detected.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::isa::Isa::Avx512 | $crate::cpu::isa::Isa::Avx512Vnni | $crate::cpu::isa::Isa::Avx512Bf16 => unsafe { avx512($($arg),*) },
                _ => body($($arg),*),
            }
        }
    )*};
}
pub(crate) use for_each_isa;
