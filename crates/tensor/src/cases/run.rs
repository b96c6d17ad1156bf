//! Runs a case on a backend, forward and backward.

use super::{Case, Op, Role};
use crate::{Activation, Backend, Conv2d, Differentiable, Error, Result, to_file_layout};

/// An input on a backend.
pub enum Value<B: Backend> {
    /// An activation.
    Tensor(B::Tensor),
    /// A parameter.
    Param(B::Param),
}

/// The inputs of a case, by position.
struct Arguments<'a, B: Backend>(&'a [Value<B>]);

impl<'a, B: Backend> Arguments<'a, B> {
    fn tensor(&self, index: usize) -> Result<&'a B::Tensor> {
        match self.0.get(index) {
            Some(Value::Tensor(x)) => Ok(x),
            _ => Err(missing(index, "tensor")),
        }
    }

    fn param(&self, index: usize) -> Result<&'a B::Param> {
        match self.0.get(index) {
            Some(Value::Param(p)) => Ok(p),
            _ => Err(missing(index, "parameter")),
        }
    }
}

fn missing(index: usize, what: &str) -> Error {
    Error::Invalid { op: "case", message: format!("input {index} is missing or not the {what} that the case lists") }
}

impl Case {
    /// Puts `data`, one for each input, on a backend.
    pub fn upload<B: Backend>(&self, backend: &B, data: &[Vec<f32>]) -> Result<Vec<Value<B>>> {
        let upload = |(input, data): (&super::Input, &Vec<f32>)| match input.role {
            Role::Tensor => backend.from_f32(input.shape, data.clone()).map(Value::Tensor),
            Role::Param(kind) => {
                let (shape, data) = to_file_layout(kind, input.shape, data.clone())?;
                backend.param(input.name, kind, shape, &data).map(Value::Param)
            }
        };
        self.inputs.iter().zip(data).map(upload).collect()
    }

    /// Runs the operation.
    pub fn forward<B: Backend>(&self, backend: &B, inputs: &[Value<B>]) -> Result<B::Tensor> {
        let with = Arguments(inputs);
        match &self.op {
            Op::Conv2d { bias, residual, options } => {
                let (bias, residual) = bias_and_residual(&with, *bias, *residual)?;
                backend.conv2d(with.tensor(0)?, with.param(1)?, bias, residual, *options)
            }
            Op::Linear { bias, residual, activation } => {
                let (bias, residual) = bias_and_residual(&with, *bias, *residual)?;
                backend.linear(with.tensor(0)?, with.param(1)?, bias, residual, *activation)
            }
            Op::UpsampleConv2d { bias } => {
                let (bias, _) = bias_and_residual(&with, *bias, false)?;
                backend.upsample_conv2d(with.tensor(0)?, with.param(1)?, bias)
            }
            Op::LinearGeglu { bias } => {
                let (bias, _) = bias_and_residual(&with, *bias, false)?;
                backend.linear_geglu(with.tensor(0)?, with.param(1)?, bias)
            }
            Op::Attention(options) => backend.attention(with.tensor(0)?, with.tensor(1)?, with.tensor(2)?, *options),
            Op::GroupNorm { groups, eps, activation } => {
                backend.group_norm(with.tensor(0)?, with.param(1)?, with.param(2)?, *groups, *eps, *activation)
            }
            Op::LayerNorm { eps } => backend.layer_norm(with.tensor(0)?, with.param(1)?, with.param(2)?, *eps),
            Op::Activation(activation) => backend.activation(with.tensor(0)?, *activation),
            Op::Geglu => backend.geglu(with.tensor(0)?),
            Op::Add => backend.add(with.tensor(0)?, with.tensor(1)?),
            Op::Sub => backend.sub(with.tensor(0)?, with.tensor(1)?),
            Op::Mul => backend.mul(with.tensor(0)?, with.tensor(1)?),
            Op::Scale(factor) => backend.scale(with.tensor(0)?, *factor),
            Op::AddChannels => backend.add_channels(with.tensor(0)?, with.tensor(1)?),
            Op::Abs => backend.abs(with.tensor(0)?),
            Op::Exp => backend.exp(with.tensor(0)?),
            Op::Clamp { low, high } => backend.clamp(with.tensor(0)?, *low, *high),
            Op::Mean => backend.mean(with.tensor(0)?),
            Op::Reshape(shape) => backend.reshape(with.tensor(0)?, *shape),
            Op::Narrow { start, length } => backend.narrow(with.tensor(0)?, *start, *length),
            Op::Concat => backend.concat(with.tensor(0)?, with.tensor(1)?),
            Op::UpsampleNearest2x => backend.upsample_nearest_2x(with.tensor(0)?),
            Op::Embedding { ids, batch } => backend.embedding(with.param(0)?, ids, *batch),
        }
    }

