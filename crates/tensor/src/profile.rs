//! Where the time goes: a backend that wraps another and times every operation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::{Activation, Attention, Backend, Conv2d, DType, ParamData, ParamRole, Result, Shape, cases::Op};

/// The layer of operations that come before any with a parameter.
const INPUT: &str = "input";

/// A [`Backend`] that computes with `B` and notes a [`Call`] for each operation that succeeds.
///
/// The layer of an operation is known from the name of its parameter; one without parameters belongs to the layer of
/// the operation before it.
#[derive(Clone)]
pub struct Profile<B> {
    inner: B,
    layer: Rc<RefCell<Rc<str>>>,
    calls: Rc<RefCell<Vec<Call>>>,
}

/// One operation that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its kind: `conv 3x3`, `linear`, `attention (self)`, `group_norm`, …
    pub kind: String,
    /// The checkpoint path of its layer: `down_blocks.0.resnets.1.conv1`.
    pub layer: Rc<str>,
    /// How long it ran.
    pub seconds: f64,
    /// Its floating-point operations, as [`Op::flops`] counts.
    pub flops: f64,
}

impl Call {
    /// The first `names` names of the layer's path, a name with the number after it being one: 1 of
    /// `down_blocks.0.resnets.1.conv1` is `down_blocks.0`, 2 are `down_blocks.0.resnets.1`.
    pub fn block(&self, names: usize) -> &str {
        let starts_with_digit = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
        let mut end = 0;
        let mut left = names;
        for part in self.layer.split_inclusive('.') {
            if !starts_with_digit(part) {
                if left == 0 {
                    break;
                }
                left -= 1;
            }
            end += part.len();
        }
        self.layer[..end].trim_end_matches('.')
    }
}

/// The sum of some calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Total {
    /// What they have in common.
    pub name: String,
    /// How many there are.
    pub calls: usize,
    /// How long they ran together.
    pub seconds: f64,
    /// Their floating-point operations.
    pub flops: f64,
}

/// Adds up the calls of each `name`, in the order in which the names first appear.
pub fn totals<'a>(calls: &'a [Call], name: impl Fn(&'a Call) -> &'a str) -> Vec<Total> {
    let mut totals: Vec<Total> = Vec::new();
    for call in calls {
        let index = totals.iter().position(|total| total.name == name(call)).unwrap_or_else(|| {
            totals.push(Total { name: name(call).to_owned(), calls: 0, seconds: 0.0, flops: 0.0 });
            totals.len() - 1
        });
        let total = &mut totals[index];
        total.calls += 1;
        total.seconds += call.seconds;
        total.flops += call.flops;
    }
    totals
}

/// A parameter that knows its layer.
#[derive(Clone, Debug)]
pub struct Named<P> {
    inner: P,
    layer: Rc<str>,
}

impl<B: Backend> Profile<B> {
    /// Times the operations of `inner`.
    pub fn new(inner: B) -> Self {
        Self { inner, layer: Rc::new(RefCell::new(INPUT.into())), calls: Rc::default() }
    }

    /// The backend that computes.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// The calls since the last `take`, in their order. The next operation is the first of a new run.
    pub fn take(&self) -> Vec<Call> {
        self.layer.replace(INPUT.into());
        self.calls.take()
    }

    /// Runs an operation on inputs of these shapes and notes the call.
    fn call(
        &self,
        op: Op,
        parameter: Option<&Named<B::Param>>,
        shapes: &[Shape],
        run: impl FnOnce(&B) -> Result<B::Tensor>,
    ) -> Result<B::Tensor> {
        let start = Instant::now();
        let result = run(&self.inner)?;
        self.inner.synchronize()?;
        let seconds = start.elapsed().as_secs_f64();
        if let Some(parameter) = parameter {
            self.layer.replace(parameter.layer.clone());
        }
        let layer = self.layer.borrow().clone();
        self.calls.borrow_mut().push(Call { kind: kind(&op, shapes), layer, seconds, flops: op.flops(shapes) });
        Ok(result)
    }

    fn unary(&self, op: Op, x: &B::Tensor, run: impl FnOnce(&B) -> Result<B::Tensor>) -> Result<B::Tensor> {
        self.call(op, None, &[self.inner.shape(x)], run)
    }

    /// An operation on `x` with a weight.
    fn weighted(
        &self,
        op: Op,
        x: &B::Tensor,
        weight: &Named<B::Param>,
        run: impl FnOnce(&B, &B::Param) -> Result<B::Tensor>,
    ) -> Result<B::Tensor> {
        let shapes = [self.inner.shape(x), self.inner.param_shape(&weight.inner)];
        self.call(op, Some(weight), &shapes, |b| run(b, &weight.inner))
    }

