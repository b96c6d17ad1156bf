//! The op set on the tape. For each operation: the inner backend's result, and its backward.

use super::var::Source;
use super::{Mode, Parameter, Tape, Var, invalid};
use crate::{
    Activation, Attention, Backend, Conv2d, DType, Differentiable, ParamData, ParamRole, Result, Shape,
    from_file_layout, infer,
};

impl<B: Differentiable> Tape<B> {
    /// A linear operation, then an activation, then a residual, with what each step's backward needs.
    ///
    /// `product(activation, residual)` is the inner operation. An activation is computed apart when it will be
    /// differentiated, since its backward needs its argument.
    fn activated(
        &self,
        activation: Activation,
        residual: Option<&Var<B>>,
        product: impl FnOnce(Activation, Option<&B::Tensor>) -> Result<B::Tensor>,
    ) -> Result<(B::Tensor, Option<B::Tensor>)> {
        let residual = residual.map(Var::value);
        if activation == Activation::None || self.mode.get() == Mode::NoGrad {
            return Ok((product(activation, residual)?, None));
        }
        let before = product(Activation::None, None)?;
        let after = self.inner.activation(&before, activation)?;
        let value = match residual {
            Some(residual) => self.inner.add(&after, residual)?,
            None => after,
        };
        Ok((value, Some(before)))
    }

    fn packed(&self, parameter: Option<&Parameter<B>>) -> Result<Option<B::Param>> {
        parameter.map(|p| p.packed(&self.inner)).transpose()
    }
}

impl<B: Differentiable> Backend for Tape<B> {
    type Tensor = Var<B>;
    type Param = Parameter<B>;

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Var<B>> {
        Ok(self.constant(self.inner.from_f32(shape, data)?))
    }

    fn to_f32(&self, x: &Var<B>) -> Result<Vec<f32>> {
        self.inner.to_f32(x.value())
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }

    fn shape(&self, x: &Var<B>) -> Shape {
        self.inner.shape(x.value())
    }

    /// Makes a trained parameter. Errors too when the tape has one of this name.
    fn param(
        &self,
        name: &str,
        role: impl Into<ParamRole>,
        shape: Shape,
        data: &dyn ParamData,
    ) -> Result<Parameter<B>> {
        let kind = role.into().kind;
        let (shape, data) = from_file_layout(kind, shape, data)?;
        let value = self.inner.from_f32(shape, data)?;
        let mut parameters = self.parameters.borrow_mut();
        if parameters.iter().any(|p| p.name() == name) {
            return invalid("param", format!("the name {name:?} is taken, expected each parameter once"));
        }
        let parameter = Parameter::new(name, kind, shape, parameters.len(), value, self.changes.clone());
        parameters.push(parameter.clone());
        Ok(parameter)
    }

    fn param_shape(&self, p: &Parameter<B>) -> Shape {
        p.shape()
    }

    fn conv2d(
        &self,
        x: &Var<B>,
        weight: &Parameter<B>,
        bias: Option<&Parameter<B>>,
        residual: Option<&Var<B>>,
        options: Conv2d,
    ) -> Result<Var<B>> {
        let (packed, packed_bias) = (weight.packed(&self.inner)?, self.packed(bias)?);
        let (value, before) = self.activated(options.activation, residual, |activation, residual| {
            let options = Conv2d { activation, ..options };
            self.inner.conv2d(x.value(), &packed, packed_bias.as_ref(), residual, options)
        })?;
        let [to_x, to_weight] = [x.source(), weight.source()];
        let [to_bias, to_residual] = [bias.and_then(Parameter::source), residual.and_then(Var::source)];
        let [kh, kw, ..] = infer::picture("conv2d", "weight", weight.shape())?;
        let (x, input, weight) = (x.value().clone(), self.shape(x), weight.clone());
        self.record("conv2d", &[to_x, to_weight, to_bias, to_residual], value, move |walk, mut dy| {
            walk.give(to_residual, dy.clone())?;
            if let Some(before) = before {
                dy = walk.inner().activation_backward(&before, &dy, options.activation)?;
            }
            let linear = Conv2d { activation: Activation::None, ..options };
            walk.give_with(to_bias, |b| b.sum_rows(&dy))?;
            walk.give_with(to_weight, |b| b.conv2d_backward_weight(&x, &dy, [kh, kw], linear))?;
            walk.give_with(to_x, |b| b.conv2d_backward_input(&dy, &packed, input, linear))?;
            weight.release();
            Ok(())
        })
    }

