//! Runs a case on a backend, forward and backward.

use super::{Case, Role};
use crate::{
    Backend, Differentiable, Error, ParamKind, Result,
    tape::{Gradients, Parameter, Tape, Var},
    to_file_layout,
};

/// An input on a backend.
pub enum Value<B: Backend> {
    /// An activation.
    Tensor(B::Tensor),
    /// A parameter.
    Param {
        /// What it is.
        kind: ParamKind,
        /// Its elements, in the layout of its kind.
        value: B::Tensor,
        /// The form that the backend computes with.
        packed: B::Param,
    },
}

impl Case {
    /// Puts `data`, one for each input, on a backend.
    pub fn upload<B: Backend>(&self, backend: &B, data: &[Vec<f32>]) -> Result<Vec<Value<B>>> {
        let upload = |(input, data): (&super::Input, &Vec<f32>)| {
            let value = backend.from_f32(input.shape, data.clone())?;
            let Role::Param(kind) = input.role else { return Ok(Value::Tensor(value)) };
            let (shape, data) = to_file_layout(kind, input.shape, data.clone(), backend.threads())?;
            Ok(Value::Param { kind, value, packed: backend.param(input.name, kind, shape, &data)? })
        };
        self.inputs.iter().zip(data).map(upload).collect()
    }

    /// Runs the operation.
    pub fn forward<B: Backend>(&self, backend: &B, inputs: &[Value<B>]) -> Result<B::Tensor> {
        let (mut tensors, mut params) = (Vec::new(), Vec::new());
        for input in inputs {
            match input {
                Value::Tensor(x) => tensors.push(x),
                Value::Param { packed, .. } => params.push(packed),
            }
        }
        backend.run(&self.op, &tensors, &params)
    }

    /// Runs the operation on a tape, for the gradients of all inputs.
    pub fn record<B: Differentiable + Clone>(&self, backend: &B, inputs: &[Value<B>]) -> Result<Recorded<B>> {
        let tape = Tape::new(backend.clone());
        let input = |(n, input): (usize, &Value<B>)| {
            Ok(match input {
                Value::Tensor(x) => Recording::Leaf(tape.leaf(x.clone())),
                Value::Param { kind, value, .. } => {
                    Recording::Parameter(tape.parameter(&n.to_string(), *kind, value.clone())?)
                }
            })
        };
        let inputs = inputs.iter().enumerate().map(input).collect::<Result<Vec<_>>>()?;
        let (mut tensors, mut params) = (Vec::new(), Vec::new());
        for input in &inputs {
            match input {
                Recording::Leaf(x) => tensors.push(x),
                Recording::Parameter(p) => params.push(p),
            }
        }
        let y = tape.run(&self.op, &tensors, &params)?;
        Ok(Recorded { tape, inputs, y })
    }

    /// The gradients of all inputs, in their order, where `dy` is that of the result.
    pub fn backward<B: Differentiable + Clone>(
        &self,
        backend: &B,
        inputs: &[Value<B>],
        dy: &B::Tensor,
    ) -> Result<Vec<B::Tensor>> {
        self.record(backend, inputs)?.backward(dy)
    }
}

/// A case that ran on a tape.
pub struct Recorded<B: Differentiable> {
    tape: Tape<B>,
    inputs: Vec<Recording<B>>,
    y: Var<B>,
}

/// An input on a tape.
enum Recording<B: Differentiable> {
    Leaf(Var<B>),
    Parameter(Parameter<B>),
}

impl<B: Differentiable> Recorded<B> {
    /// The gradients of all inputs, in their order, where `dy` is that of the result.
    pub fn backward(self, dy: &B::Tensor) -> Result<Vec<B::Tensor>> {
        let gradients: Gradients<B> = self.tape.backward_from(&self.y, dy.clone())?;
        let gradient = |input: &Recording<B>| {
            let gradient = match input {
                Recording::Leaf(x) => gradients.leaf(x),
                Recording::Parameter(p) => gradients.get(p),
            };
            let missing = || Error::Invalid { op: "case", message: "an input has no gradient".into() };
            gradient.cloned().ok_or_else(missing)
        };
        self.inputs.iter().map(gradient).collect()
    }
}
