use std::sync::{Arc, OnceLock};

use super::{
    element::{Elements, widen},
    isa::Isa,
    memory::buffer::Buffer,
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
    fn whole(&self) -> Result<&Arc<Buffer>> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        let [a, b] = &self.parts;
        let [left, right] = [a, b].map(|x| x.shape.last() * x.dtype.size());
        let rows = a.shape.rows();
        let (a, b) = (a.buffer()?, b.buffer()?);
        let mut buffer = a.alike(rows * (left + right))?;
        let parts = a.slice::<i8>().chunks_exact(left).zip(b.slice::<i8>().chunks_exact(right));
        for (to, (a, b)) in buffer.slice_mut::<i8>().chunks_exact_mut(left + right).zip(parts) {
            to[..left].copy_from_slice(a);
            to[left..].copy_from_slice(b);
        }
        Ok(self.whole.get_or_init(|| Arc::new(buffer)))
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

    fn buffer(&self) -> Result<&Arc<Buffer>> {
        match &self.data {
            Data::Whole(buffer) => Ok(buffer),
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

    pub(super) fn elements(&self) -> Result<Elements<'_>> {
        Ok(Elements::of(self.buffer()?, self.dtype))
    }

    /// Rows of the last dimension as floats: where they are, or put together and widened in `scratch`.
    pub(super) fn rows<'a>(&'a self, isa: Isa, first: usize, count: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let width = self.shape.last();
        if let Data::Whole(buffer) = &self.data {
            return Elements::of(buffer, self.dtype).part(first * width, count * width).read(isa, scratch);
        }
        scratch.resize(scratch.len().max(count * width), 0.0);
        self.read_rows(isa, first, &mut scratch[..count * width]);
        &scratch[..count * width]
    }

    /// Writes rows of the last dimension from `first` on to `to`, as floats.
    pub(super) fn read_rows(&self, isa: Isa, first: usize, to: &mut [f32]) {
        let width = self.shape.last();
        match &self.data {
            Data::Whole(buffer) => {
                widen(isa, Elements::of(buffer, self.dtype).part(first * width, to.len()), to);
            }
            Data::Joined(joined) => {
                let [a, b] = &joined.parts;
                for (row, to) in (first..).zip(to.chunks_exact_mut(width)) {
                    let (to_a, to_b) = to.split_at_mut(a.shape.last());
                    a.read_rows(isa, row, to_a);
                    b.read_rows(isa, row, to_b);
                }
            }
        }
    }

    /// Its memory as the kernels read it, in words.
    pub(super) fn words(&self) -> Result<&[u32]> {
        Ok(self.buffer()?.slice())
    }

    /// Its elements, which must be floats: gradients are computed in nothing less.
    pub(super) fn f32(&self, op: &'static str) -> Result<&[f32]> {
        match self.elements()? {
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
    pub(super) fn reshaped(&self, shape: Shape) -> Result<Self> {
        debug_assert_eq!(shape.count(), self.shape.count());
        Ok(Self { shape, dtype: self.dtype, data: Data::Whole(self.buffer()?.clone()) })
    }
}