    fn linear(
        &self,
        x: &Var<B>,
        weight: &Parameter<B>,
        bias: Option<&Parameter<B>>,
        residual: Option<&Var<B>>,
        activation: Activation,
    ) -> Result<Var<B>> {
        let (packed, packed_bias) = (weight.packed(&self.inner)?, self.packed(bias)?);
        let (value, before) = self.activated(activation, residual, |activation, residual| {
            self.inner.linear(x.value(), &packed, packed_bias.as_ref(), residual, activation)
        })?;
        let [to_x, to_weight] = [x.source(), weight.source()];
        let [to_bias, to_residual] = [bias.and_then(Parameter::source), residual.and_then(Var::source)];
        let (x, weight) = (x.value().clone(), weight.clone());
        self.record("linear", &[to_x, to_weight, to_bias, to_residual], value, move |walk, mut dy| {
            walk.give(to_residual, dy.clone())?;
            if let Some(before) = before {
                dy = walk.inner().activation_backward(&before, &dy, activation)?;
            }
            walk.give_with(to_bias, |b| b.sum_rows(&dy))?;
            walk.give_with(to_weight, |b| b.linear_backward_weight(&x, &dy))?;
            walk.give_with(to_x, |b| b.linear_backward_input(&dy, &packed))?;
            weight.release();
            Ok(())
        })
    }

    fn attention(&self, q: &Var<B>, k: &Var<B>, v: &Var<B>, options: Attention) -> Result<Var<B>> {
        let to = [q.source(), k.source(), v.source()];
        let [q, k, v] = [q.value().clone(), k.value().clone(), v.value().clone()];
        let value = self.inner.attention(&q, &k, &v, options)?;
        self.record("attention", &to, value, move |walk, dy| {
            let gradients = walk.inner().attention_backward(&q, &k, &v, &dy, options)?;
            to.into_iter().zip(gradients).try_for_each(|(to, gradient)| walk.give(to, gradient))
        })
    }

