use std::sync::Arc;

use super::{buffer::Buffer, element::Elements};
use crate::{DType, Error, Result, Shape};

/// A dense array in memory, row-major. Cloning shares the elements.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    data: Arc<Buffer>,
}

impl Tensor {
    pub(super) fn new(shape: Shape, dtype: DType, data: Buffer) -> Self {
        debug_assert_eq!(shape.count(), data.slice::<u16>().len() * 2 / dtype.size());
        Self { shape, dtype, data: Arc::new(data) }
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
        Elements::of(&self.data, self.dtype)
    }

    /// Its memory as the kernels read it, in words.
    pub(super) fn words(&self) -> &[u32] {
        self.data.slice()
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
        Arc::get_mut(&mut self.data).map(Buffer::slice_mut)
    }

    /// The same elements in a shape of the same count.
    pub(super) fn reshaped(&self, shape: Shape) -> Self {
        debug_assert_eq!(shape.count(), self.shape.count());
        Self { shape, ..self.clone() }
    }
}
