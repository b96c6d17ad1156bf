//! The device that is tested.

use std::sync::LazyLock;

use calotype_gpu::{Faults, Gpu, GpuDevice, GpuDeviceOptions};
use calotype_tensor::{BackendOptions, Device, Precision, Result};

/// A device with these faults.
pub(crate) fn open(faults: Faults) -> Result<GpuDevice> {
    GpuDevice::new(GpuDeviceOptions { software: true, faults, ..GpuDeviceOptions::default() })
}

/// The device that most tests share, whose memory is poisoned before it is written; none where there is no driver. Then the variable
/// `CALOTYPE_GPU_REQUIRED` says whether that is a failure.
pub(crate) fn device() -> Option<&'static GpuDevice> {
    static DEVICE: LazyLock<Option<GpuDevice>> =
        LazyLock::new(|| match open(Faults { poison: true, ..Faults::default() }) {
            Ok(device) => {
                eprintln!("tested on {}", device.name());
                Some(device)
            }
            Err(error) => {
                let required = std::env::var_os("CALOTYPE_GPU_REQUIRED").is_some_and(|value| value != "0");
                assert!(!required, "CALOTYPE_GPU_REQUIRED is set: {error}");
                eprintln!("left out: everything that runs on a card or a software driver of Vulkan ({error})");
                None
            }
        });
    DEVICE.as_ref()
}

/// The precisions that the device has.
pub(crate) fn precisions(device: &GpuDevice) -> Vec<Precision> {
    [Precision::F32, Precision::F16].into_iter().filter(|&p| backend(device, p).is_ok()).collect()
}

pub(crate) fn backend(device: &GpuDevice, precision: Precision) -> Result<Gpu> {
    device.backend(BackendOptions::in_precision(precision))
}
