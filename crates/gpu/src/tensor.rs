use std::sync::Arc;

use calotype_tensor::{DType, Shape};

use crate::arena::{Place, Span};

/// A dense array on the device, row-major. Cloning shares the elements.
#[derive(Clone)]
pub struct Tensor {
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) place: Arc<Place>,
}

impl Tensor {
    /// Its extents.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn span(&self) -> Span<'_> {
        self.place.span(0, self.shape.count() * self.dtype.size())
    }
}
