//! One table of operation cases that drives everything: each backend against the reference, each gradient against
//! finite differences, and timings (ggml's habit).
//!
//! [`table`] has awkward shapes, small enough for the reference; [`timing`] has Stable Diffusion's own.

mod run;
mod table;
mod timing;
pub mod truth;
mod values;

use std::fmt;

pub use run::{Recorded, Value};
pub use table::table;
pub use timing::timing;
pub use values::Values;

use crate::{Op, ParamKind, Shape};

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
    /// Its inputs: tensors, and parameters, each in the order that [`Op`] tells.
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
        let (tensors, params): (Vec<&Input>, Vec<_>) = self.inputs.iter().partition(|input| input.role == Role::Tensor);
        let shapes = |of: Vec<&Input>| -> Vec<Shape> { of.iter().map(|input| input.shape).collect() };
        self.op.flops(&shapes(tensors), &shapes(params))
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