    /// The gradients of all inputs, in their order, where `dy` is that of the result.
    pub fn backward<B: Differentiable>(
        &self,
        backend: &B,
        inputs: &[Value<B>],
        dy: &B::Tensor,
    ) -> Result<Vec<B::Tensor>> {
        let with = Arguments(inputs);
        let one = |gradient: Result<B::Tensor>| gradient.map(|dx| vec![dx]);
        match &self.op {
            Op::Conv2d { bias, residual, options } => {
                let (x, weight) = (with.tensor(0)?, with.param(1)?);
                let plain = Conv2d { activation: Activation::None, ..*options };
                let dproduct = before_activation(backend, &with, *bias, dy, options.activation, |bias| {
                    backend.conv2d(x, weight, bias, None, plain)
                })?;
                let kernel = [backend.param_shape(weight)[0], backend.param_shape(weight)[1]];
                let dx = backend.conv2d_backward_input(&dproduct, weight, backend.shape(x), plain)?;
                let dweight = backend.conv2d_backward_weight(x, &dproduct, kernel, plain)?;
                with_bias_and_residual(backend, vec![dx, dweight], *bias, *residual, &dproduct, dy)
            }
            Op::Linear { bias, residual, activation } => {
                let (x, weight) = (with.tensor(0)?, with.param(1)?);
                let dproduct = before_activation(backend, &with, *bias, dy, *activation, |bias| {
                    backend.linear(x, weight, bias, None, Activation::None)
                })?;
                let dx = backend.linear_backward_input(&dproduct, weight)?;
                let dweight = backend.linear_backward_weight(x, &dproduct)?;
                with_bias_and_residual(backend, vec![dx, dweight], *bias, *residual, &dproduct, dy)
            }
            Op::UpsampleConv2d { bias } => {
                let (x, weight, plain) = (with.tensor(0)?, with.param(1)?, Conv2d::padded(1));
                let upsampled = backend.upsample_nearest_2x(x)?;
                let dupsampled = backend.conv2d_backward_input(dy, weight, backend.shape(&upsampled), plain)?;
                let dx = backend.upsample_nearest_2x_backward(&dupsampled)?;
                let dweight = backend.conv2d_backward_weight(&upsampled, dy, [3, 3], plain)?;
                with_bias_and_residual(backend, vec![dx, dweight], *bias, false, dy, dy)
            }
            Op::LinearGeglu { bias } => {
                let (x, weight) = (with.tensor(0)?, with.param(1)?);
                let (given, _) = bias_and_residual(&with, *bias, false)?;
                let product = backend.linear(x, weight, given, None, Activation::None)?;
                let dproduct = backend.geglu_backward(&product, dy)?;
                let dx = backend.linear_backward_input(&dproduct, weight)?;
                let dweight = backend.linear_backward_weight(x, &dproduct)?;
                with_bias_and_residual(backend, vec![dx, dweight], *bias, false, &dproduct, dy)
            }
            Op::Attention(options) => backend
                .attention_backward(with.tensor(0)?, with.tensor(1)?, with.tensor(2)?, dy, *options)
                .map(Vec::from),
            Op::GroupNorm { groups, eps, activation } => {
                let (x, gamma, beta) = (with.tensor(0)?, with.param(1)?, with.param(2)?);
                backend.group_norm_backward(x, gamma, beta, dy, *groups, *eps, *activation).map(Vec::from)
            }
            Op::LayerNorm { eps } => {
                backend.layer_norm_backward(with.tensor(0)?, with.param(1)?, dy, *eps).map(Vec::from)
            }
            Op::Activation(activation) => one(backend.activation_backward(with.tensor(0)?, dy, *activation)),
            Op::Geglu => one(backend.geglu_backward(with.tensor(0)?, dy)),
            Op::Add => Ok(vec![dy.clone(), dy.clone()]),
            Op::Sub => Ok(vec![dy.clone(), backend.scale(dy, -1.0)?]),
            Op::Mul => Ok(vec![backend.mul(dy, with.tensor(1)?)?, backend.mul(dy, with.tensor(0)?)?]),
            Op::Scale(factor) => one(backend.scale(dy, *factor)),
            Op::AddChannels => Ok(vec![dy.clone(), backend.sum_pixels(dy)?]),
            Op::Abs => one(backend.abs_backward(with.tensor(0)?, dy)),
            Op::Exp => one(backend.mul(dy, &backend.exp(with.tensor(0)?)?)),
            Op::Clamp { low, high } => one(backend.clamp_backward(with.tensor(0)?, dy, *low, *high)),
            Op::Mean => one(backend.mean_backward(dy, backend.shape(with.tensor(0)?))),
            Op::Reshape(_) => one(backend.reshape(dy, backend.shape(with.tensor(0)?))),
            Op::Narrow { start, .. } => one(backend.narrow_backward(dy, *start, backend.shape(with.tensor(0)?))),
            Op::Concat => {
                let [a, b] = [backend.shape(with.tensor(0)?).last(), backend.shape(with.tensor(1)?).last()];
                Ok(vec![backend.narrow(dy, 0, a)?, backend.narrow(dy, a, b)?])
            }
            Op::UpsampleNearest2x => one(backend.upsample_nearest_2x_backward(dy)),
            Op::Embedding { ids, .. } => {
                one(backend.embedding_backward(dy, ids, backend.param_shape(with.param(0)?)[0]))
            }
        }
    }
}

