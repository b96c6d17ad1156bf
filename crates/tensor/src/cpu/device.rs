use std::sync::Arc;

use super::{Convolution, Cpu, Isa};
use crate::{BackendOptions, CancelToken, Device, Error, Precision, Result, Threads};

/// How a [`CpuDevice`] computes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuDeviceOptions {
    /// Threads; 0 for one on each core.
    pub threads: usize,
    /// The instruction set; [`Isa::preferred`] when none.
    pub isa: Option<Isa>,
    /// How 3×3 convolutions with stride 1 are computed.
    pub convolution: Convolution,
}

/// The processor. Cloning shares its threads, of which a program needs no others.
#[derive(Clone, Debug)]
pub struct CpuDevice {
    pub(super) isa: Isa,
    pub(super) convolution: Convolution,
    pub(super) threads: Threads,
}

impl CpuDevice {
    /// Starts the threads.
    ///
    /// # Errors
    /// This processor lacks the instruction set, or threads can't be started.
    pub fn new(options: CpuDeviceOptions) -> Result<Self> {
        let available = Isa::available();
        let isa = options.isa.map_or_else(Isa::preferred, Ok)?;
        if !available.contains(&isa) {
            let has: Vec<String> = available.iter().map(Isa::to_string).collect();
            return Err(Error::Invalid {
                op: "cpu",
                message: format!("this processor has no {isa}, it has {}", has.join(", ")),
            });
        }
        Ok(Self { isa, convolution: options.convolution, threads: Threads::new(options.threads)? })
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl Device for CpuDevice {
    type Backend = Cpu;

    fn name(&self) -> String {
        format!("cpu ({})", self.isa)
    }

    /// All precisions can be had; those that the processor has no instructions for are computed in f32.
    fn backend(&self, options: BackendOptions) -> Result<Cpu> {
        let BackendOptions { precision, cancel, .. } = options;
        let Self { isa, convolution, threads } = self.clone();
        Ok(Cpu {
            isa,
            precision,
            products: precision.activations(),
            convolution,
            threads,
            cancel,
            pool: Arc::default(),
        })
    }

    fn with_cancel(backend: &Cpu, cancel: CancelToken) -> Cpu {
        Cpu { cancel, ..backend.clone() }
    }

    fn fastest_precision(&self) -> Precision {
        self.isa.fastest_precision()
    }

    fn threads(&self) -> &Threads {
        &self.threads
    }
}
