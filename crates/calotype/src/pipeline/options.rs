//! How to compute.

use calotype_tensor::{
    Precision,
    cpu::{Convolution, Cpu, CpuOptions, Isa},
};

use crate::{Keep, Result};

/// How to compute.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineOptions {
    /// Threads; 0 for one on each core. Results do not depend on it.
    pub threads: usize,
    /// The number types.
    pub precision: Precision,
    /// How 3×3 convolutions with stride 1 are computed.
    pub convolution: Convolution,
    /// What stays in memory.
    pub keep: Keep,
    /// Decode in bands of rows: half of the memory, for large pictures. The values are those of the whole decoded at
    /// once, up to rounding.
    pub vae_tiling: bool,
}

impl PipelineOptions {
    /// What the UNet computes on.
    pub(crate) fn backend(self) -> Result<Cpu> {
        let Self { threads, precision, convolution, .. } = self;
        Ok(Cpu::with_options(CpuOptions { threads, precision, convolution, ..CpuOptions::default() })?)
    }

    /// How many threads compute.
    pub(crate) fn thread_count(self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// What the other networks compute on.
    pub(crate) fn auxiliary_backend(self) -> Result<Cpu> {
        Self { precision: auxiliary_precision(self.precision), ..self }.backend()
    }
}

/// The precision of a model's other networks where the UNet's is `unet`: they run once, so 8 bits would gain little and cost quality.
pub(crate) const fn auxiliary_precision(unet: Precision) -> Precision {
    match unet {
        Precision::Int8 => Precision::BF16,
        other => other,
    }
}

/// The fastest number type on this processor that changes pictures no more than rounding does.
///
/// # Errors
/// The environment asks for an instruction set that this processor lacks.
pub fn fastest_precision() -> Result<Precision> {
    Ok(Isa::preferred()?.fastest_precision())
}
