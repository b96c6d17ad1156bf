use std::sync::{Arc, OnceLock};

use super::{Cpu, Tensor, packed::Packed};
use crate::{Error, ParamKind, Result, Shape, infer};

/// A parameter: a weight packed for the kernels, or a plain array. Cloning shares it.
#[derive(Clone)]
pub struct Param {
    shape: Shape,
    form: Form,
}

/// Weights of other element types become further forms.
#[derive(Clone)]
enum Form {
    Weight(Arc<Weight>),
    Plain(Tensor),
}

/// A packed weight, and its transpose once a gradient has asked for it.
pub(super) struct Weight {
    pub(super) packed: Packed,
    taps: usize,
    transposed: OnceLock<Packed>,
}

impl Weight {
    pub(super) fn transposed(&self, cpu: &Cpu) -> &Packed {
        self.transposed.get_or_init(|| self.packed.transposed(&cpu.threads, &cpu.pool, self.taps))
    }
}

impl Param {
    pub(super) fn new(cpu: &Cpu, kind: ParamKind, shape: Shape, data: &[f32]) -> Result<Self> {
        infer::param(kind, shape)?;
        infer::data("param", shape, data.len())?;
        let columns = shape.last();
        let taps = match kind {
            ParamKind::Conv => shape[0] * shape[1],
            ParamKind::Linear => 1,
            ParamKind::Vector | ParamKind::Table => {
                return Ok(Self { shape, form: Form::Plain(cpu.make(shape, |to| to.copy_from_slice(data))) });
            }
        };
        let packed = Packed::new(cpu.isa, &cpu.threads, &cpu.pool, [shape.rows(), columns], |k, n, row| {
            row.copy_from_slice(&data[k * columns + n..][..row.len()]);
        });
        Ok(Self { shape, form: Form::Weight(Arc::new(Weight { packed, taps, transposed: OnceLock::new() })) })
    }

    /// Its extents, in the layout of its kind.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn weight(&self, op: &'static str) -> Result<&Weight> {
        match &self.form {
            Form::Weight(weight) => Ok(weight),
            Form::Plain(_) => {
                Err(Error::Invalid { op, message: format!("the weight {} is a vector or a table", self.shape) })
            }
        }
    }

    pub(super) fn plain(&self, op: &'static str) -> Result<&[f32]> {
        match &self.form {
            Form::Plain(tensor) => Ok(tensor.data()),
            Form::Weight(_) => Err(Error::Invalid {
                op,
                message: format!("{} is a packed weight, expected a vector or a table", self.shape),
            }),
        }
    }
}
