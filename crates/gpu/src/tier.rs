//! How products are computed, by what a device has, and the check that it computes them right.

use std::{fmt, str::FromStr};

use calotype_tensor::{Activation, Backend, BackendOptions, Device, Error, ParamKind, Precision, Result};
use wgpu::{CooperativeMatrixProperties, CooperativeScalarType};

use crate::{GpuDevice, kernel::Matrices};

/// The variable that chooses a tier where none is asked for: `plain` or `khr`.
pub(crate) const VARIABLE: &str = "CALOTYPE_GPU_TIER";

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// By each thread: what every card has.
    Plain,
    /// In f16 by cooperative matrices (Vulkan's `VK_KHR_cooperative_matrix`, Metal's simdgroup matrices); in f32 as `Plain`.
    Khr,
}

impl Tier {
    /// Its id: `plain`, `khr`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Khr => "khr",
        }
    }

    /// Whether it computes in this precision by other kernels than [`Tier::Plain`].
    #[must_use]
    pub fn changes(self, precision: Precision) -> bool {
        self == Self::Khr && precision == Precision::F16
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(id: &str) -> Result<Self, String> {
        let tier = [Self::Plain, Self::Khr].into_iter().find(|tier| tier.id() == id);
        tier.ok_or_else(|| format!("`{id}` is not a tier, expected plain or khr"))
    }
}

/// The matrices of a device that the kernels can use, the larger ones first: f16 with sums in f32.
pub(crate) fn matrices(
    properties: &[CooperativeMatrixProperties],
    subgroups: [u32; 2],
    workgroup_bytes: u32,
) -> Option<Matrices> {
    let fits = |side: u32| {
        properties.iter().any(|of| {
            [of.m_size, of.n_size, of.k_size] == [side; 3]
                && of.ab_type == CooperativeScalarType::F16
                && of.cr_type == CooperativeScalarType::F32
        })
    };
    let [smallest, largest] = subgroups;
    if smallest < 4 || largest > 64 {
        return None;
    }
    let of = |side| Matrices::new(side, subgroups);
    [16, 8].into_iter().filter(|&side| fits(side)).map(of).find(|of| of.workgroup_bytes() <= workgroup_bytes)
}

/// Rows, inputs and outputs of the product that is checked: no multiples of a block.
const EXTENTS: [usize; 3] = [70, 44, 36];

/// Multiples of 1/8 from -2 to 2 in no order.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|n| ((n * 37 + n / 7 * 11 + seed) % 33) as f32 / 8.0 - 2.0).collect()
}

/// Whether the device multiplies as it should.
///
/// # Errors
/// The device fails.
pub(crate) fn multiplies(device: &GpuDevice) -> Result<()> {
    let [rows, inputs, outputs] = EXTENTS;
    let gpu = device.backend(BackendOptions::in_precision(device.fastest_precision()))?;
    let (x, weight) = (numbers(rows * inputs, 3), numbers(outputs * inputs, 5));
    let on_device = gpu.param("check", ParamKind::Linear, [outputs, inputs].into(), &weight)?;
    let y =
        gpu.linear(&gpu.from_f32([1, rows, inputs].into(), x.clone())?, &on_device, None, None, Activation::None)?;
    for (n, got) in gpu.to_f32(&y)?.into_iter().enumerate() {
        let (x, weight) = (&x[n / outputs * inputs..][..inputs], &weight[n % outputs * inputs..][..inputs]);
        // The sums are exact in any order, so only the rounding to f16 is left.
        let expected: f32 = x.iter().zip(weight).map(|(x, w)| x * w).sum();
        if (got - expected).abs() > 1e-3 * expected.abs() {
            return Err(device
                .context
                .error(format!("it computes {got} where {expected} is right: update its driver")));
        }
    }
    Ok(())
}

/// The tier that the variable asks for, if it is set.
pub(crate) fn asked() -> Result<Option<Tier>> {
    let refused = |message| Error::Device { device: "gpu".into(), message: format!("{VARIABLE}: {message}") };
    match std::env::var(VARIABLE) {
        Ok(id) if !id.is_empty() => id.parse().map(Some).map_err(refused),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_matrices_that_fit_are_taken() {
        let of = |side, ab_type, cr_type| CooperativeMatrixProperties {
            m_size: side,
            n_size: side,
            k_size: side,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        };
        use CooperativeScalarType::{F16, F32};
        let (large, small) = (of(16, F16, F32), of(8, F16, F32));
        let side = |properties: &[_], subgroups, bytes| matrices(properties, subgroups, bytes).map(|of| of.side);
        assert_eq!(side(&[small, large], [32, 32], 48 << 10), Some(16));
        assert_eq!(side(&[small, large], [32, 64], 64 << 10), Some(16));
        // Too many subgroups for the memory.
        assert_eq!(side(&[small, large], [8, 32], 32 << 10), Some(8));
        assert_eq!(side(&[large], [8, 32], 32 << 10), None);
        assert_eq!(side(&[small], [8, 8], 32 << 10), Some(8));
        // Sums in f16 are none.
        assert_eq!(side(&[of(16, F16, F16), of(16, F32, F32)], [32, 32], 48 << 10), None);
        assert_eq!(side(&[], [32, 32], 48 << 10), None);
    }
}