    fn binary(
        &self,
        op: Op,
        a: &B::Tensor,
        b: &B::Tensor,
        run: impl FnOnce(&B) -> Result<B::Tensor>,
    ) -> Result<B::Tensor> {
        self.call(op, None, &[self.inner.shape(a), self.inner.shape(b)], run)
    }
}

/// What operations are told apart by, besides their layer.
fn kind(op: &Op, shapes: &[Shape]) -> String {
    let name = match op {
        Op::Conv2d { options, .. } => {
            let kernel = match shapes.get(1).map(|weight| &**weight) {
                Some([kh, kw, ..]) => format!("conv {kh}x{kw}"),
                _ => "conv".to_owned(),
            };
            return if options.stride == 1 { kernel } else { format!("{kernel} stride {}", options.stride) };
        }
        Op::UpsampleConv2d { .. } => "upsample and conv 3x3",
        Op::Linear { .. } => "linear",
        Op::LinearGeglu { .. } => "linear and geglu",
        // Queries and keys of one length are of one sequence: a text is never as long as a picture has pixels.
        Op::Attention(_) => match shapes {
            [q, k, ..] if q == k => "attention (self)",
            _ => "attention (cross)",
        },
        Op::GroupNorm { .. } => "group_norm",
        Op::LayerNorm { .. } => "layer_norm",
        Op::Activation(_) => "activation",
        Op::Geglu => "geglu",
        Op::Add => "add",
        Op::Sub => "sub",
        Op::Mul => "mul",
        Op::Scale(_) => "scale",
        Op::AddChannels => "add_channels",
        Op::Abs => "abs",
        Op::Exp => "exp",
        Op::Clamp { .. } => "clamp",
        Op::Mean => "mean",
        Op::Reshape(_) => "reshape",
        Op::Narrow { .. } => "narrow",
        Op::Concat => "concat",
        Op::UpsampleNearest2x => "upsample_nearest_2x",
        Op::Embedding { .. } => "embedding",
    };
    name.to_owned()
}

fn inner<P>(parameter: Option<&Named<P>>) -> Option<&P> {
    parameter.map(|parameter| &parameter.inner)
}

impl<B: Backend> Backend for Profile<B> {
    type Tensor = B::Tensor;
    type Param = Named<B::Param>;

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<B::Tensor> {
        self.inner.from_f32(shape, data)
    }

    fn to_f32(&self, x: &B::Tensor) -> Result<Vec<f32>> {
        self.inner.to_f32(x)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }

    fn shape(&self, x: &B::Tensor) -> Shape {
        self.inner.shape(x)
    }

    /// The layer is `name` without its last part.
    fn param(
        &self,
        name: &str,
        role: impl Into<ParamRole>,
        shape: Shape,
        data: &dyn ParamData,
    ) -> Result<Named<B::Param>> {
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        Ok(Named { inner: self.inner.param(name, role, shape, data)?, layer: layer.into() })
    }

    fn param_shape(&self, p: &Named<B::Param>) -> Shape {
        self.inner.param_shape(&p.inner)
    }

    fn conv2d(
        &self,
        x: &B::Tensor,
        weight: &Named<B::Param>,
        bias: Option<&Named<B::Param>>,
        residual: Option<&B::Tensor>,
        options: Conv2d,
    ) -> Result<B::Tensor> {
        let op = Op::Conv2d { bias: bias.is_some(), residual: residual.is_some(), options };
        self.weighted(op, x, weight, |b, weight| b.conv2d(x, weight, inner(bias), residual, options))
    }

    fn linear(
        &self,
        x: &B::Tensor,
        weight: &Named<B::Param>,
        bias: Option<&Named<B::Param>>,
        residual: Option<&B::Tensor>,
        activation: Activation,
    ) -> Result<B::Tensor> {
        let op = Op::Linear { bias: bias.is_some(), residual: residual.is_some(), activation };
        self.weighted(op, x, weight, |b, weight| b.linear(x, weight, inner(bias), residual, activation))
    }

    fn upsample_conv2d(
        &self,
        x: &B::Tensor,
        weight: &Named<B::Param>,
        bias: Option<&Named<B::Param>>,
    ) -> Result<B::Tensor> {
        let op = Op::UpsampleConv2d { bias: bias.is_some() };
        self.weighted(op, x, weight, |b, weight| b.upsample_conv2d(x, weight, inner(bias)))
    }

