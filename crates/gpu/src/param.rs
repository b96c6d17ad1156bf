//! Parameters as the kernels read them, and their way there.

use std::sync::Arc;

use calotype_tensor::{DType, Error, ParamData, ParamKind, ParamRole, Result, Shape, from_file_layout, op_shapes};

use crate::{
    Gpu,
    arena::{Place, Span},
    elements::encode,
};

/// Bytes of a weight, in f32, that are on their way at a time.
const PIECE: usize = 32 << 20;

/// A parameter on the device. Cloning shares it.
#[derive(Clone)]
pub struct Param {
    shape: Shape,
    form: Form,
    place: Arc<Place>,
}

/// How a parameter lies in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `(taps, I, O)` in the backend's type, with `O` padded to a multiple of four.
    Weight,
    /// The same of the four 2×2 kernels of a convolution after upsampling: `(4, 4, I, O)`.
    Subpixel,
    /// In f32.
    Vector,
    /// In the backend's type.
    Table,
}

/// How many columns a row of a weight has in memory.
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(4)
}

/// What a parameter takes.
pub(crate) fn bytes(kind: ParamKind, shape: Shape, dtype: DType) -> usize {
    let (last, size) = (shape.last(), dtype.size());
    match kind {
        ParamKind::Conv | ParamKind::Linear => shape.count() / last * padded(last) * size,
        ParamKind::UpsampledConv => 16 * (shape.count() / last / 9) * padded(last) * size,
        ParamKind::Vector => shape.count() * DType::F32.size(),
        ParamKind::Table => shape.count() * size,
    }
}

/// Some of the inputs of a weight `(O, I, K)` in the layout of files, as a weight of its own.
struct Inputs<'a> {
    data: &'a dyn ParamData,
    gpu: &'a Gpu,
    outputs: usize,
    /// `I·K`.
    row: usize,
    /// The first element of a row that is taken, and how many are.
    part: [usize; 2],
}

impl ParamData for Inputs<'_> {
    fn count(&self) -> usize {
        self.outputs * self.part[1]
    }

    fn read(&self, mut start: usize, mut to: &mut [f32]) -> Result<()> {
        self.gpu.cancel.check()?;
        let [first, width] = self.part;
        if width == self.row {
            return self.data.read(start, to);
        }
        while !to.is_empty() {
            let column = start % width;
            let (now, rest) = to.split_at_mut(to.len().min(width - column));
            self.data.read(start / width * self.row + first + column, now)?;
            (start, to) = (start + now.len(), rest);
        }
        Ok(())
    }
}

