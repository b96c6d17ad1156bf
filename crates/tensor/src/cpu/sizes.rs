//! What the CPU backend will need of memory, found before it computes anything.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Cpu,
    arithmetic::Arithmetic,
    attention::in_bytes,
    buffer::capacity,
    intervals::Intervals,
    packed::Packed,
    param::{Storage, storage},
};
use crate::{Activation, Attention, Backend, Conv2d, DType, ParamData, ParamRole, Result, Shape, infer};

/// A backend that computes nothing: a model's `forward` on it finds how large an arena a [`Cpu`] needs for the same.
///
/// It gives tensors places as that one does, those that an operation needs for itself included, but not what each of its threads holds
/// while it works on a part. Cloning shares the places.
#[derive(Clone)]
pub struct Sizes {
    cpu: Cpu,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Default)]
struct Ledger {
    places: Intervals,
    parameters: usize,
}

/// A tensor's shape, and where it would be.
#[derive(Clone)]
pub struct Planned {
    shape: Shape,
    /// More than one where tensors are side by side.
    _places: Vec<Arc<Place>>,
}

/// A place that is free again when it is dropped.
struct Place {
    ledger: Arc<Mutex<Ledger>>,
    start: usize,
    length: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).places.give(self.start, self.length);
    }
}

impl Sizes {
    /// For runs on `cpu`.
    pub fn new(cpu: &Cpu) -> Self {
        Self { cpu: cpu.clone(), ledger: Arc::default() }
    }

    /// The bytes that all tensors so far would have needed at a time.
    pub fn arena(&self) -> usize {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).places.end()
    }

    /// The bytes of all parameters so far.
    pub fn parameters(&self) -> usize {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).parameters
    }

    fn place(&self, bytes: usize) -> Arc<Place> {
        let length = capacity(bytes);
        let start = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).places.take_or_grow(length);
        Arc::new(Place { ledger: self.ledger.clone(), start, length })
    }

    /// A tensor of this shape, such as an input.
    pub fn tensor(&self, shape: Shape) -> Planned {
        self.make(shape)
    }

    fn make(&self, shape: Shape) -> Planned {
        let bytes = shape.count().saturating_mul(self.dtype().size());
        Planned { shape, _places: vec![self.place(bytes)] }
    }

    /// The result of an operation that needs so much for itself.
    fn make_beside(&self, bytes: usize, shape: Shape) -> Planned {
        let _own = (bytes > 0).then(|| self.place(bytes));
        self.make(shape)
    }

    /// The bytes of rows in the words of `arithmetic`, where they are copied for that.
    fn operand(&self, x: Shape, arithmetic: Arithmetic) -> usize {
        let in_place = self.dtype() == arithmetic.dtype() && x.last().is_multiple_of(arithmetic.per_word());
        if in_place { 0 } else { x.rows() * arithmetic.words(x.last()) * size_of::<u32>() }
    }

    /// That of what a weight is multiplied with.
    fn left_of(&self, x: Shape, weight: &Weight) -> usize {
        weight.arithmetic.map_or(0, |arithmetic| self.operand(x, arithmetic))
    }
}

/// A parameter's shape, and how it is computed with if it is a weight.
#[derive(Clone)]
pub struct Weight {
    shape: Shape,
    arithmetic: Option<Arithmetic>,
}

impl Backend for Sizes {
    type Tensor = Planned;
    type Param = Weight;

