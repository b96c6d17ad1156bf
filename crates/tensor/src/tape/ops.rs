//! The op set on the tape. For each operation: the inner backend's result, and its backward.

use super::var::Source;
use super::{Mode, Parameter, Tape, Var};
use crate::{
    Activation, Backend, Conv2d, DType, Differentiable, Op, ParamData, ParamRole, Result, Shape, Threads,
    backend::{conv2d_then_shift, linear_then_geglu, upsample_then_conv2d},
    from_file_layout, op_shapes,
};

impl<B: Differentiable> Tape<B> {
    /// A product with a weight, then an activation, then a residual. `plain` is `op` without the activation, which is computed apart when
    /// it will be differentiated, since its backward needs its argument. `of_weight(x, dy)` and `of_x(dy, weight)` are the gradients of the
    /// plain product.
    fn product(
        &self,
        op: &Op,
        (plain, activation): (Op, Activation),
        (x, residual): (&Var<B>, Option<&Var<B>>),
        (weight, bias): (&Parameter<B>, Option<&Parameter<B>>),
        of_weight: impl Fn(&B, &B::Tensor, &B::Tensor) -> Result<B::Tensor> + 'static,
        of_x: impl Fn(&B, &B::Tensor, &B::Param) -> Result<B::Tensor> + 'static,
    ) -> Result<Var<B>> {
        let packed = weight.packed(&self.inner)?;
        let packed_bias = bias.map(|bias| bias.packed(&self.inner)).transpose()?;
        let params: Vec<&B::Param> = [&packed].into_iter().chain(&packed_bias).collect();
        let apart = activation != Activation::None && self.mode.get() != Mode::NoGrad;
        let (value, before) = if apart {
            let before = self.inner.run(&plain, &[x.value()], &params)?;
            let mut value = self.inner.activation(&before, activation)?;
            if let Some(residual) = residual {
                value = self.inner.add(&value, residual.value())?;
            }
            (value, Some(before))
        } else {
            let tensors: Vec<&B::Tensor> = [x.value()].into_iter().chain(residual.map(|x| x.value())).collect();
            (self.inner.run(op, &tensors, &params)?, None)
        };
        let to = [x.source(), weight.source(), bias.and_then(|x| x.source()), residual.and_then(|x| x.source())];
        // Of a weight that does not learn the argument is not kept.
        let (x, weight) = (weight.source().map(|_| x.value().clone()), weight.clone());
        self.record(op.name(), to.to_vec(), value, move |walk, _, mut dy| {
            let [to_x, to_weight, to_bias, to_residual] = to;
            walk.give(to_residual, dy.clone())?;
            if let Some(before) = before {
                dy = walk.inner().activation_backward(&before, &dy, activation)?;
            }
            walk.give_with(to_bias, |b| b.sum_rows(&dy))?;
            if let Some(x) = &x {
                walk.give_with(to_weight, |b| of_weight(b, x, &dy))?;
            }
            walk.give_with(to_x, |b| of_x(b, &dy, &packed))?;
            weight.release();
            Ok(())
        })
    }

    /// A convolution or linear map, of its weight alone.
    pub(super) fn product_without_change(
        &self,
        op: &Op,
        (x, residual): (&Var<B>, Option<&Var<B>>),
        (weight, bias): (&Parameter<B>, Option<&Parameter<B>>),
    ) -> Result<Var<B>> {
        let (ends, params) = ((x, residual), (weight, bias));
        match *op {
            Op::Conv2d(options) => {
                let [kh, kw, ..] = op_shapes::picture(op.name(), "weight", weight.shape())?;
                let (input, plain) = (self.shape(x), Conv2d { activation: Activation::None, ..options });
                self.product(
                    op,
                    (Op::Conv2d(plain), options.activation),
                    ends,
                    params,
                    move |b, x, dy| b.conv2d_backward_weight(x, dy, [kh, kw], plain),
                    move |b, dy, weight| b.conv2d_backward_input(dy, weight, input, plain),
                )
            }
            Op::Linear(activation) => self.product(
                op,
                (Op::Linear(Activation::None), activation),
                ends,
                params,
                |b, x, dy| b.linear_backward_weight(x, dy),
                |b, dy, weight| b.linear_backward_input(dy, weight),
            ),
            _ => op.refuse(1, 1),
        }
    }
}

