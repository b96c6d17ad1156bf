use std::{fmt::Debug, sync::Arc};

use crate::{DType, Error, ParamKind, Result, Shape, op_shapes};

/// An element type of the reference backend.
pub trait Element: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Its name among the dtypes.
    const DTYPE: DType;
    /// The nearest element to `x`.
    fn from_f64(x: f64) -> Self;
    /// The same number in double precision.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// A dense row-major array: the reference backend's tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<E> {
    shape: Shape,
    data: Arc<Vec<E>>,
}

/// What every operation is written on; its result is rounded to the backend's elements.
pub(super) type Wide = Array<f64>;

impl<E: Element> Array<E> {
    /// An array from row-major data. Errors when the length is not the shape's.
    pub fn new(shape: Shape, data: Vec<E>) -> Result<Self> {
        op_shapes::data("array", shape, data.len())?;
        Ok(Self { shape, data: Arc::new(data) })
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its elements, row-major.
    pub fn data(&self) -> &[E] {
        &self.data
    }

    pub(super) fn filled(shape: Shape, value: E) -> Self {
        Self { shape, data: Arc::new(vec![value; shape.count()]) }
    }

    pub(super) fn data_mut(&mut self) -> &mut [E] {
        Arc::make_mut(&mut self.data).as_mut_slice()
    }

    /// The `index`th run of the last dimension.
    pub(super) fn row(&self, index: usize) -> &[E] {
        let n = self.shape.last();
        &self.data[index * n..][..n]
    }

    pub(super) fn row_mut(&mut self, index: usize) -> &mut [E] {
        let n = self.shape.last();
        &mut self.data_mut()[index * n..][..n]
    }

    pub(super) fn with_shape(mut self, shape: Shape) -> Result<Self> {
        op_shapes::reshape(self.shape, shape)?;
        self.shape = shape;
        Ok(self)
    }

    pub(super) fn widen(&self) -> Wide {
        self.convert(E::to_f64)
    }

    pub(super) fn convert<T: Element>(&self, f: impl Fn(E) -> T) -> Array<T> {
        Array { shape: self.shape, data: Arc::new(self.data.iter().map(|&x| f(x)).collect()) }
    }
}

/// An array in the layout of its [`ParamKind`]: the reference backend's parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Param<E> {
    kind: ParamKind,
    array: Array<E>,
}

impl<E: Element> Param<E> {
    /// A parameter from its array. Errors when the rank is not the kind's.
    pub fn new(kind: ParamKind, array: Array<E>) -> Result<Self> {
        op_shapes::param(kind, array.shape)?;
        // It has no form of its own here.
        let kind = if kind == ParamKind::UpsampledConv { ParamKind::Conv } else { kind };
        Ok(Self { kind, array })
    }

    /// Its elements, in the layout of its kind.
    pub fn array(&self) -> &Array<E> {
        &self.array
    }

    /// The array for the argument `what` of `op`, which must be a `kind`.
    pub(super) fn widen(&self, op: &'static str, what: &'static str, kind: ParamKind) -> Result<Wide> {
        if self.kind == kind {
            return Ok(self.array.widen());
        }
        Err(Error::Invalid { op, message: format!("{what} is a {:?} parameter, expected {kind:?}", self.kind) })
    }
}
