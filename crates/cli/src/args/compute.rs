//! How to compute.

use calotype::{Convolution, Precision};
use clap::Args;

use super::{
    choices::{Choice, choices},
    count,
};

const PRECISIONS: &[Choice<PrecisionArg>] = &[
    (PrecisionArg(None), "auto", "bf16 where the processor has instructions for it, else f32"),
    (PrecisionArg(Some(Precision::F32)), "f32", "32-bit floats"),
    (PrecisionArg(Some(Precision::BF16)), "bf16", "Weights and activations in bf16, sums in f32"),
    (PrecisionArg(Some(Precision::F16)), "f16", "Weights and activations in f16, sums in f32"),
    (PrecisionArg(Some(Precision::Int8)), "int8", "The UNet's large products in 8 bits, the rest as bf16"),
];

const VAE_PRECISIONS: &[Choice<Precision>] = &[
    (Precision::F32, "f32", "32-bit floats"),
    (Precision::BF16, "bf16", "Weights and activations in bf16, sums in f32"),
    (Precision::F16, "f16", "Weights and activations in f16, sums in f32"),
];

const CONVOLUTIONS: &[Choice<Convolution>] = &[
    (Convolution::Auto, "auto", "By whichever method is faster for the shape"),
    (Convolution::Direct, "direct", "As sums of products of inputs and weights"),
    (Convolution::Winograd, "winograd", "By Winograd's minimal filtering, with fewer products (not for int8)"),
];

/// How to compute.
#[derive(Args)]
#[command(next_help_heading = "Compute")]
pub(crate) struct Compute {
    /// Number types of weights and activations
    #[arg(long, value_name = "TYPE", value_parser = choices(PRECISIONS), default_value = "auto")]
    pub(crate) precision: PrecisionArg,
    /// How 3x3 convolutions with stride 1 are computed
    #[arg(long, value_name = "METHOD", value_parser = choices(CONVOLUTIONS), default_value = "auto")]
    pub(crate) convolution: Convolution,
    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) threads: Option<usize>,
    /// Decode in bands of rows: the same image in half the memory, for large images
    #[arg(long)]
    pub(crate) vae_tiling: bool,
}

/// How the commands compute that make pictures.
#[derive(Args)]
#[command(next_help_heading = "Compute")]
pub(crate) struct PictureCompute {
    #[command(flatten)]
    pub(crate) all: Compute,
    /// Number types of the VAE, if not those of the other networks [default: as --precision, but bf16 for int8]
    #[arg(long, value_name = "TYPE", value_parser = choices(VAE_PRECISIONS))]
    pub(crate) vae_precision: Option<Precision>,
}

/// A number type, or the best for this machine.
#[derive(Clone, Copy)]
pub(crate) struct PrecisionArg(pub(crate) Option<Precision>);

impl PrecisionArg {
    /// The number type.
    pub(crate) fn resolve(self) -> Result<Precision, calotype::Error> {
        self.0.map_or_else(calotype::fastest_precision, Ok)
    }
}
