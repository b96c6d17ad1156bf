//! The devices that are tested: one adapter, in each tier that it has.

use std::sync::LazyLock;

use calotype_gpu::{Faults, Gpu, GpuDevice, GpuDeviceOptions, Tier};
use calotype_tensor::{BackendOptions, Device, Precision, Result};

/// What must be there for the tests to pass: `CALOTYPE_GPU_REQUIRED` is a tier, or 1 for any.
const REQUIRED: &str = "CALOTYPE_GPU_REQUIRED";

/// A device in this tier, with these faults.
pub(crate) fn open(tier: Tier, faults: Faults) -> Result<GpuDevice> {
    GpuDevice::new(GpuDeviceOptions { software: true, tier: Some(tier), faults, ..GpuDeviceOptions::default() })
}

/// Devices whose memory is poisoned before it is written; none where there is no driver, which `CALOTYPE_GPU_REQUIRED` makes a failure.
pub(crate) fn devices() -> &'static [GpuDevice] {
    static DEVICES: LazyLock<Vec<GpuDevice>> = LazyLock::new(|| {
        let required = std::env::var(REQUIRED).unwrap_or_default();
        let open = |tier: Tier| match open(tier, Faults { poison: true, ..Faults::default() }) {
            Ok(device) => {
                eprintln!("tested on {}", device.name());
                Some(device)
            }
            Err(error) => {
                let missed = required == tier.id() || (required == "1" && tier == Tier::Plain);
                assert!(!missed, "{REQUIRED} is {required}: {error}");
                eprintln!("left out: what runs in the tier {tier} of a card or a software driver of Vulkan ({error})");
                None
            }
        };
        [Tier::Plain, Tier::Khr].into_iter().filter_map(open).collect()
    });
    &DEVICES
}

/// Any one of them.
pub(crate) fn device() -> Option<&'static GpuDevice> {
    devices().first()
}

pub(crate) fn backend(device: &GpuDevice, precision: Precision) -> Result<Gpu> {
    device.backend(BackendOptions::in_precision(precision))
}

/// A backend for each way in which the devices compute, with its name and precision.
pub(crate) fn backends() -> Vec<(String, Precision, Gpu)> {
    let mut backends = Vec::new();
    for device in devices() {
        for precision in [Precision::F32, Precision::F16] {
            if (device.tier() == Tier::Plain || device.tier().changes(precision))
                && let Ok(gpu) = backend(device, precision)
            {
                backends.push((format!("{}, {precision}", device.tier()), precision, gpu));
            }
        }
    }
    backends
}
