//! Widens the arguments, calls the gradient, rounds the result.

use super::{
    Array, Element, Param, Reference, activation, attention, conv, elementwise, form, linear, norm, optimizer, round,
};
use crate::{Activation, AdamW, Attention, Conv2d, Differentiable, ParamKind, Result, Shape};

impl<E: Element> Differentiable for Reference<E> {
    fn conv2d_backward_input(
        &self,
        dy: &Array<E>,
        weight: &Param<E>,
        input: Shape,
        options: Conv2d,
    ) -> Result<Array<E>> {
        let weight = weight.widen("conv2d_backward_input", "weight", ParamKind::Conv)?;
        conv::backward_input(&dy.widen(), &weight, input, options).map(round)
    }

    fn conv2d_backward_weight(
        &self,
        x: &Array<E>,
        dy: &Array<E>,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Array<E>> {
        conv::backward_weight(&x.widen(), &dy.widen(), kernel, options).map(round)
    }

    fn linear_backward_input(&self, dy: &Array<E>, weight: &Param<E>) -> Result<Array<E>> {
        let weight = weight.widen("linear_backward_input", "weight", ParamKind::Linear)?;
        linear::backward_input(&dy.widen(), &weight).map(round)
    }

    fn linear_backward_weight(&self, x: &Array<E>, dy: &Array<E>) -> Result<Array<E>> {
        linear::backward_weight(&x.widen(), &dy.widen()).map(round)
    }

    fn sum_rows(&self, dy: &Array<E>) -> Result<Array<E>> {
        Ok(round(elementwise::sum_rows(&dy.widen())))
    }

    fn sum_pixels(&self, dy: &Array<E>) -> Result<Array<E>> {
        elementwise::sum_pixels(&dy.widen()).map(round)
    }

    fn attention_backward(
        &self,
        q: &Array<E>,
        k: &Array<E>,
        v: &Array<E>,
        dy: &Array<E>,
        options: Attention,
    ) -> Result<[Array<E>; 3]> {
        let gradients = attention::backward(&q.widen(), &k.widen(), &v.widen(), &dy.widen(), options)?;
        Ok(gradients.map(round))
    }

    fn group_norm_backward(
        &self,
        x: &Array<E>,
        gamma: &Param<E>,
        beta: &Param<E>,
        dy: &Array<E>,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<[Array<E>; 3]> {
        let gamma = gamma.widen("group_norm_backward", "gamma", ParamKind::Vector)?;
        let beta = beta.widen("group_norm_backward", "beta", ParamKind::Vector)?;
        let sets = norm::groups(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
        let gradients = norm::backward(&x.widen(), &gamma, &beta, &dy.widen(), &sets, eps, activation)?;
        Ok(gradients.map(round))
    }

    fn layer_norm_backward(&self, x: &Array<E>, gamma: &Param<E>, dy: &Array<E>, eps: f32) -> Result<[Array<E>; 3]> {
        let gamma = gamma.widen("layer_norm_backward", "gamma", ParamKind::Vector)?;
        // Without an activation the offset has no part in the gradients.
        let beta = gamma.convert(|_| 0.0);
        let sets = norm::rows(x.shape(), gamma.shape(), beta.shape())?;
        let gradients = norm::backward(&x.widen(), &gamma, &beta, &dy.widen(), &sets, eps, Activation::None)?;
        Ok(gradients.map(round))
    }

    fn activation_backward(&self, x: &Array<E>, dy: &Array<E>, activation: Activation) -> Result<Array<E>> {
        activation::activation_backward(&x.widen(), &dy.widen(), activation).map(round)
    }

    fn geglu_backward(&self, x: &Array<E>, dy: &Array<E>) -> Result<Array<E>> {
        activation::geglu_backward(&x.widen(), &dy.widen()).map(round)
    }

    fn abs_backward(&self, x: &Array<E>, dy: &Array<E>) -> Result<Array<E>> {
        let gradient = |x, dy| dy * elementwise::sign(x);
        elementwise::zip("abs_backward", ["x", "dy"], &x.widen(), &dy.widen(), gradient).map(round)
    }

    fn clamp_backward(&self, x: &Array<E>, dy: &Array<E>, low: f32, high: f32) -> Result<Array<E>> {
        let inside = f64::from(low)..=f64::from(high);
        let gradient = |x, dy| if inside.contains(&x) { dy } else { 0.0 };
        elementwise::zip("clamp_backward", ["x", "dy"], &x.widen(), &dy.widen(), gradient).map(round)
    }

    fn mean_backward(&self, dy: &Array<E>, input: Shape) -> Result<Array<E>> {
        elementwise::mean_backward(&dy.widen(), input).map(round)
    }

    fn narrow_backward(&self, dy: &Array<E>, start: usize, input: Shape) -> Result<Array<E>> {
        form::narrow_backward(&dy.widen(), start, input).map(round)
    }

    fn upsample_nearest_2x_backward(&self, dy: &Array<E>) -> Result<Array<E>> {
        form::upsample_nearest_2x_backward(&dy.widen()).map(round)
    }

    fn embedding_backward(&self, dy: &Array<E>, ids: &[u32], rows: usize) -> Result<Array<E>> {
        form::embedding_backward(&dy.widen(), ids, rows).map(round)
    }

    fn accumulate(&self, into: &mut Array<E>, x: &Array<E>) -> Result<()> {
        let sum = elementwise::zip("accumulate", ["into", "x"], &into.widen(), &x.widen(), |into, x| into + x)?;
        *into = round(sum);
        Ok(())
    }

    fn sum_squares(&self, x: &Array<E>) -> Result<f64> {
        Ok(x.data().iter().map(|x| x.to_f64().powi(2)).sum())
    }

    fn pack(&self, kind: ParamKind, value: &Array<E>) -> Result<Param<E>> {
        Param::new(kind, value.clone())
    }

    fn adamw(
        &self,
        value: &mut Array<E>,
        m: &mut Array<E>,
        v: &mut Array<E>,
        gradient: &Array<E>,
        step: &AdamW,
    ) -> Result<()> {
        let after = optimizer::adamw(&value.widen(), &m.widen(), &v.widen(), &gradient.widen(), step)?;
        [*value, *m, *v] = after.map(round);
        Ok(())
    }

    fn lerp(&self, average: &mut Array<E>, value: &Array<E>, weight: f32) -> Result<()> {
        let step = |average: f64, value: f64| average + (value - average) * f64::from(weight);
        *average = round(elementwise::zip("lerp", ["average", "value"], &average.widen(), &value.widen(), step)?);
        Ok(())
    }
}