impl<B: Differentiable> Backend for Tape<B> {
    type Tensor = Var<B>;
    type Param = Parameter<B>;

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn threads(&self) -> &Threads {
        self.inner.threads()
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
        let (shape, data) = from_file_layout(kind, shape, data, self.threads())?;
        self.parameter(name, kind, self.inner.from_f32(shape, data)?)
    }

    fn param_shape(&self, p: &Parameter<B>) -> Shape {
        p.shape()
    }

    fn compute(&self, op: &Op, tensors: &[&Var<B>], params: &[&Parameter<B>], _: Shape) -> Result<Var<B>> {
        match (op, tensors, params) {
            (Op::Conv2d(_) | Op::Linear(_), [x, residual @ ..], [weight, bias @ ..]) => {
                let (ends, params) = ((*x, residual.first().copied()), (*weight, bias.first().copied()));
                return match self.product_of_changed(op, ends, params)? {
                    Some(changed) => Ok(changed),
                    None => self.product_without_change(op, ends, params),
                };
            }
            (&Op::ShiftedConv2d(options), [x, shift], [weight, bias @ ..]) => {
                return conv2d_then_shift(self, [x, shift], weight, bias.first().copied(), options);
            }
            (Op::UpsampleConv2d, [x], [weight, bias @ ..]) => {
                return upsample_then_conv2d(self, x, weight, bias.first().copied());
            }
            (Op::LinearGeglu, [x], [weight, bias @ ..]) => {
                return linear_then_geglu(self, x, weight, bias.first().copied());
            }
            _ => {}
        }
        let values: Vec<&B::Tensor> = tensors.iter().map(|x| x.value()).collect();
        let packed = params.iter().map(|p| p.packed(&self.inner)).collect::<Result<Vec<_>>>()?;
        let value = self.inner.run(op, &values, &packed.iter().collect::<Vec<_>>())?;
        let to: Vec<_> = tensors.iter().map(|x| x.source()).chain(params.iter().map(|p| p.source())).collect();
        let name = op.name();
        // Each backward keeps of the arguments what it needs, and nothing else.
        match (op, &values[..], &packed[..]) {
            (&Op::Attention(options), &[q, k, v], _) => {
                let [q, k, v] = [q.clone(), k.clone(), v.clone()];
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give_each(to, walk.inner().attention_backward(&q, &k, &v, &dy, options)?)
                })
            }
            (&Op::DepthwiseConv2d { kernel, options }, &[x], [weight, ..]) => {
                let (x, weight, input) = (x.clone(), weight.clone(), self.inner.shape(x));
                self.record(name, to, value, move |walk, to, dy| {
                    if let &[to_bias] = &to[2..] {
                        walk.give_with(to_bias, |b| b.sum_rows(&dy))?;
                    }
                    walk.give_with(to[1], |b| b.depthwise_conv2d_backward_weight(&x, &dy, kernel, options))?;
                    walk.give_with(to[0], |b| b.depthwise_conv2d_backward_input(&dy, &weight, input, kernel, options))
                })
            }
            (&Op::UnitRows { eps }, &[x], _) => {
                let x = x.clone();
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().unit_rows_backward(&x, &dy, eps)?)
                })
            }
            (Op::MaxPool2x, &[x], _) => {
                let x = x.clone();
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().max_pool_2x_backward(&x, &dy)?)
                })
            }
            // Each is the other's inverse, and so its gradient.
            (&Op::PixelShuffle(factor), ..) => self.record(name, to, value, move |walk, to, dy| {
                walk.give(to[0], walk.inner().pixel_unshuffle(&dy, factor)?)
            }),
            (&Op::PixelUnshuffle(factor), ..) => self.record(name, to, value, move |walk, to, dy| {
                walk.give(to[0], walk.inner().pixel_shuffle(&dy, factor)?)
            }),
            (&Op::GroupNorm { groups, eps, activation }, &[x], [gamma, beta]) => {
                let (x, gamma, beta) = (x.clone(), gamma.clone(), beta.clone());
                self.record(name, to, value, move |walk, to, dy| {
                    let b = walk.inner();
                    walk.give_each(to, b.group_norm_backward(&x, &gamma, &beta, &dy, groups, eps, activation)?)
                })
            }
            (&Op::LayerNorm { eps }, &[x], [gamma, _]) => {
                let (x, gamma) = (x.clone(), gamma.clone());
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give_each(to, walk.inner().layer_norm_backward(&x, &gamma, &dy, eps)?)
                })
            }
            (&Op::Activation(activation), &[x], _) => {
                let x = x.clone();
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().activation_backward(&x, &dy, activation)?)
                })
            }
            (Op::PRelu, &[x], [slope]) => {
                let (x, slope) = (x.clone(), slope.clone());
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give_with(to[1], |b| b.sum_rows(&b.mul(&dy, &b.clamp(&x, f32::NEG_INFINITY, 0.0)?)?))?;
                    walk.give_with(to[0], |b| b.prelu_backward(&x, &slope, &dy))
                })
            }
            (Op::Geglu, &[x], _) => {
                let x = x.clone();
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().geglu_backward(&x, &dy)?)
                })
            }
            (Op::Add, ..) => self.record(name, to, value, |walk, to, dy| {
                walk.give(to[0], dy.clone())?;
                walk.give(to[1], dy)
            }),
            (Op::Sub, ..) => self.record(name, to, value, |walk, to, dy| {
                walk.give_with(to[1], |inner| inner.scale(&dy, -1.0))?;
                walk.give(to[0], dy)
            }),
            (Op::Mul, &[a, b], _) => {
                // Each factor is kept only for the other one's gradient.
                let factors = [to[0].map(|_| b.clone()), to[1].map(|_| a.clone())];
                self.record(name, to, value, move |walk, to, dy| {
                    for (&to, factor) in to.iter().zip(factors) {
                        if let Some(factor) = factor {
                            walk.give(to, walk.inner().mul(&dy, &factor)?)?;
                        }
                    }
                    Ok(())
                })
            }
            (&Op::Scale(factor), ..) => {
                self.record(name, to, value, move |walk, to, dy| walk.give(to[0], walk.inner().scale(&dy, factor)?))
            }
            (Op::AddChannels, ..) => self.record(name, to, value, |walk, to, dy| {
                walk.give_with(to[1], |inner| inner.sum_pixels(&dy))?;
                walk.give(to[0], dy)
            }),
            (Op::Abs, &[x], _) => {
                let x = x.clone();
                self.record(name, to, value, move |walk, to, dy| walk.give(to[0], walk.inner().abs_backward(&x, &dy)?))
            }
            (Op::Exp, ..) => {
                let y = value.clone();
                self.record(name, to, value, move |walk, to, dy| walk.give(to[0], walk.inner().mul(&dy, &y)?))
            }
            (&Op::Clamp { low, high }, &[x], _) => {
                let x = x.clone();
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().clamp_backward(&x, &dy, low, high)?)
                })
            }
            (Op::Mean, &[x], _) => {
                let input = self.inner.shape(x);
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().mean_backward(&dy, input)?)
                })
            }
            (Op::Reshape(_), &[x], _) => {
                let input = self.inner.shape(x);
                self.record(name, to, value, move |walk, to, dy| walk.give(to[0], walk.inner().reshape(&dy, input)?))
            }
            (&Op::Narrow { start, .. }, &[x], _) => {
                let input = self.inner.shape(x);
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().narrow_backward(&dy, start, input)?)
                })
            }
            (Op::Concat, &[a, b], _) => {
                let [of_a, of_b] = [a, b].map(|x| self.inner.shape(x).last());
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give_with(to[0], |inner| inner.narrow(&dy, 0, of_a))?;
                    walk.give_with(to[1], |inner| inner.narrow(&dy, of_a, of_b))
                })
            }
            (Op::UpsampleNearest2x, ..) => self.record(name, to, value, |walk, to, dy| {
                walk.give(to[0], walk.inner().upsample_nearest_2x_backward(&dy)?)
            }),
            (Op::Embedding { ids, .. }, ..) => {
                let (ids, rows) = (ids.clone(), params[0].shape().rows());
                self.record(name, to, value, move |walk, to, dy| {
                    walk.give(to[0], walk.inner().embedding_backward(&dy, &ids, rows)?)
                })
            }
            _ => op.refuse(tensors.len(), params.len()),
        }
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
        self.push("checkpoint", sources, result.value().clone(), move |walk, _, dy| {
            let again = block(walk.tape(), &inputs)?;
            walk.give(again.source(), dy)
        })
    }
}