    fn dtype(&self) -> DType {
        self.cpu.dtype()
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Planned> {
        infer::data("from_f32", shape, data.len())?;
        Ok(self.make(shape))
    }

    /// Zeros.
    fn to_f32(&self, x: &Planned) -> Result<Vec<f32>> {
        Ok(vec![0.0; x.shape.count()])
    }

    fn shape(&self, x: &Planned) -> Shape {
        x.shape
    }

    /// The data are not read.
    fn param(&self, _name: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<Weight> {
        let role = role.into();
        let shape = infer::param_from_file(role.kind, shape, data.count())?;
        let (bytes, arithmetic) = match storage(&self.cpu, role, shape) {
            Storage::Plain(dtype) => (shape.count() * dtype.size(), None),
            Storage::Matrix(format, matrix) => (Packed::bytes(format, matrix), Some(format.arithmetic)),
            Storage::Quarters(format, [_, channels, columns]) => {
                (4 * Packed::bytes(format, [4, channels, columns]), Some(format.arithmetic))
            }
        };
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).parameters += bytes;
        Ok(Weight { shape, arithmetic })
    }

    fn param_shape(&self, p: &Weight) -> Shape {
        p.shape
    }

    fn conv2d(
        &self,
        x: &Planned,
        weight: &Weight,
        bias: Option<&Weight>,
        residual: Option<&Planned>,
        options: Conv2d,
    ) -> Result<Planned> {
        let shape = infer::conv2d(x.shape, weight.shape, &options)?;
        check_epilogue("conv2d", shape, shape.last(), bias, residual)?;
        Ok(self.make_beside(self.left_of(x.shape, weight), shape))
    }

    fn linear(
        &self,
        x: &Planned,
        weight: &Weight,
        bias: Option<&Weight>,
        residual: Option<&Planned>,
        _activation: Activation,
    ) -> Result<Planned> {
        let shape = infer::linear(x.shape, weight.shape)?;
        check_epilogue("linear", shape, shape.last(), bias, residual)?;
        Ok(self.make_beside(self.left_of(x.shape, weight), shape))
    }

    fn upsample_conv2d(&self, x: &Planned, weight: &Weight, bias: Option<&Weight>) -> Result<Planned> {
        let shape = infer::upsample_conv2d(x.shape, weight.shape)?;
        check_epilogue("upsample_conv2d", shape, shape.last(), bias, None)?;
        Ok(self.make_beside(self.left_of(x.shape, weight), shape))
    }

    fn linear_geglu(&self, x: &Planned, weight: &Weight, bias: Option<&Weight>) -> Result<Planned> {
        let product = infer::linear(x.shape, weight.shape)?;
        let shape = infer::geglu(product)?;
        check_epilogue("linear_geglu", shape, product.last(), bias, None)?;
        if !shape.last().is_multiple_of(self.cpu.isa().panel()) {
            return self.geglu(&self.linear(x, weight, bias, None, Activation::None)?);
        }
        Ok(self.make_beside(self.left_of(x.shape, weight), shape))
    }

    fn attention(&self, q: &Planned, k: &Planned, v: &Planned, options: Attention) -> Result<Planned> {
        let extents = infer::attention(q.shape, k.shape, v.shape, &options)?;
        let heads = extents.batch * options.heads;
        let rows = |x: Shape| -> Shape { [x.rows() * options.heads, extents.head_dim].into() };
        let own = if in_bytes(&self.cpu, extents.keys) {
            // Queries, keys and values, each with what tells its scale.
            (q.shape.count() + 2 * k.shape.count()) + 8 * (rows(q.shape).rows() + rows(k.shape).rows())
        } else {
            let arithmetic = Arithmetic::of(self.cpu.isa(), self.dtype());
            let format = super::packed::Format::new(self.cpu.isa(), arithmetic.dtype());
            let packed = Packed::bytes(format, [1, extents.head_dim, extents.keys])
                + Packed::bytes(format, [1, extents.keys, extents.head_dim]);
            let copies = [q.shape, k.shape, v.shape].map(|x| self.operand(rows(x), arithmetic));
            heads * packed + copies.iter().sum::<usize>()
        };
        Ok(self.make_beside(own, q.shape))
    }

    fn group_norm(
        &self,
        x: &Planned,
        gamma: &Weight,
        beta: &Weight,
        groups: usize,
        _eps: f32,
        activation: Activation,
    ) -> Result<Planned> {
        infer::group_norm(x.shape, gamma.shape, beta.shape, groups, activation)?;
        Ok(self.make(x.shape))
    }

    fn layer_norm(&self, x: &Planned, gamma: &Weight, beta: &Weight, _eps: f32) -> Result<Planned> {
        infer::vector("layer_norm", "gamma", x.shape.last(), gamma.shape)?;
        infer::vector("layer_norm", "beta", x.shape.last(), beta.shape)?;
        Ok(self.make(x.shape))
    }

    fn activation(&self, x: &Planned, _activation: Activation) -> Result<Planned> {
        Ok(self.make(x.shape))
    }

    fn geglu(&self, x: &Planned) -> Result<Planned> {
        Ok(self.make(infer::geglu(x.shape)?))
    }

    fn add(&self, a: &Planned, b: &Planned) -> Result<Planned> {
        infer::same("add", "b", a.shape, b.shape)?;
        Ok(self.make(a.shape))
    }

    fn sub(&self, a: &Planned, b: &Planned) -> Result<Planned> {
        infer::same("sub", "b", a.shape, b.shape)?;
        Ok(self.make(a.shape))
    }

    fn mul(&self, a: &Planned, b: &Planned) -> Result<Planned> {
        infer::same("mul", "b", a.shape, b.shape)?;
        Ok(self.make(a.shape))
    }

    fn scale(&self, x: &Planned, _factor: f32) -> Result<Planned> {
        Ok(self.make(x.shape))
    }

    fn add_channels(&self, x: &Planned, v: &Planned) -> Result<Planned> {
        infer::add_channels(x.shape, v.shape)?;
        Ok(self.make(x.shape))
    }

    fn abs(&self, x: &Planned) -> Result<Planned> {
        Ok(self.make(x.shape))
    }

    fn exp(&self, x: &Planned) -> Result<Planned> {
        Ok(self.make(x.shape))
    }

    fn clamp(&self, x: &Planned, _low: f32, _high: f32) -> Result<Planned> {
        Ok(self.make(x.shape))
    }

    fn mean(&self, _x: &Planned) -> Result<Planned> {
        Ok(self.make([1].into()))
    }

    fn reshape(&self, x: &Planned, shape: Shape) -> Result<Planned> {
        infer::reshape(x.shape, shape)?;
        Ok(Planned { shape, ..x.clone() })
    }

    fn narrow(&self, x: &Planned, start: usize, length: usize) -> Result<Planned> {
        Ok(self.make(infer::narrow(x.shape, start, length)?))
    }

    /// Tensors side by side stay where they are.
    fn concat(&self, a: &Planned, b: &Planned) -> Result<Planned> {
        let shape = infer::concat(a.shape, b.shape)?;
        Ok(Planned { shape, _places: a._places.iter().chain(&b._places).cloned().collect() })
    }

    fn upsample_nearest_2x(&self, x: &Planned) -> Result<Planned> {
        Ok(self.make(infer::upsample_nearest_2x(x.shape)?))
    }

    fn embedding(&self, table: &Weight, ids: &[u32], batch: usize) -> Result<Planned> {
        Ok(self.make(infer::embedding(table.shape, ids, batch)?))
    }
}

fn check_epilogue(
    op: &'static str,
    shape: Shape,
    columns: usize,
    bias: Option<&Weight>,
    residual: Option<&Planned>,
) -> Result<()> {
    if let Some(bias) = bias {
        infer::vector(op, "bias", columns, bias.shape)?;
    }
    residual.map_or(Ok(()), |residual| infer::same(op, "residual", shape, residual.shape))
}
