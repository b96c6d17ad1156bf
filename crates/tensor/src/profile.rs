//! Where the time goes: a backend that wraps another and times every operation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::{Activation, Backend, DType, Fusion, Op, ParamData, ParamRole, Result, Shape, Threads};

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
    /// How long it ran: on the device, where it says so.
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

    /// What `run` gives, and how long it took.
    fn timed<T>(&self, run: impl FnOnce(&B) -> Result<T>) -> Result<(T, f64)> {
        // What ran before is not this one's.
        self.inner.device_seconds()?;
        let start = Instant::now();
        let result = run(&self.inner)?;
        self.inner.synchronize()?;
        let clock = start.elapsed().as_secs_f64();
        Ok((result, self.inner.device_seconds()?.unwrap_or(clock)))
    }

    fn note(&self, kind: String, parameter: Option<&Named<B::Param>>, seconds: f64, flops: f64) {
        if let Some(parameter) = parameter {
            self.layer.replace(parameter.layer.clone());
        }
        let layer = self.layer.borrow().clone();
        self.calls.borrow_mut().push(Call { kind, layer, seconds, flops });
    }

    /// The calls since the last `take`, in their order. The next operation is the first of a new run.
    pub fn take(&self) -> Vec<Call> {
        self.layer.replace(INPUT.into());
        self.calls.take()
    }
}

/// What operations are told apart by, besides their layer.
fn kind(op: &Op, tensors: &[Shape], params: &[Shape]) -> String {
    match op {
        Op::Conv2d(options) | Op::ShiftedConv2d(options) => {
            let kernel = match params.first().map(|weight| &**weight) {
                Some([kh, kw, ..]) => format!("conv {kh}x{kw}"),
                _ => "conv".to_owned(),
            };
            if options.stride == 1 { kernel } else { format!("{kernel} stride {}", options.stride) }
        }
        Op::DepthwiseConv2d { kernel: [kh, kw], .. } => format!("depthwise conv {kh}x{kw}"),
        Op::UpsampleConv2d => "upsample and conv 3x3".to_owned(),
        Op::LinearGeglu => "linear and geglu".to_owned(),
        // Queries and keys of one length are of one sequence: a text is never as long as an image has pixels.
        Op::Attention(_) => match tensors {
            [q, k, ..] if q == k => "attention (self)".to_owned(),
            _ => "attention (cross)".to_owned(),
        },
        op => op.name().to_owned(),
    }
}

impl<B: Backend> Backend for Profile<B> {
    type Tensor = B::Tensor;
    type Param = Named<B::Param>;

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn threads(&self) -> &Threads {
        self.inner.threads()
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

    fn device_seconds(&self) -> Result<Option<f64>> {
        self.inner.device_seconds()
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

    fn fuses(&self, fusion: Fusion) -> bool {
        self.inner.fuses(fusion)
    }

    fn linear_three(&self, x: &B::Tensor, weights: [&Named<B::Param>; 3]) -> Result<[B::Tensor; 3]> {
        if !self.fuses(Fusion::LinearThree) {
            let [q, k, v] = weights.map(|weight| self.linear(x, weight, None, None, Activation::None));
            return Ok([q?, k?, v?]);
        }
        let (result, seconds) = self.timed(|b| b.linear_three(x, weights.map(|weight| &weight.inner)))?;
        let x = [self.shape(x)];
        let flops = weights.map(|p| Op::Linear(Activation::None).flops(&x, &[self.param_shape(p)])).iter().sum();
        self.note("linear".to_owned(), Some(weights[0]), seconds, flops);
        Ok(result)
    }

    fn compute(&self, op: &Op, tensors: &[&B::Tensor], params: &[&Named<B::Param>], _: Shape) -> Result<B::Tensor> {
        let inner: Vec<&B::Param> = params.iter().map(|p| &p.inner).collect();
        let (result, seconds) = self.timed(|b| b.run(op, tensors, &inner))?;
        let of_tensors: Vec<Shape> = tensors.iter().map(|x| self.shape(x)).collect();
        let of_params: Vec<Shape> = params.iter().map(|p| self.param_shape(p)).collect();
        let (kind, flops) = (kind(op, &of_tensors, &of_params), op.flops(&of_tensors, &of_params));
        self.note(kind, params.first().copied(), seconds, flops);
        Ok(result)
    }
}
