use std::sync::{Arc, OnceLock};

use super::{
    Cpu, Tensor,
    conv::upsample::{SubpixelKernels, load_subpixel_kernels},
    gemm::{
        packed::{Format, Packed},
        quantise,
    },
};
use crate::{DType, Error, ParamData, ParamKind, ParamRole, Precision, Result, Shape, op_shapes};

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
    Subpixel(Arc<SubpixelKernels>),
    Plain(Tensor),
}

impl Form {
    fn weight(packed: Packed) -> Self {
        Self::Weight(Arc::new(Weight { packed, transposed: OnceLock::new(), subpixel: OnceLock::new() }))
    }
}

/// A packed weight, and its transpose once a gradient has asked for it.
pub(super) struct Weight {
    pub(super) packed: Packed,
    transposed: OnceLock<Packed>,
    subpixel: OnceLock<SubpixelKernels>,
}

impl Weight {
    /// For gradients, which are computed in f32 only.
    pub(super) fn transposed(&self, cpu: &Cpu, op: &'static str) -> Result<&Packed> {
        if cpu.precision != Precision::F32 {
            let message = format!("gradients are computed in f32, the backend is {}", cpu.precision);
            return Err(Error::Invalid { op, message });
        }
        get_or_try_init(&self.transposed, || self.packed.transposed(cpu))
    }
}

impl Param {
    /// From data in the layout of its kind. What is trained is never in 8 bits.
    pub(super) fn new(cpu: &Cpu, kind: ParamKind, shape: Shape, data: &[f32]) -> Result<Self> {
        op_shapes::param(kind, shape)?;
        op_shapes::data("param", shape, data.len())?;
        let Some(matrix @ [_, channels, columns]) = matrix(kind, shape) else {
            return Self::load(cpu, kind.into(), shape, &data);
        };
        let packed = |format| {
            Packed::new(cpu, format, matrix, |tap, channel, n, row| {
                row.copy_from_slice(&data[(tap * channels + channel) * columns + n..][..row.len()]);
            })
        };
        let format = Format::new(cpu.isa, cpu.products);
        let form = match divides(cpu, kind) {
            true => Form::Subpixel(Arc::new(packed(Format::new(cpu.isa, DType::F32))?.subpixel_kernels(cpu, format)?)),
            false => Form::weight(packed(format)?),
        };
        Ok(Self { shape, form })
    }

    /// From data in the layout of files.
    pub(super) fn load(cpu: &Cpu, role: ParamRole, file_shape: Shape, data: &dyn ParamData) -> Result<Self> {
        let shape = op_shapes::param_from_file(role.kind, file_shape, data.count())?;
        let form = match storage(cpu, role, shape) {
            Storage::Subpixel(format, matrix) => {
                Form::Subpixel(Arc::new(load_subpixel_kernels(cpu, format, matrix, data)?))
            }
            Storage::Matrix(format, matrix) => Form::weight(Packed::load(cpu, format, matrix, data)?),
            Storage::Plain(dtype) => Form::Plain(cpu.load(shape, dtype, data)?),
        };
        Ok(Self { shape, form })
    }

    /// The four kernels of a 3×3 one after upsampling, if it has them or can have them.
    pub(super) fn subpixel_kernels(&self, cpu: &Cpu) -> Result<Option<&SubpixelKernels>> {
        match &self.form {
            Form::Subpixel(kernels) => Ok(Some(kernels)),
            Form::Weight(weight) if weight.packed.format == Format::new(cpu.isa, DType::F32) => {
                get_or_try_init(&weight.subpixel, || weight.packed.subpixel_kernels(cpu, weight.packed.format))
                    .map(Some)
            }
            _ => Ok(None),
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
            Form::Subpixel(_) => {
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
            Form::Weight(_) | Form::Subpixel(_) => Err(Error::Invalid {
                op,
                message: format!("{} is a packed weight, expected a vector or a table", self.shape),
            }),
        }
    }
}

/// What a cell holds, made by `make` if it is empty. Of two that make it at once one is kept.
fn get_or_try_init<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// How a parameter is kept.
pub(super) enum Storage {
    /// A matrix `[taps, channels, columns]`.
    Matrix(Format, [usize; 3]),
    /// The four kernels of such a one.
    Subpixel(Format, [usize; 3]),
    Plain(DType),
}

impl Storage {
    /// The bytes of a parameter of `role` and `shape` that is kept so, those that its first use takes included. What its buffer is larger
    /// by is never touched, and so takes no memory.
    pub(super) fn bytes(&self, role: ParamRole, shape: Shape) -> usize {
        let kernels =
            |format: Format, [_, channels, columns]: [usize; 3]| 4 * Packed::bytes(format, [4, channels, columns]);
        match *self {
            Self::Plain(dtype) => shape.count() * dtype.size(),
            Self::Subpixel(format, matrix) => kernels(format, matrix),
            Self::Matrix(format, matrix) if role.kind == ParamKind::UpsampledConv => {
                Packed::bytes(format, matrix) + kernels(format, matrix)
            }
            Self::Matrix(format, matrix) => Packed::bytes(format, matrix),
        }
    }

    /// The format that its products are computed in; none for a vector or a table.
    pub(super) fn format(&self) -> Option<Format> {
        match *self {
            Self::Matrix(format, _) | Self::Subpixel(format, _) => Some(format),
            Self::Plain(_) => None,
        }
    }
}

/// How a parameter of this shape is kept, in the layout of its kind.
pub(super) fn storage(cpu: &Cpu, ParamRole { kind, quantise }: ParamRole, shape: Shape) -> Storage {
    let Some(matrix) = matrix(kind, shape) else {
        return Storage::Plain(if kind == ParamKind::Table { cpu.precision.activations() } else { DType::F32 });
    };
    let format = Format::new(cpu.isa, stored(cpu, quantise, matrix[1]));
    if divides(cpu, kind) { Storage::Subpixel(format, matrix) } else { Storage::Matrix(format, matrix) }
}

/// `[taps, channels, columns]` of a weight; none for a vector or a table.
fn matrix(kind: ParamKind, shape: Shape) -> Option<[usize; 3]> {
    match (kind, &*shape) {
        (ParamKind::Conv | ParamKind::UpsampledConv, &[kh, kw, channels, columns]) => {
            Some([kh * kw, channels, columns])
        }
        (ParamKind::Linear, &[channels, columns]) => Some([1, channels, columns]),
        _ => None,
    }
}

/// Whether a weight is kept as its four kernels only: in `f32` it is trained too, which takes the whole.
fn divides(cpu: &Cpu, kind: ParamKind) -> bool {
    kind == ParamKind::UpsampledConv && cpu.precision != Precision::F32
}

/// The type that a weight with this many input channels is kept in.
fn stored(cpu: &Cpu, quantise: bool, channels: usize) -> DType {
    let in_bytes = cpu.precision == Precision::Int8 && quantise && channels <= quantise::LONGEST;
    if in_bytes { DType::I8 } else { cpu.products }
}