    fn group_norm(
        &self,
        x: &Var<B>,
        gamma: &Parameter<B>,
        beta: &Parameter<B>,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Var<B>> {
        let to = [x.source(), gamma.source(), beta.source()];
        let (x, gamma, beta) = (x.value().clone(), gamma.packed(&self.inner)?, beta.packed(&self.inner)?);
        let value = self.inner.group_norm(&x, &gamma, &beta, groups, eps, activation)?;
        self.record("group_norm", &to, value, move |walk, dy| {
            let gradients = walk.inner().group_norm_backward(&x, &gamma, &beta, &dy, groups, eps, activation)?;
            to.into_iter().zip(gradients).try_for_each(|(to, gradient)| walk.give(to, gradient))
        })
    }

    fn layer_norm(&self, x: &Var<B>, gamma: &Parameter<B>, beta: &Parameter<B>, eps: f32) -> Result<Var<B>> {
        let to = [x.source(), gamma.source(), beta.source()];
        let (x, gamma) = (x.value().clone(), gamma.packed(&self.inner)?);
        let value = self.inner.layer_norm(&x, &gamma, &beta.packed(&self.inner)?, eps)?;
        self.record("layer_norm", &to, value, move |walk, dy| {
            let gradients = walk.inner().layer_norm_backward(&x, &gamma, &dy, eps)?;
            to.into_iter().zip(gradients).try_for_each(|(to, gradient)| walk.give(to, gradient))
        })
    }

    fn activation(&self, x: &Var<B>, activation: Activation) -> Result<Var<B>> {
        let (to, x) = (x.source(), x.value().clone());
        let value = self.inner.activation(&x, activation)?;
        self.record("activation", &[to], value, move |walk, dy| {
            walk.give(to, walk.inner().activation_backward(&x, &dy, activation)?)
        })
    }

    fn geglu(&self, x: &Var<B>) -> Result<Var<B>> {
        let (to, x) = (x.source(), x.value().clone());
        let value = self.inner.geglu(&x)?;
        self.record("geglu", &[to], value, move |walk, dy| walk.give(to, walk.inner().geglu_backward(&x, &dy)?))
    }

    fn add(&self, a: &Var<B>, b: &Var<B>) -> Result<Var<B>> {
        let (to_a, to_b) = (a.source(), b.source());
        let value = self.inner.add(a.value(), b.value())?;
        self.record("add", &[to_a, to_b], value, move |walk, dy| {
            walk.give(to_a, dy.clone())?;
            walk.give(to_b, dy)
        })
    }

    fn sub(&self, a: &Var<B>, b: &Var<B>) -> Result<Var<B>> {
        let (to_a, to_b) = (a.source(), b.source());
        let value = self.inner.sub(a.value(), b.value())?;
        self.record("sub", &[to_a, to_b], value, move |walk, dy| {
            walk.give_with(to_b, |inner| inner.scale(&dy, -1.0))?;
            walk.give(to_a, dy)
        })
    }

    fn mul(&self, a: &Var<B>, b: &Var<B>) -> Result<Var<B>> {
        let (to_a, to_b) = (a.source(), b.source());
        let value = self.inner.mul(a.value(), b.value())?;
        // Each factor is kept only for the other one's gradient.
        let factor_of_a = to_a.map(|_| b.value().clone());
        let factor_of_b = to_b.map(|_| a.value().clone());
        self.record("mul", &[to_a, to_b], value, move |walk, dy| {
            for (to, factor) in [(to_a, factor_of_a), (to_b, factor_of_b)] {
                if let Some(factor) = factor {
                    walk.give(to, walk.inner().mul(&dy, &factor)?)?;
                }
            }
            Ok(())
        })
    }

    fn scale(&self, x: &Var<B>, factor: f32) -> Result<Var<B>> {
        let to = x.source();
        let value = self.inner.scale(x.value(), factor)?;
        self.record("scale", &[to], value, move |walk, dy| walk.give(to, walk.inner().scale(&dy, factor)?))
    }

    fn add_channels(&self, x: &Var<B>, v: &Var<B>) -> Result<Var<B>> {
        let (to_x, to_v) = (x.source(), v.source());
        let value = self.inner.add_channels(x.value(), v.value())?;
        self.record("add_channels", &[to_x, to_v], value, move |walk, dy| {
            walk.give_with(to_v, |inner| inner.sum_pixels(&dy))?;
            walk.give(to_x, dy)
        })
    }

    fn abs(&self, x: &Var<B>) -> Result<Var<B>> {
        let (to, x) = (x.source(), x.value().clone());
        let value = self.inner.abs(&x)?;
        self.record("abs", &[to], value, move |walk, dy| walk.give(to, walk.inner().abs_backward(&x, &dy)?))
    }

    fn exp(&self, x: &Var<B>) -> Result<Var<B>> {
        let to = x.source();
        let value = self.inner.exp(x.value())?;
        let y = value.clone();
        self.record("exp", &[to], value, move |walk, dy| walk.give(to, walk.inner().mul(&dy, &y)?))
    }

    fn clamp(&self, x: &Var<B>, low: f32, high: f32) -> Result<Var<B>> {
        let (to, x) = (x.source(), x.value().clone());
        let value = self.inner.clamp(&x, low, high)?;
        self.record("clamp", &[to], value, move |walk, dy| {
            walk.give(to, walk.inner().clamp_backward(&x, &dy, low, high)?)
        })
    }

    fn mean(&self, x: &Var<B>) -> Result<Var<B>> {
        let (to, input) = (x.source(), self.shape(x));
        let value = self.inner.mean(x.value())?;
        self.record("mean", &[to], value, move |walk, dy| walk.give(to, walk.inner().mean_backward(&dy, input)?))
    }

    fn reshape(&self, x: &Var<B>, shape: Shape) -> Result<Var<B>> {
        let (to, input) = (x.source(), self.shape(x));
        let value = self.inner.reshape(x.value(), shape)?;
        self.record("reshape", &[to], value, move |walk, dy| walk.give(to, walk.inner().reshape(&dy, input)?))
    }

    fn narrow(&self, x: &Var<B>, start: usize, length: usize) -> Result<Var<B>> {
        let (to, input) = (x.source(), self.shape(x));
        let value = self.inner.narrow(x.value(), start, length)?;
        self.record("narrow", &[to], value, move |walk, dy| {
            walk.give(to, walk.inner().narrow_backward(&dy, start, input)?)
        })
    }

    fn concat(&self, a: &Var<B>, b: &Var<B>) -> Result<Var<B>> {
        let (to_a, to_b) = (a.source(), b.source());
        let value = self.inner.concat(a.value(), b.value())?;
        let (of_a, of_b) = (self.shape(a).last(), self.shape(b).last());
        self.record("concat", &[to_a, to_b], value, move |walk, dy| {
            walk.give_with(to_a, |inner| inner.narrow(&dy, 0, of_a))?;
            walk.give_with(to_b, |inner| inner.narrow(&dy, of_a, of_b))
        })
    }

    fn upsample_nearest_2x(&self, x: &Var<B>) -> Result<Var<B>> {
        let to = x.source();
        let value = self.inner.upsample_nearest_2x(x.value())?;
        self.record("upsample_nearest_2x", &[to], value, move |walk, dy| {
            walk.give(to, walk.inner().upsample_nearest_2x_backward(&dy)?)
        })
    }

    fn embedding(&self, table: &Parameter<B>, ids: &[u32], batch: usize) -> Result<Var<B>> {
        let (to, rows) = (table.source(), table.shape().rows());
        let value = self.inner.embedding(&table.packed(&self.inner)?, ids, batch)?;
        let ids = ids.to_vec();
        self.record("embedding", &[to], value, move |walk, dy| {
            walk.give(to, walk.inner().embedding_backward(&dy, &ids, rows)?)
        })
    }

    /// Runs `block` and keeps `inputs` and `block` itself; for the gradient, `block` runs again and is recorded then.
    ///
    /// `block` must compute the same each time. What it captures of this tape, values and parameters, gets its gradients too.
    fn checkpoint(
        &self,
        inputs: &[Var<B>],
        block: impl Fn(&Self, &[Var<B>]) -> Result<Var<B>> + 'static,
    ) -> Result<Var<B>> {
        if matches!(self.mode.get(), Mode::Checkpoint | Mode::NoGrad) {
            return block(self, inputs);
        }
        let result = self.in_mode(Mode::Checkpoint, |tape| block(tape, inputs))?;
        if result.source() != Some(Source::Inside) {
            return Ok(result);
        }
        let sources: Vec<_> = inputs.iter().map(Var::source).collect();
        let inputs = inputs.to_vec();
        self.push("checkpoint", &sources, result.value().clone(), move |walk, dy| {
            let again = block(walk.tape(), &inputs)?;
            walk.give(again.source(), dy)
        })
    }
}
