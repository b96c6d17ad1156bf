//! Widens the arguments, calls the operation or its gradient, rounds the result.

use super::{
    Array, Element, Param, Reference, activation, array::Wide, attention, conv, depthwise, elementwise, form, linear,
    norm, optimizer, round,
};
use crate::{
    Activation, AdamW, Attention, Backend, Conv2d, DType, Differentiable, Memory, Op, ParamData, ParamKind, ParamRole,
    Result, Shape, Threads,
    backend::{conv2d_then_shift, linear_then_geglu, upsample_then_conv2d},
    from_file_layout, op_shapes,
    param_data::Cancellable,
};

impl<E: Element> Backend for Reference<E> {
    type Tensor = Array<E>;
    type Param = Param<E>;

    fn dtype(&self) -> DType {
        E::DTYPE
    }

    fn threads(&self) -> &Threads {
        Threads::CALLER
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Array<E>> {
        op_shapes::data("from_f32", shape, data.len())?;
        Array::new(shape, data.into_iter().map(|x| E::from_f64(x.into())).collect())
    }

    fn to_f32(&self, x: &Array<E>) -> Result<Vec<f32>> {
        Ok(x.data().iter().map(|x| x.to_f64() as f32).collect())
    }

    fn shape(&self, x: &Array<E>) -> Shape {
        x.shape()
    }

    fn param(&self, _name: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<Param<E>> {
        let kind = role.into().kind;
        let (shape, data) = match &self.cancel {
            Some(cancel) => from_file_layout(kind, shape, &Cancellable { data, cancel }, Threads::CALLER)?,
            None => from_file_layout(kind, shape, data, Threads::CALLER)?,
        };
        Param::new(kind, self.from_f32(shape, data)?)
    }

    fn param_shape(&self, p: &Param<E>) -> Shape {
        p.array().shape()
    }

    fn compute(&self, op: &Op, tensors: &[&Array<E>], params: &[&Param<E>], _: Shape) -> Result<Array<E>> {
        self.check_cancel()?;
        let x: Vec<Wide> = tensors.iter().map(|x| x.widen()).collect();
        let vector = |what, p: &Param<E>| p.widen(op.name(), what, ParamKind::Vector);
        let bias = |of: &[&Param<E>]| of.first().map(|bias| vector("bias", bias)).transpose();
        Ok(round(match (op, &x[..], params) {
            (&Op::Conv2d(options), [x, residual @ ..], [weight, of_bias @ ..]) => {
                let weight = weight.widen("conv2d", "weight", ParamKind::Conv)?;
                conv::conv2d(x, &weight, bias(of_bias)?.as_ref(), residual.first(), options)?
            }
            (&Op::Linear(activation), [x, residual @ ..], [weight, of_bias @ ..]) => {
                let weight = weight.widen("linear", "weight", ParamKind::Linear)?;
                linear::linear(x, &weight, bias(of_bias)?.as_ref(), residual.first(), activation)?
            }
            (&Op::ShiftedConv2d(options), _, [weight, bias @ ..]) => {
                return conv2d_then_shift(self, [tensors[0], tensors[1]], weight, bias.first().copied(), options);
            }
            (Op::UpsampleConv2d, _, [weight, bias @ ..]) => {
                return upsample_then_conv2d(self, tensors[0], weight, bias.first().copied());
            }
            (Op::LinearGeglu, _, [weight, bias @ ..]) => {
                return linear_then_geglu(self, tensors[0], weight, bias.first().copied());
            }
            (&Op::DepthwiseConv2d { kernel, options }, [x], [weight, of_bias @ ..]) => {
                let weight = weight.widen(op.name(), "weight", ParamKind::Table)?;
                depthwise::forward(x, &weight, bias(of_bias)?.as_ref(), kernel, options)?
            }
            (&Op::Attention(options), [q, k, v], _) => attention::attention(q, k, v, options)?,
            (&Op::GroupNorm { groups, eps, activation }, [x], [gamma, beta]) => {
                let (gamma, beta) = (vector("gamma", gamma)?, vector("beta", beta)?);
                let sets = norm::groups(x.shape(), gamma.shape(), beta.shape(), groups, activation)?;
                norm::forward(x, &gamma, &beta, &sets, eps, activation)
            }
            (&Op::LayerNorm { eps }, [x], [gamma, beta]) => {
                let (gamma, beta) = (vector("gamma", gamma)?, vector("beta", beta)?);
                let sets = norm::rows(x.shape(), gamma.shape(), beta.shape())?;
                norm::forward(x, &gamma, &beta, &sets, eps, Activation::None)
            }
            (&Op::UnitRows { eps }, [x], _) => norm::unit_rows(x, eps),
            (&Op::Activation(activation), [x], _) => activation::activation(x, activation),
            (Op::PRelu, [x], [slope]) => activation::prelu(x, &vector("slope", slope)?),
            (Op::Geglu, [x], _) => activation::geglu(x)?,
            (Op::Add, [a, b], _) => elementwise::zip("add", ["a", "b"], a, b, |a, b| a + b)?,
            (Op::Sub, [a, b], _) => elementwise::zip("sub", ["a", "b"], a, b, |a, b| a - b)?,
            (Op::Mul, [a, b], _) => elementwise::zip("mul", ["a", "b"], a, b, |a, b| a * b)?,
            (&Op::Scale(factor), [x], _) => x.convert(|x| x * f64::from(factor)),
            (Op::AddChannels, [x, v], _) => elementwise::add_channels(x, v)?,
            (Op::Abs, [x], _) => x.convert(f64::abs),
            (Op::Exp, [x], _) => x.convert(f64::exp),
            (&Op::Clamp { low, high }, [x], _) => x.convert(|x| x.max(low.into()).min(high.into())),
            (Op::Mean, [x], _) => elementwise::mean(x),
            (&Op::Reshape(shape), [x], _) => x.clone().with_shape(shape)?,
            (&Op::Narrow { start, length }, [x], _) => form::narrow(x, start, length)?,
            (Op::Concat, [a, b], _) => form::concat(a, b)?,
            (Op::UpsampleNearest2x, [x], _) => form::upsample_nearest_2x(x)?,
            (Op::MaxPool2x, [x], _) => form::max_pool_2x(x)?,
            (&Op::PixelShuffle(factor), [x], _) => form::pixel_shuffle(x, factor)?,
            (&Op::PixelUnshuffle(factor), [x], _) => form::pixel_unshuffle(x, factor)?,
            (Op::Embedding { ids, batch }, _, [table]) => {
                form::embedding(&table.widen("embedding", "table", ParamKind::Table)?, ids, *batch)?
            }
            _ => return op.refuse(tensors.len(), params.len()),
        }))
    }
}

/// Everything takes as many elements as it has, and nothing besides is counted.
impl<E: Element> Memory for Reference<E> {
    fn tensor_bytes(&self, shape: Shape) -> usize {
        shape.count() * E::DTYPE.size()
    }

    fn param_bytes(&self, _: ParamRole, shape: Shape) -> usize {
        shape.count() * E::DTYPE.size()
    }
}

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

    fn depthwise_conv2d_backward_input(
        &self,
        dy: &Array<E>,
        weight: &Param<E>,
        input: Shape,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Array<E>> {
        let weight = weight.widen("depthwise_conv2d_backward_input", "weight", ParamKind::Table)?;
        depthwise::backward_input(&dy.widen(), &weight, input, kernel, options).map(round)
    }

    fn depthwise_conv2d_backward_weight(
        &self,
        x: &Array<E>,
        dy: &Array<E>,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Array<E>> {
        depthwise::backward_weight(&x.widen(), &dy.widen(), kernel, options).map(round)
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

    fn unit_rows_backward(&self, x: &Array<E>, dy: &Array<E>, eps: f32) -> Result<Array<E>> {
        norm::unit_rows_backward(&x.widen(), &dy.widen(), eps).map(round)
    }

    fn activation_backward(&self, x: &Array<E>, dy: &Array<E>, activation: Activation) -> Result<Array<E>> {
        activation::activation_backward(&x.widen(), &dy.widen(), activation).map(round)
    }

    fn prelu_backward(&self, x: &Array<E>, slope: &Param<E>, dy: &Array<E>) -> Result<Array<E>> {
        let slope = slope.widen("prelu_backward", "slope", ParamKind::Vector)?;
        activation::prelu_backward(&x.widen(), &slope, &dy.widen()).map(round)
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

    fn max_pool_2x_backward(&self, x: &Array<E>, dy: &Array<E>) -> Result<Array<E>> {
        form::max_pool_2x_backward(&x.widen(), &dy.widen()).map(round)
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
