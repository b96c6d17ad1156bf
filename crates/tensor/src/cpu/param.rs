use std::sync::{Arc, OnceLock};

use super::{
    Cpu, Tensor,
    element::narrow,
    packed::{Format, Packed},
    upsample_conv::Quarters,
};
use crate::{DType, Error, ParamKind, Precision, Result, Shape, infer};

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
    /// A weight for [`Backend::upsample_conv2d`](crate::Backend::upsample_conv2d) alone.
    Quarters(Arc<Quarters>),
    Plain(Tensor),
}

/// A packed weight, and its transpose once a gradient has asked for it.
pub(super) struct Weight {
    pub(super) packed: Packed,
    transposed: OnceLock<Packed>,
    quarters: OnceLock<Quarters>,
}

impl Weight {
    /// For gradients, which are computed in f32 only.
    pub(super) fn transposed(&self, cpu: &Cpu, op: &'static str) -> Result<&Packed> {
        if cpu.precision != Precision::F32 {
            let message = format!("gradients are computed in f32, the backend is {}", cpu.precision);
            return Err(Error::Invalid { op, message });
        }
        Ok(self.transposed.get_or_init(|| self.packed.transposed(&cpu.threads, &cpu.pool)))
    }
}

impl Param {
    pub(super) fn new(cpu: &Cpu, kind: ParamKind, shape: Shape, data: &[f32]) -> Result<Self> {
        infer::param(kind, shape)?;
        infer::data("param", shape, data.len())?;
        let [channels, columns] = match (kind, &*shape) {
            (ParamKind::Conv | ParamKind::UpsampledConv, &[_, _, channels, columns])
            | (ParamKind::Linear, &[channels, columns]) => [channels, columns],
            (ParamKind::Table, _) => {
                let table = cpu.make(shape, |to| narrow(cpu.isa, data, to));
                return Ok(Self { shape, form: Form::Plain(table) });
            }
            _ => {
                let vector = cpu.make_f32(shape, |to| to.copy_from_slice(data));
                return Ok(Self { shape, form: Form::Plain(vector) });
            }
        };
        let format = Format::new(cpu.isa, cpu.precision.activations());
        let matrix = [shape.rows() / channels, channels, columns];
        let divides = kind == ParamKind::UpsampledConv && cpu.precision != Precision::F32;
        let first = if divides { Format::new(cpu.isa, DType::F32) } else { format };
        let packed = Packed::new(first, &cpu.threads, &cpu.pool, matrix, |tap, channel, n, row| {
            row.copy_from_slice(&data[(tap * channels + channel) * columns + n..][..row.len()]);
        });
        if divides {
            return Ok(Self { shape, form: Form::Quarters(Arc::new(packed.quarters(cpu, format))) });
        }
        let weight = Weight { packed, transposed: OnceLock::new(), quarters: OnceLock::new() };
        Ok(Self { shape, form: Form::Weight(Arc::new(weight)) })
    }

    /// The four kernels of a 3×3 one after upsampling, if it has them or can have them.
    pub(super) fn quarters(&self, cpu: &Cpu) -> Option<&Quarters> {
        match &self.form {
            Form::Quarters(quarters) => Some(quarters),
            Form::Weight(weight) if weight.packed.format == Format::new(cpu.isa, DType::F32) => {
                Some(weight.quarters.get_or_init(|| weight.packed.quarters(cpu, weight.packed.format)))
            }
            _ => None,
        }
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
            Form::Quarters(_) => {
                Err(Error::Invalid { op, message: format!("the weight {} is for upsample_conv2d only", self.shape) })
            }
        }
    }

    /// The floats of a vector.
    pub(super) fn vector(&self, op: &'static str) -> Result<&[f32]> {
        self.plain(op)?.f32(op)
    }

    /// A vector or a table.
    pub(super) fn plain(&self, op: &'static str) -> Result<&Tensor> {
        match &self.form {
            Form::Plain(tensor) => Ok(tensor),
            Form::Weight(_) | Form::Quarters(_) => Err(Error::Invalid {
                op,
                message: format!("{} is a packed weight, expected a vector or a table", self.shape),
            }),
        }
    }
}
