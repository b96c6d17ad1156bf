//! Widens the arguments, calls the operation, rounds the result.

use super::{
    Array, Element, Param, Reference, activation, array::Wide, attention, conv, elementwise, form, linear, norm, round,
};
use crate::{
    Activation, Attention, Backend, Conv2d, DType, ParamData, ParamKind, ParamRole, Result, Shape, from_file_layout,
    infer,
};

impl<E: Element> Backend for Reference<E> {
    type Tensor = Array<E>;
    type Param = Param<E>;

    fn dtype(&self) -> DType {
        E::DTYPE
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Array<E>> {
        infer::data("from_f32", shape, data.len())?;
        Array::new(shape, data.into_iter().map(|x| E::from_f64(x.into())).collect())
    }

    fn to_f32(&self, x: &Array<E>) -> Result<Vec<f32>> {
        Ok(x.data().iter().map(|x| x.to_f64() as f32).collect())
    }

    fn shape(&self, x: &Array<E>) -> Shape {
        x.shape()
    }

    fn param(&self, _name: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<Param<E>> {
        self.check_cancel()?;
        let kind = role.into().kind;
        let (shape, data) = from_file_layout(kind, shape, data)?;
        Param::new(kind, self.from_f32(shape, data)?)
    }

    fn param_shape(&self, p: &Param<E>) -> Shape {
        p.array().shape()
    }

    fn conv2d(
        &self,
        x: &Array<E>,
        weight: &Param<E>,
        bias: Option<&Param<E>>,
        residual: Option<&Array<E>>,
        options: Conv2d,
    ) -> Result<Array<E>> {
        self.check_cancel()?;
        let weight = weight.widen("conv2d", "weight", ParamKind::Conv)?;
        let bias = bias.map(|bias| bias.widen("conv2d", "bias", ParamKind::Vector)).transpose()?;
        let residual = residual.map(Array::widen);
        conv::conv2d(&x.widen(), &weight, bias.as_ref(), residual.as_ref(), options).map(round)
    }

    fn linear(
        &self,
        x: &Array<E>,
        weight: &Param<E>,
        bias: Option<&Param<E>>,
        residual: Option<&Array<E>>,
        activation: Activation,
    ) -> Result<Array<E>> {
        self.check_cancel()?;
        let weight = weight.widen("linear", "weight", ParamKind::Linear)?;
        let bias = bias.map(|bias| bias.widen("linear", "bias", ParamKind::Vector)).transpose()?;
        let residual = residual.map(Array::widen);
        linear::linear(&x.widen(), &weight, bias.as_ref(), residual.as_ref(), activation).map(round)
    }

    fn attention(&self, q: &Array<E>, k: &Array<E>, v: &Array<E>, options: Attention) -> Result<Array<E>> {
        self.check_cancel()?;
        attention::attention(&q.widen(), &k.widen(), &v.widen(), options).map(round)
    }

    fn group_norm(
        &self,
        x: &Array<E>,
        gamma: &Param<E>,
        beta: &Param<E>,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Array<E>> {
        self.check_cancel()?;
        let gamma = gamma.widen("group_norm", "gamma", ParamKind::Vector)?;
        let beta = beta.widen("group_norm", "beta", ParamKind::Vector)?;
        let sets = norm::groups(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
        Ok(round(norm::forward(&x.widen(), &gamma, &beta, &sets, eps, activation)))
    }

    fn layer_norm(&self, x: &Array<E>, gamma: &Param<E>, beta: &Param<E>, eps: f32) -> Result<Array<E>> {
        self.check_cancel()?;
        let gamma = gamma.widen("layer_norm", "gamma", ParamKind::Vector)?;
        let beta = beta.widen("layer_norm", "beta", ParamKind::Vector)?;
        let sets = norm::rows(x.shape(), gamma.shape(), beta.shape())?;
        Ok(round(norm::forward(&x.widen(), &gamma, &beta, &sets, eps, Activation::None)))
    }

    fn activation(&self, x: &Array<E>, activation: Activation) -> Result<Array<E>> {
        Ok(round(activation::activation(&x.widen(), activation)))
    }

    fn geglu(&self, x: &Array<E>) -> Result<Array<E>> {
        activation::geglu(&x.widen()).map(round)
    }

    fn add(&self, a: &Array<E>, b: &Array<E>) -> Result<Array<E>> {
        elementwise::zip("add", ["a", "b"], &a.widen(), &b.widen(), |a, b| a + b).map(round)
    }

    fn sub(&self, a: &Array<E>, b: &Array<E>) -> Result<Array<E>> {
        elementwise::zip("sub", ["a", "b"], &a.widen(), &b.widen(), |a, b| a - b).map(round)
    }

    fn mul(&self, a: &Array<E>, b: &Array<E>) -> Result<Array<E>> {
        elementwise::zip("mul", ["a", "b"], &a.widen(), &b.widen(), |a, b| a * b).map(round)
    }

    fn scale(&self, x: &Array<E>, factor: f32) -> Result<Array<E>> {
        Ok(round(x.widen().convert(|x| x * f64::from(factor))))
    }

    fn add_channels(&self, x: &Array<E>, v: &Array<E>) -> Result<Array<E>> {
        elementwise::add_channels(&x.widen(), &v.widen()).map(round)
    }

    fn abs(&self, x: &Array<E>) -> Result<Array<E>> {
        Ok(round(x.widen().convert(f64::abs)))
    }

    fn exp(&self, x: &Array<E>) -> Result<Array<E>> {
        Ok(round(x.widen().convert(f64::exp)))
    }

    fn clamp(&self, x: &Array<E>, low: f32, high: f32) -> Result<Array<E>> {
        Ok(round(x.widen().convert(|x| x.max(low.into()).min(high.into()))))
    }

    fn mean(&self, x: &Array<E>) -> Result<Array<E>> {
        Ok(round(elementwise::mean(&x.widen())))
    }

    fn reshape(&self, x: &Array<E>, shape: Shape) -> Result<Array<E>> {
        x.clone().with_shape(shape)
    }

    fn narrow(&self, x: &Array<E>, start: usize, length: usize) -> Result<Array<E>> {
        form::narrow(&x.widen(), start, length).map(round)
    }

    fn concat(&self, a: &Array<E>, b: &Array<E>) -> Result<Array<E>> {
        form::concat(&a.widen(), &b.widen()).map(round)
    }

    fn upsample_nearest_2x(&self, x: &Array<E>) -> Result<Array<E>> {
        self.check_cancel()?;
        form::upsample_nearest_2x(&x.widen()).map(round)
    }

    fn embedding(&self, table: &Param<E>, ids: &[u32], batch: usize) -> Result<Array<E>> {
        let table: Wide = table.widen("embedding", "table", ParamKind::Table)?;
        form::embedding(&table, ids, batch).map(round)
    }
}
