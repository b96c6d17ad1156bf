use std::sync::Arc;

use super::buffer::Buffer;
use crate::{DType, Shape};

/// A dense array in memory, row-major. Cloning shares the elements.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    data: Arc<Buffer>,
}

impl Tensor {
    pub(super) fn new(shape: Shape, data: Buffer) -> Self {
        debug_assert_eq!(shape.count(), data.as_ref().len());
        Self { shape, dtype: DType::F32, data: Arc::new(data) }
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its elements.
    pub fn data(&self) -> &[f32] {
        (*self.data).as_ref()
    }

    /// The elements, when no other tensor shares them.
    pub(super) fn data_mut(&mut self) -> Option<&mut [f32]> {
        Arc::get_mut(&mut self.data).map(AsMut::as_mut)
    }

    /// The same elements in a shape of the same count.
    pub(super) fn reshaped(&self, shape: Shape) -> Self {
        debug_assert_eq!(shape.count(), self.shape.count());
        Self { shape, ..self.clone() }
    }
}
