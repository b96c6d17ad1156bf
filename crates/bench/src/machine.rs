//! What is timed on, as far as a device does not say it itself.

use calotype::{Precision, Result};
use calotype_tensor::{BackendOptions, Device, cpu::CpuDevice};
use serde::Serialize;

use crate::profile::Peaks;

/// What one network asked of a device: figures that hold on every card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Runs of kernels.
    pub dispatches: u64,
    /// Bytes that they read and write, each argument and each result once.
    pub bytes: u64,
    /// Floating-point operations of products and attention.
    pub flops: f64,
}

impl Work {
    /// What came after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            dispatches: self.dispatches - before.dispatches,
            bytes: self.bytes - before.bytes,
            flops: self.flops - before.flops,
        }
    }
}

/// A device, with what a bench tells about it.
pub struct Machine<D> {
    pub(crate) device: D,
    pub(crate) isa: String,
    pub(crate) is_software: bool,
    pub(crate) work: Box<dyn Fn() -> Option<Work>>,
    pub(crate) peaks: Box<dyn Fn(Precision) -> Result<Option<Peaks>>>,
}

impl Machine<CpuDevice> {
    /// The processor, whose peaks are measured.
    ///
    /// # Errors
    /// The processor lacks something.
    pub fn processor(device: CpuDevice) -> Result<Self> {
        let cpu = device.backend(BackendOptions::default())?;
        let isa = cpu.isa().to_string();
        let peaks = move |precision| Peaks::measure(&cpu, precision).map(Some);
        Ok(Self { device, isa, is_software: false, work: Box::new(|| None), peaks: Box::new(peaks) })
    }
}

impl<D: Device> Machine<D> {
    /// A card, that `work` says what it was asked for of. What a driver takes that computes on the processor is nobody's speed, and is not
    /// reported.
    pub fn card(device: D, is_software: bool, work: impl Fn() -> Work + 'static) -> Self {
        let isa = device.name();
        Self { device, isa, is_software, work: Box::new(move || Some(work())), peaks: Box::new(|_| Ok(None)) }
    }
}
