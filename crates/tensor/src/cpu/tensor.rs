use std::sync::{Arc, OnceLock};

use super::{
    buffer::Buffer,
    element::{Elements, widen},
    isa::Isa,
};
use crate::{DType, Error, Result, Shape};

/// A dense array in memory, row-major. Cloning shares the elements.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Whole(Arc<Buffer>),
    Joined(Arc<Joined>),
}

/// Two tensors of one element type side by side in the last dimension. Those who can read them where they are; for others
/// they are copied together, once.
struct Joined {
    parts: [Tensor; 2],
    whole: OnceLock<Arc<Buffer>>,
}

impl Joined {
    fn whole(&self) -> &Arc<Buffer> {
        self.whole.get_or_init(|| {
            let [a, b] = &self.parts;
            let [left, right] = [a, b].map(|x| x.shape.last() * x.dtype.size());
            let rows = a.shape.rows();
            let mut buffer = a.buffer().alike(rows * (left + right));
            let [a, b] = [a, b].map(|x| x.buffer().slice::<i8>());
            let parts = a.chunks_exact(left).zip(b.chunks_exact(right));
            for (to, (a, b)) in buffer.slice_mut::<i8>().chunks_exact_mut(left + right).zip(parts) {
                to[..left].copy_from_slice(a);
                to[left..].copy_from_slice(b);
            }
            Arc::new(buffer)
        })
    }
}

impl Tensor {
    pub(super) fn new(shape: Shape, dtype: DType, data: Buffer) -> Self {
        debug_assert_eq!(shape.count(), data.slice::<u16>().len() * 2 / dtype.size());
        Self { shape, dtype, data: Data::Whole(Arc::new(data)) }
    }

    /// `a (rows, A)` and `b (rows, B)`, of one element type, as `shape`, `(rows, A + B)`.
    pub(super) fn join(shape: Shape, a: &Self, b: &Self) -> Self {
        debug_assert!(a.dtype == b.dtype && a.shape.rows() == b.shape.rows());
        let joined = Joined { parts: [a.clone(), b.clone()], whole: OnceLock::new() };
        Self { shape, dtype: a.dtype, data: Data::Joined(Arc::new(joined)) }
    }

    /// The two tensors that it is side by side, if it is.
    pub(super) fn parts(&self) -> Option<&[Self; 2]> {
        match &self.data {
            Data::Whole(_) => None,
            Data::Joined(joined) => Some(&joined.parts),
        }
    }

    fn buffer(&self) -> &Buffer {
        match &self.data {
            Data::Whole(buffer) => buffer,
            Data::Joined(joined) => joined.whole(),
        }
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn elements(&self) -> Elements<'_> {
        Elements::of(self.buffer(), self.dtype)
    }

    /// Rows of the last dimension as floats: where they are, or put together and widened in `scratch`.
    pub(super) fn rows<'a>(&'a self, isa: Isa, first: usize, count: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let width = self.shape.last();
        let Some(parts) = self.parts() else {
            return self.elements().part(first * width, count * width).read(isa, scratch);
        };
        scratch.resize(scratch.len().max(count * width), 0.0);
        join_rows(isa, parts, first, &mut scratch[..count * width]);
        &scratch[..count * width]
    }

    /// Its memory as the kernels read it, in words.
    pub(super) fn words(&self) -> &[u32] {
        self.buffer().slice()
    }

    /// Its elements, which must be floats: gradients are computed in nothing less.
    pub(super) fn f32(&self, op: &'static str) -> Result<&[f32]> {
        match self.elements() {
            Elements::F32(data) => Ok(data),
            _ => Err(Error::Invalid { op, message: format!("the tensor is {}, expected f32", self.dtype) }),
        }
    }

    /// The elements, when they are floats and no other tensor shares them.
    pub(super) fn f32_mut(&mut self) -> Option<&mut [f32]> {
        if self.dtype != DType::F32 {
            return None;
        }
        match &mut self.data {
            Data::Whole(buffer) => Arc::get_mut(buffer).map(Buffer::slice_mut),
            Data::Joined(_) => None,
        }
    }

    /// The same elements in a shape of the same count.
    pub(super) fn reshaped(&self, shape: Shape) -> Self {
        debug_assert_eq!(shape.count(), self.shape.count());
        let data = match &self.data {
            Data::Whole(buffer) => buffer.clone(),
            Data::Joined(joined) => joined.whole().clone(),
        };
        Self { shape, dtype: self.dtype, data: Data::Whole(data) }
    }
}

/// Writes rows `first..` of `a (rows, A)` and `b (rows, B)`, side by side, to `to (·, A + B)`.
pub(super) fn join_rows(isa: Isa, [a, b]: &[Tensor; 2], first: usize, to: &mut [f32]) {
    let (left, right) = (a.shape.last(), b.shape.last());
    for (row, to) in to.chunks_exact_mut(left + right).enumerate() {
        let (to_a, to_b) = to.split_at_mut(left);
        widen(isa, a.elements().part((first + row) * left, left), to_a);
        widen(isa, b.elements().part((first + row) * right, right), to_b);
    }
}