impl Param {
    /// Its extents, in the layout of its kind.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn load(gpu: &Gpu, role: ParamRole, file_shape: Shape, data: &dyn ParamData) -> Result<Self> {
        gpu.cancel.check()?;
        let kind = role.kind;
        let shape = op_shapes::param_from_file(kind, file_shape, data.count())?;
        let form = match (kind, &*shape) {
            (ParamKind::Conv | ParamKind::Linear, _) => Form::Weight,
            (ParamKind::UpsampledConv, [3, 3, ..]) => Form::Subpixel,
            (ParamKind::UpsampledConv, _) => {
                let message = format!("the kernel of {shape} is not 3×3, as one after upsampling must be");
                return Err(Error::Invalid { op: "param", message });
            }
            (ParamKind::Vector, _) => Form::Vector,
            (ParamKind::Table, _) => Form::Table,
        };
        let place = Arc::new(gpu.params.place(bytes(kind, shape, gpu.dtype))?);
        let param = Self { shape, form, place };
        if gpu.context.faults().idle {
            return Ok(param);
        }
        match form {
            Form::Weight | Form::Subpixel => param.load_weight(gpu, kind, file_shape, data)?,
            Form::Vector => param.load_plain(gpu, DType::F32, data)?,
            Form::Table => param.load_plain(gpu, gpu.dtype, data)?,
        }
        Ok(param)
    }

    fn load_plain(&self, gpu: &Gpu, dtype: DType, data: &dyn ParamData) -> Result<()> {
        let threads = &gpu.context.threads;
        let count = data.count();
        for start in (0..count).step_by(PIECE / 4) {
            let part = (count - start).min(PIECE / 4);
            let part = Inputs { data, gpu, outputs: 1, row: count, part: [start, part] };
            let values = part.to_vec_with(threads)?;
            let mut bytes = vec![0; values.len() * dtype.size()];
            encode(dtype, &values, &mut bytes, threads);
            gpu.context.upload(&bytes, self.place.span(start * dtype.size(), bytes.len()))?;
        }
        Ok(())
    }

    /// Some inputs at a time, which are turned as files are and then written to each tap's part.
    fn load_weight(&self, gpu: &Gpu, kind: ParamKind, file_shape: Shape, data: &dyn ParamData) -> Result<()> {
        let threads = &gpu.context.threads;
        let [outputs, inputs] = [file_shape[0], file_shape[1]];
        let taps = file_shape[2..].iter().product::<usize>();
        let columns = padded(outputs);
        let size = gpu.dtype.size();
        let step = (PIECE / (4 * outputs * taps)).clamp(1, inputs);
        for first in (0..inputs).step_by(step) {
            let some = (inputs - first).min(step);
            let part = Inputs { data, gpu, outputs, row: inputs * taps, part: [first * taps, some * taps] };
            let mut part_shape = file_shape.to_vec();
            part_shape[1] = some;
            let (_, values) = from_file_layout(kind, Shape::new(&part_shape)?, &part, threads)?;
            let values = if self.form == Form::Subpixel { subpixel(&values) } else { values };
            let matrices = values.chunks_exact(some * outputs);
            for (tap, matrix) in matrices.enumerate() {
                let mut rows = vec![0.0; some * columns];
                rows.chunks_exact_mut(columns).zip(matrix.chunks_exact(outputs)).for_each(|(to, row)| {
                    to[..outputs].copy_from_slice(row);
                });
                let mut bytes = vec![0; rows.len() * size];
                encode(gpu.dtype, &rows, &mut bytes, threads);
                let start = (tap * inputs + first) * columns * size;
                gpu.context.upload(&bytes, self.place.span(start, bytes.len()))?;
            }
        }
        Ok(())
    }

    /// Whether it is kept for a convolution after upsampling alone.
    pub(crate) fn is_subpixel(&self) -> bool {
        self.form == Form::Subpixel
    }

    fn expect(&self, op: &'static str, form: Form, what: &str) -> Result<Span<'_>> {
        if self.form != form {
            let message = format!("the parameter {} is not {what}, as it must be there", self.shape);
            return Err(Error::Invalid { op, message });
        }
        Ok(self.place.whole())
    }

    pub(crate) fn weight(&self, op: &'static str) -> Result<Span<'_>> {
        self.expect(op, Form::Weight, "the weight of a convolution or a linear map")
    }

    pub(crate) fn subpixel(&self, op: &'static str) -> Result<Span<'_>> {
        self.expect(op, Form::Subpixel, "the weight of a convolution after upsampling")
    }

    pub(crate) fn vector(&self, op: &'static str) -> Result<Span<'_>> {
        self.expect(op, Form::Vector, "a vector")
    }

    pub(crate) fn table(&self, op: &'static str) -> Result<Span<'_>> {
        self.expect(op, Form::Table, "a table")
    }
}

/// The four 2×2 kernels `(4, 4, I, O)` of a 3×3 one `(9, I, O)` after nearest upsampling: a pixel in the upper half of its block sees
/// the line above once and its own twice, one in the lower half its own twice and the line below once; columns likewise.
fn subpixel(values: &[f32]) -> Vec<f32> {
    const LINES: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];
    let matrix = values.len() / 9;
    let mut result = Vec::with_capacity(16 * matrix);
    for phase in 0..4 {
        for tap in 0..4 {
            let (lines, columns) = (LINES[phase / 2][tap / 2], LINES[phase % 2][tap % 2]);
            let start = result.len();
            result.resize(start + matrix, 0.0);
            for (line, column) in lines.iter().flat_map(|line| columns.iter().map(move |column| (line, column))) {
                let from = &values[(line * 3 + column) * matrix..][..matrix];
                result[start..].iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
            }
        }
    }
    result
}
