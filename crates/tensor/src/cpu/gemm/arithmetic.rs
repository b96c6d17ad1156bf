use std::fmt;

use crate::DType;
use crate::cpu::isa::Isa;

/// What the products of a kernel are made of, and so what a word of 32 bits holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arithmetic {
    /// 32-bit floats, one to a word, with the instructions of the backend's [`Isa`].
    F32,
    /// Pairs of bf16 products added to 32-bit floats: AVX-512 BF16 `vdpbf16ps`.
    Bf16,
    /// Fours of 8-bit products added to 32-bit integers, with scales: AVX-512 VNNI `vpdpbusd`.
    Int8,
    /// Fours of 8-bit products, unsigned in a column and signed in a row, whose sums are left as 32-bit integers, without scales:
    /// the scores of attention.
    Bytes,
}

impl Arithmetic {
    /// Those of whole products.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// How `isa` computes with elements of `dtype`.
    pub(crate) fn of(isa: Isa, dtype: DType) -> Self {
        match dtype {
            DType::BF16 if isa >= Isa::Avx512Bf16 => Self::Bf16,
            DType::I8 if isa >= Isa::Avx512Vnni => Self::Int8,
            _ => Self::F32,
        }
    }

    /// Elements in a word.
    pub(crate) const fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 | Self::Bytes => 4,
        }
    }

    /// Words that `channels` elements fill, with those that tell their scale.
    pub(crate) const fn words(self, channels: usize) -> usize {
        let elements = channels.div_ceil(self.per_word());
        match self {
            Self::F32 | Self::Bf16 | Self::Bytes => elements,
            Self::Int8 => elements + 2,
        }
    }

    /// The type of the elements in a word.
    pub(crate) const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::Int8 | Self::Bytes => DType::I8,
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Bytes => "bytes",
        })
    }
}