    fn linear_geglu(
        &self,
        x: &B::Tensor,
        weight: &Named<B::Param>,
        bias: Option<&Named<B::Param>>,
    ) -> Result<B::Tensor> {
        let op = Op::LinearGeglu { bias: bias.is_some() };
        self.weighted(op, x, weight, |b, weight| b.linear_geglu(x, weight, inner(bias)))
    }

    fn attention(&self, q: &B::Tensor, k: &B::Tensor, v: &B::Tensor, options: Attention) -> Result<B::Tensor> {
        let shapes = [self.shape(q), self.shape(k), self.shape(v)];
        self.call(Op::Attention(options), None, &shapes, |b| b.attention(q, k, v, options))
    }

    fn group_norm(
        &self,
        x: &B::Tensor,
        gamma: &Named<B::Param>,
        beta: &Named<B::Param>,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<B::Tensor> {
        let op = Op::GroupNorm { groups, eps, activation };
        let shapes = [self.shape(x), self.param_shape(gamma), self.param_shape(beta)];
        self.call(op, Some(gamma), &shapes, |b| b.group_norm(x, &gamma.inner, &beta.inner, groups, eps, activation))
    }

    fn layer_norm(
        &self,
        x: &B::Tensor,
        gamma: &Named<B::Param>,
        beta: &Named<B::Param>,
        eps: f32,
    ) -> Result<B::Tensor> {
        let shapes = [self.shape(x), self.param_shape(gamma), self.param_shape(beta)];
        self.call(Op::LayerNorm { eps }, Some(gamma), &shapes, |b| b.layer_norm(x, &gamma.inner, &beta.inner, eps))
    }

    fn activation(&self, x: &B::Tensor, activation: Activation) -> Result<B::Tensor> {
        self.unary(Op::Activation(activation), x, |b| b.activation(x, activation))
    }

    fn geglu(&self, x: &B::Tensor) -> Result<B::Tensor> {
        self.unary(Op::Geglu, x, |b| b.geglu(x))
    }

    fn add(&self, a: &B::Tensor, b: &B::Tensor) -> Result<B::Tensor> {
        self.binary(Op::Add, a, b, |inner| inner.add(a, b))
    }

    fn sub(&self, a: &B::Tensor, b: &B::Tensor) -> Result<B::Tensor> {
        self.binary(Op::Sub, a, b, |inner| inner.sub(a, b))
    }

    fn mul(&self, a: &B::Tensor, b: &B::Tensor) -> Result<B::Tensor> {
        self.binary(Op::Mul, a, b, |inner| inner.mul(a, b))
    }

    fn scale(&self, x: &B::Tensor, factor: f32) -> Result<B::Tensor> {
        self.unary(Op::Scale(factor), x, |b| b.scale(x, factor))
    }

    fn add_channels(&self, x: &B::Tensor, v: &B::Tensor) -> Result<B::Tensor> {
        self.binary(Op::AddChannels, x, v, |b| b.add_channels(x, v))
    }

    fn abs(&self, x: &B::Tensor) -> Result<B::Tensor> {
        self.unary(Op::Abs, x, |b| b.abs(x))
    }

    fn exp(&self, x: &B::Tensor) -> Result<B::Tensor> {
        self.unary(Op::Exp, x, |b| b.exp(x))
    }

    fn clamp(&self, x: &B::Tensor, low: f32, high: f32) -> Result<B::Tensor> {
        self.unary(Op::Clamp { low, high }, x, |b| b.clamp(x, low, high))
    }

    fn mean(&self, x: &B::Tensor) -> Result<B::Tensor> {
        self.unary(Op::Mean, x, |b| b.mean(x))
    }

    fn reshape(&self, x: &B::Tensor, shape: Shape) -> Result<B::Tensor> {
        self.unary(Op::Reshape(shape), x, |b| b.reshape(x, shape))
    }

    fn narrow(&self, x: &B::Tensor, start: usize, length: usize) -> Result<B::Tensor> {
        self.unary(Op::Narrow { start, length }, x, |b| b.narrow(x, start, length))
    }

    fn concat(&self, a: &B::Tensor, b: &B::Tensor) -> Result<B::Tensor> {
        self.binary(Op::Concat, a, b, |inner| inner.concat(a, b))
    }

    fn upsample_nearest_2x(&self, x: &B::Tensor) -> Result<B::Tensor> {
        self.unary(Op::UpsampleNearest2x, x, |b| b.upsample_nearest_2x(x))
    }

    fn embedding(&self, table: &Named<B::Param>, ids: &[u32], batch: usize) -> Result<B::Tensor> {
        let op = Op::Embedding { ids: ids.to_vec(), batch };
        self.call(op, Some(table), &[self.param_shape(table)], |b| b.embedding(&table.inner, ids, batch))
    }
}
