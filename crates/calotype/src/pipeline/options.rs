//! How a pipeline computes.

use calotype_tensor::{Precision, cpu::Isa};

use crate::{Keep, Result, memory::MemoryBudget};

/// How a pipeline computes. Threads and instruction set are the device's.
#[derive(Clone, Debug, Default)]
pub struct PipelineOptions {
    /// The number types.
    pub precision: Precision,
    /// The number types of the VAE, where they are not those of the other networks beside the UNet
    /// ([`auxiliary_precision`]). An 8-bit VAE is one of bf16.
    pub vae_precision: Option<Precision>,
    /// What stays in memory between runs.
    pub keep: Keep,
    /// Decode in bands of rows: half of the memory, for large images. The values are those of the whole decoded at once, up
    /// to rounding.
    pub vae_tiling: bool,
    /// The memory that runs reserve; by default that of the whole program.
    pub memory: MemoryBudget,
}

impl PipelineOptions {
    /// What the VAE computes in.
    #[must_use]
    pub fn effective_vae_precision(&self) -> Precision {
        auxiliary_precision(self.vae_precision.unwrap_or(self.precision))
    }
}

/// The precision of a model's other networks where the UNet's is `unet`: they run once, so 8 bits would gain little and
/// cost quality.
#[must_use]
pub const fn auxiliary_precision(unet: Precision) -> Precision {
    match unet {
        Precision::Int8 => Precision::BF16,
        other => other,
    }
}

/// The fastest number type on this processor that changes images no more than rounding does.
///
/// # Errors
/// The environment asks for an instruction set that this processor lacks.
pub fn fastest_precision() -> Result<Precision> {
    Ok(Isa::preferred()?.fastest_precision())
}
