//! The operations: what each kernel is told, and over how many workgroups.

pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod form;
pub(crate) mod norm;
pub(crate) mod product;

use calotype_tensor::{Activation, Error, Result};

use crate::{arena::Span, kernel::Program};

/// A run of a kernel in the type of a backend.
pub(crate) struct Run<'a> {
    pub(crate) program: Program,
    pub(crate) wide: bool,
    pub(crate) spans: &'a [Option<Span<'a>>],
    pub(crate) words: &'a [u32],
    pub(crate) grid: [usize; 3],
}

/// The number of an activation in `functions.wgsl`.
pub(crate) fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::None => 0,
        Activation::Silu => 1,
        Activation::Gelu => 2,
        Activation::QuickGelu => 3,
        Activation::Relu => 4,
        Activation::LeakyRelu => 5,
        Activation::Sigmoid => 6,
    }
}

/// Extents as kernels take them.
pub(crate) fn words<const N: usize>(op: &'static str, extents: [usize; N]) -> Result<[u32; N]> {
    // Elements are counted in 32 bits too.
    match extents.iter().find(|&&extent| extent > u32::MAX as usize / 4) {
        Some(extent) => Err(Error::Invalid { op, message: format!("{extent} is more than a card counts to") }),
        None => Ok(extents.map(|extent| extent as u32)),
    }
}

/// How many elements a kernel reads at a time, where each row has so many: four, if they are a multiple.
pub(crate) fn lanes(widths: &[usize]) -> usize {
    if widths.iter().all(|width| width.is_multiple_of(4)) { 4 } else { 1 }
}