type BiasAndResidual<'a, B> = (Option<&'a <B as Backend>::Param>, Option<&'a <B as Backend>::Tensor>);

/// The optional inputs after `x` and `weight`.
fn bias_and_residual<'a, B: Backend>(
    with: &Arguments<'a, B>,
    bias: bool,
    residual: bool,
) -> Result<BiasAndResidual<'a, B>> {
    let at = 2 + usize::from(bias);
    Ok((bias.then(|| with.param(2)).transpose()?, residual.then(|| with.tensor(at)).transpose()?))
}

/// The gradient of `x · weight + bias` from that of its activation; `product` computes it again.
fn before_activation<B: Differentiable>(
    backend: &B,
    with: &Arguments<'_, B>,
    bias: bool,
    dy: &B::Tensor,
    activation: Activation,
    product: impl FnOnce(Option<&B::Param>) -> Result<B::Tensor>,
) -> Result<B::Tensor> {
    if activation == Activation::None {
        return Ok(dy.clone());
    }
    let (bias, _) = bias_and_residual(with, bias, false)?;
    backend.activation_backward(&product(bias)?, dy, activation)
}

/// Adds the gradients of the optional inputs.
fn with_bias_and_residual<B: Differentiable>(
    backend: &B,
    mut gradients: Vec<B::Tensor>,
    bias: bool,
    residual: bool,
    dproduct: &B::Tensor,
    dy: &B::Tensor,
) -> Result<Vec<B::Tensor>> {
    if bias {
        gradients.push(backend.sum_rows(dproduct)?);
    }
    if residual {
        gradients.push(dy.clone());
    }
    Ok(gradients)
}
