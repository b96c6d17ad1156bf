//! One table of operation cases that drives everything: each backend against the reference, each gradient against
//! finite differences, and timings (ggml's habit).
//!
//! [`table`] has awkward shapes, small enough for the reference; [`timing`] has Stable Diffusion's own.

mod run;
mod table;
mod timing;
mod values;

use std::fmt;

pub use run::Value;
pub use table::table;
pub use timing::timing;
pub use values::Values;

use crate::{Activation, Attention, Conv2d, ParamKind, Shape};

/// One operation of [`Backend`](crate::Backend) with all arguments but the tensors and parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Inputs `x`, `weight`, then `bias` and `residual` where they are there.
    Conv2d {
        /// Whether there is a bias.
        bias: bool,
        /// Whether there is a residual.
        residual: bool,
        /// Stride, padding, activation.
        options: Conv2d,
    },
    /// Inputs `x`, `weight`, then `bias` and `residual` where they are there.
    Linear {
        /// Whether there is a bias.
        bias: bool,
        /// Whether there is a residual.
        residual: bool,
        /// The activation.
        activation: Activation,
    },
    /// Inputs `x`, `weight`, then `bias` where it is there.
    UpsampleConv2d {
        /// Whether there is a bias.
        bias: bool,
    },
    /// Inputs `x`, `weight`, then `bias` where it is there.
    LinearGeglu {
        /// Whether there is a bias.
        bias: bool,
    },
    /// Inputs `q`, `k`, `v`.
    Attention(Attention),
    /// Inputs `x`, `gamma`, `beta`.
    GroupNorm {
        /// How many groups.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// The activation.
        activation: Activation,
    },
    /// Inputs `x`, `gamma`, `beta`.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Input `x`.
    Activation(Activation),
    /// Input `x`.
    Geglu,
    /// Inputs `a`, `b`.
    Add,
    /// Inputs `a`, `b`.
    Sub,
    /// Inputs `a`, `b`.
    Mul,
    /// Input `x`.
    Scale(f32),
    /// Inputs `x`, `v`.
    AddChannels,
    /// Input `x`.
    Abs,
    /// Input `x`.
    Exp,
    /// Input `x`.
    Clamp {
        /// The least result.
        low: f32,
        /// The greatest result.
        high: f32,
    },
    /// Input `x`.
    Mean,
    /// Input `x`; the new shape.
    Reshape(Shape),
    /// Input `x`.
    Narrow {
        /// The first channel taken.
        start: usize,
        /// How many are taken.
        length: usize,
    },
    /// Inputs `a`, `b`.
    Concat,
    /// Input `x`.
    UpsampleNearest2x,
    /// Input `table`.
    Embedding {
        /// The rows to take.
        ids: Vec<u32>,
        /// Among how many sequences they are divided.
        batch: usize,
    },
}

impl Op {
    /// Floating-point operations of one forward run with inputs of these shapes, a multiplication and an addition
    /// counted as two. A bias, an activation and a residual in a product's epilogue are not counted.
    ///
    /// For the operations that are bound by memory it is one per element of the inputs: for a lookup, of those taken.
    /// A change of shape is none.
    pub fn flops(&self, shapes: &[Shape]) -> f64 {
        let shape = |i: usize| shapes.get(i).copied().unwrap_or(Shape::from([0]));
        let products = match self {
            Op::Conv2d { options, .. } => {
                let pixels = crate::infer::conv2d(shape(0), shape(1), options).map_or(0, |y| y.rows());
                pixels as f64 * shape(1).count() as f64
            }
            // Four taps of nine: a pixel of the result sees as many of the small picture.
            Op::UpsampleConv2d { .. } => 4.0 * shape(0).rows() as f64 * shape(1).count() as f64 * 4.0 / 9.0,
            Op::Linear { .. } | Op::LinearGeglu { .. } => shape(0).rows() as f64 * shape(1).count() as f64,
            Op::Attention(options) => crate::infer::attention(shape(0), shape(1), shape(2), options)
                .map_or(0.0, |n| 2.0 * (n.batch * n.queries * n.keys) as f64 * shape(0).last() as f64),
            Op::Embedding { ids, .. } => return (ids.len() * shape(0).last()) as f64,
            Op::Reshape(_) => return 0.0,
            _ => return shapes.iter().map(|shape| shape.count() as f64).sum(),
        };
        2.0 * products
    }
}

/// Whether an input is a tensor or a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A [`Backend::Tensor`](crate::Backend::Tensor).
    Tensor,
    /// A [`Backend::Param`](crate::Backend::Param) of a kind.
    Param(ParamKind),
}

/// One argument of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// What the operation calls it.
    pub name: &'static str,
    /// Its shape, a parameter's in the layout of its kind.
    pub shape: Shape,
    /// Tensor or parameter.
    pub role: Role,
    /// How its elements are drawn.
    pub values: Values,
}

/// An operation with the shapes of its inputs; every input is differentiable.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The operation.
    pub op: Op,
    /// Its inputs, in the order that [`Op`] tells.
    pub inputs: Vec<Input>,
}

impl fmt::Display for Case {
    /// `Conv2d { … } x (1, 5, 7, 3) weight (3, 3, 3, 17)`: unique in a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.op {
            Op::Embedding { ids, batch } => write!(f, "Embedding {{ {} ids, batch: {batch} }}", ids.len())?,
            op => write!(f, "{op:?}")?,
        }
        self.inputs.iter().try_for_each(|input| write!(f, " {} {}", input.name, input.shape))
    }
}

impl Case {
    /// The elements of each input, drawn from `seed`: the same on every machine.
    pub fn inputs(&self, seed: u64) -> Vec<Vec<f32>> {
        let draw = |(i, input): (usize, &Input)| input.values.draw(seed, i as u64, input.shape.count());
        self.inputs.iter().enumerate().map(draw).collect()
    }

    /// [`Op::flops`] of its inputs.
    pub fn flops(&self) -> f64 {
        let shapes: Vec<Shape> = self.inputs.iter().map(|input| input.shape).collect();
        self.op.flops(&shapes)
    }

    /// The length of the longest sum in the operation or its gradients: what its rounding error grows with.
    pub fn longest_sum(&self) -> usize {
        let longest = |input: &Input| {
            let [count, last] = [input.shape.count(), input.shape.last()];
            match input.role {
                // Over the pixels or rows, or over the channels.
                Role::Tensor => (count / last.max(1)).max(last),
                Role::Param(ParamKind::Conv | ParamKind::UpsampledConv) => {
                    count / input.shape[2..].iter().copied().min().unwrap_or(1).max(1)
                }
                Role::Param(_) => input.shape.iter().copied().max().unwrap_or(1),
            }
        };
        let inputs = self.inputs.iter().map(longest).max().unwrap_or(1);
        match self.op {
            Op::Mean | Op::GroupNorm { .. } => inputs.max(self.inputs.first().map_or(1, |x| x.shape.count())),
            _ => inputs,
        }
    }
}
