//! Which convolutions are computed by Winograd's method, and how.

use super::{stride, transform::Size};
use crate::cpu::{
    Cpu, Isa,
    gemm::{arithmetic::Arithmetic, packed::Panel},
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

/// With fewer tiles than this the transformed inputs are kept and the weights transformed panel by panel; with more it is the
/// other way round.
const FEW_TILES: usize = 144;
/// Floats that the transformed weights may take.
pub(super) const WEIGHTS: usize = 8 << 20;

/// What is transformed first and kept for all threads.
#[derive(Clone, Copy)]
pub(crate) enum Kept {
    /// All inputs.
    Inputs,
    /// The weights of so many panels at a time.
    Weights {
        /// How many.
        panels: usize,
    },
}

/// A convolution of `(B, H, W, I)` to `(B, H', W', O)` by tiles.
pub(crate) struct Plan {
    pub(super) size: Size,
    /// I.
    pub(super) channels: usize,
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
    /// For `x` to `y` by a weight of this arithmetic and these input channels, unless the direct method is to be taken.
    pub(crate) fn new(
        cpu: &Cpu,
        (arithmetic, channels): (Arithmetic, usize),
        [x, y]: [Shape; 2],
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Option<Self> {
        // Sums of bytes are exact and fast; there is nothing to transform.
        if kernel != [3, 3] || options.stride != 1 || arithmetic == Arithmetic::Int8 {
            return None;
        }
        let output = [y[1], y[2]];
        let tiles = |size: Size| output.map(|extent| extent.div_ceil(size.outputs()));
        // The choice depends on the picture, never on how many there are: each is the same in any batch.
        let of_picture = |size: Size| tiles(size)[0] * tiles(size)[1];
        let exact = cpu.products == DType::F32;
        let size = if exact || of_picture(Size::Four) < SIX_FROM { Size::Four } else { Size::Six };
        let plan = Self {
            size,
            channels,
            input: [x[1], x[2]],
            output,
            tiles: tiles(size),
            count: y[0] * of_picture(size),
            padding: options.padding,
            turned: false,
        };
        let chosen = match cpu.convolution {
            Convolution::Auto => plan.wins(arithmetic),
            Convolution::Direct => false,
            Convolution::Winograd => true,
        };
        chosen.then_some(plan)
    }

    /// For the gradient `dy` of a result to that of the input, `dx`: a convolution with the transposed weight, turned.
    pub(crate) fn backward(
        cpu: &Cpu,
        transposed: (Arithmetic, usize),
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
    fn wins(&self, arithmetic: Arithmetic) -> bool {
        let least = if arithmetic == Arithmetic::F32 { 3 } else { 12 };
        self.channels >= LEAST_CHANNELS && self.tiles[0] * self.tiles[1] >= least
    }

    /// What is kept for a weight of so many columns.
    pub(crate) fn kept(&self, isa: Isa, columns: usize) -> Kept {
        if self.count < FEW_TILES { Kept::Inputs } else { self.weights_kept(isa, columns, WEIGHTS) }
    }

    /// The weights of as many panels as `most` floats hold, at least those of one; as many each time.
    pub(super) fn weights_kept(&self, isa: Isa, columns: usize, most: usize) -> Kept {
        let (panels, one) = (Panel::all(isa, columns).len(), self.panel_floats(isa, columns));
        let at_a_time = (most / one).clamp(1, panels);
        Kept::Weights { panels: panels.div_ceil(panels.div_ceil(at_a_time)) }
    }

    /// The floats that what is kept takes.
    pub(crate) fn kept_floats(&self, kept: Kept, isa: Isa, columns: usize) -> usize {
        match kept {
            Kept::Inputs => self.size.points() * stride(self.count * self.channels),
            Kept::Weights { panels } => panels * self.panel_floats(isa, columns),
        }
    }

    /// The floats of a panel's weights.
    fn panel_floats(&self, isa: Isa, columns: usize) -> usize {
        self.size.points() * self.weights_stride(isa, columns)
    }

    /// Floats from point to point of a panel's weights.
    pub(super) fn weights_stride(&self, isa: Isa, columns: usize) -> usize {
        let width = Panel::all(isa, columns).next().map_or(0, |first| first.width);
        stride(self.channels.next_multiple_of(2) * width)
    }
}
