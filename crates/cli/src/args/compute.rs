//! How to compute.

use clap::{Args, ValueEnum};

use super::count;

/// How to compute.
#[derive(Args)]
#[command(next_help_heading = "Compute")]
pub(crate) struct Compute {
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = Precision::Auto)]
    pub(crate) precision: Precision,
    /// How 3x3 convolutions with stride 1 are computed
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Convolution::Auto)]
    pub(crate) convolution: Convolution,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,
    /// Decode in bands of rows: the same image in half the memory, for large images
    #[arg(long)]
    pub(crate) vae_tiling: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Precision {
    /// bf16 where the processor has instructions for it, else f32
    Auto,
    /// 32-bit floats
    F32,
    /// Weights and activations in bf16, sums in f32
    Bf16,
    /// Weights and activations in f16, sums in f32
    F16,
    /// The UNet's large products in 8 bits, the rest as bf16
    Int8,
}

impl Precision {
    /// What `auto` means here, and what the others say.
    pub(crate) fn resolve(self) -> Result<calotype::Precision, calotype::Error> {
        Ok(match self {
            Self::Auto => calotype::fastest_precision()?,
            Self::F32 => calotype::Precision::F32,
            Self::Bf16 => calotype::Precision::BF16,
            Self::F16 => calotype::Precision::F16,
            Self::Int8 => calotype::Precision::Int8,
        })
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Convolution {
    /// By whichever method is faster for the shape
    Auto,
    /// As sums of products of inputs and weights
    Direct,
    /// By Winograd's minimal filtering, with fewer products (not for int8)
    Winograd,
}

impl From<Convolution> for calotype::Convolution {
    fn from(method: Convolution) -> Self {
        match method {
            Convolution::Auto => Self::Auto,
            Convolution::Direct => Self::Direct,
            Convolution::Winograd => Self::Winograd,
        }
    }
}
