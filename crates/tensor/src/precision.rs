use std::fmt;

use crate::DType;

/// The number types that a network is computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats throughout.
    #[default]
    F32,
    /// Weights and activations in bf16; sums and statistics in f32.
    BF16,
    /// Weights and activations in f16; sums and statistics in f32.
    F16,
    /// Weights of the large products in 8 bits, a scale for each output channel; activations in bf16, for those products in
    /// 8 bits with a scale for each row.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::BF16, Self::F16, Self::Int8];

    /// Its id: `f32`, `bf16`, `f16`, `int8`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::BF16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The element type of activations.
    #[must_use]
    pub const fn activations(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::BF16 | Self::Int8 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}
