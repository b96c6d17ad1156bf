//! Which convolutions are computed by Winograd's method, and how.

use super::{
    super::{Cpu, arithmetic::Arithmetic, packed::Packed},
    transform::Size,
};
use crate::{Conv2d, DType, Padding, Shape};

/// With as many tiles of 4 × 4 in a picture the larger ones are faster, and pay for a margin that falls outside of the picture. In `f32` they
/// are not taken, for their error; it is far below a rounding to 16 bits.
const SIX_FROM: usize = 1000;
/// With fewer input channels than this, transforms cost more than products.
const LEAST_CHANNELS: usize = 16;

/// How 3×3 convolutions with stride 1 are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Convolution {
    /// By whichever method is faster for the shape.
    #[default]
    Auto,
    /// As sums of products of inputs and weights.
    Direct,
    /// By Winograd's minimal filtering, with a fourth of the products (Lavin & Gray 2016).
    Winograd,
}

/// A convolution of `(B, H, W, I)` to `(B, H', W', O)` by tiles.
pub(crate) struct Plan {
    pub(super) size: Size,
    /// H and W.
    pub(super) input: [usize; 2],
    /// H' and W'.
    pub(super) output: [usize; 2],
    /// Down and across.
    pub(super) tiles: [usize; 2],
    /// Of all pictures.
    pub(super) count: usize,
    pub(super) padding: Padding,
    /// Whether the kernel is turned by 180°.
    pub(super) turned: bool,
}

impl Plan {
    /// For `x` to `y`, unless the direct method is to be taken.
    pub(crate) fn new(
        cpu: &Cpu,
        weight: &Packed,
        [x, y]: [Shape; 2],
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Option<Self> {
        // Sums of bytes are exact and fast; there is nothing to transform.
        if kernel != [3, 3] || options.stride != 1 || weight.format.arithmetic == Arithmetic::Int8 {
            return None;
        }
        let output = [y[1], y[2]];
        let tiles = |size: Size| output.map(|extent| extent.div_ceil(size.outputs()));
        // The choice depends on the picture, never on how many there are: each is the same in any batch.
        let of_picture = |size: Size| tiles(size)[0] * tiles(size)[1];
        let exact = cpu.precision.activations() == DType::F32;
        let size = if exact || of_picture(Size::Four) < SIX_FROM { Size::Four } else { Size::Six };
        let plan = Self {
            size,
            input: [x[1], x[2]],
            output,
            tiles: tiles(size),
            count: y[0] * of_picture(size),
            padding: options.padding,
            turned: false,
        };
        let chosen = match cpu.convolution {
            Convolution::Auto => plan.wins(weight),
            Convolution::Direct => false,
            Convolution::Winograd => true,
        };
        chosen.then_some(plan)
    }

    /// For the gradient `dy` of a result to that of the input, `dx`: a convolution with the transposed weight, turned.
    pub(crate) fn backward(
        cpu: &Cpu,
        transposed: &Packed,
        shapes: [Shape; 2],
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Option<Self> {
        let Padding { top, left, bottom, right } = options.padding;
        let turned = |before: usize| 2usize.checked_sub(before);
        let padding =
            Padding { top: turned(top)?, left: turned(left)?, bottom: turned(bottom)?, right: turned(right)? };
        let plan = Self::new(cpu, transposed, shapes, kernel, Conv2d { padding, ..options })?;
        Some(Self { turned: true, ..plan })
    }

    /// Whether this is faster than the direct method, by measurement.
    fn wins(&self, weight: &Packed) -> bool {
        let least = if weight.format.arithmetic == Arithmetic::F32 { 3 } else { 12 };
        weight.channels >= LEAST_CHANNELS && self.tiles[0] * self.tiles[1] >= least
    }
}
