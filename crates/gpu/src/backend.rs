use std::sync::Arc;

use calotype_tensor::{
    Activation, Backend, CancelToken, DType, Error, Fusion, Op, ParamData, ParamRole, Result, Shape, Threads, op_shapes,
};

use crate::{
    Param, Tensor,
    arena::{Place, Pool, Span},
    context::Context,
    elements::{decode, encode},
    kernel::{Kernel, Program},
    ops::{Run, elementwise::Function, product::Epilogue, words},
    recorder::Dispatch,
};

/// A backend on a graphics card, with memory of its own there. Cloning shares it.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) context: Arc<Context>,
    /// How elements are kept.
    pub(crate) dtype: DType,
    /// Whether what is too large for it ends at its greatest number, and is not no number.
    pub(crate) clamps: bool,
    pub(crate) cancel: CancelToken,
    pub(crate) tensors: Arc<Pool>,
    pub(crate) params: Arc<Pool>,
}

/// What is written where nothing must be read: not a number in f16 and in f32.
const POISON: u32 = 0x7fff_7fff;

/// Threads of a workgroup of `each.wgsl`.
const EACH: usize = 256;

impl Gpu {
    /// A place of so many bytes among the tensors.
    pub(crate) fn place(&self, bytes: usize) -> Result<Place> {
        let place = self.tensors.place(bytes)?;
        if self.context.faults().poison {
            let span = place.whole();
            let count = span.length as usize / 4;
            let kernel = Kernel { program: Program::Fill, f16: false, wide: false, clamps: true };
            self.context.dispatch(&Dispatch {
                kernel,
                spans: &[Some(span)],
                words: &[count as u32, POISON],
                grid: self.blocks(count.div_ceil(EACH)),
            })?;
        }
        Ok(place)
    }

    /// A tensor whose elements are yet to be written.
    pub(crate) fn tensor(&self, shape: Shape) -> Result<Tensor> {
        let bytes = shape.count().checked_mul(self.dtype.size());
        let bytes = bytes.ok_or(Error::OutOfMemory { needed: usize::MAX })?;
        Ok(Tensor { shape, dtype: self.dtype, place: Arc::new(self.place(bytes)?) })
    }

    /// So many workgroups in a line, that is broken where a device can't count so far.
    pub(crate) fn blocks(&self, count: usize) -> [usize; 3] {
        let most = self.context.limits.max_compute_workgroups_per_dimension.max(1) as usize;
        let width = count.clamp(1, most);
        [width, count.div_ceil(width), 1]
    }

    /// Runs a kernel in this backend's type.
    pub(crate) fn launch(&self, run: Run) -> Result<()> {
        let Run { program, wide, spans, words, grid } = run;
        let f16 = self.dtype == DType::F16;
        let kernel = Kernel { program, f16, wide, clamps: self.clamps || !f16 || !program.computes() };
        self.context.dispatch(&Dispatch { kernel, spans, words, grid })
    }

    /// Runs a kernel that makes `lanes` of so many elements in each thread, and is told how many threads there are before `rest`.
    pub(crate) fn launch_each(
        &self,
        op: &'static str,
        program: Program,
        [elements, lanes]: [usize; 2],
        spans: &[Option<Span>],
        rest: &[u32],
    ) -> Result<()> {
        let count = elements.div_ceil(lanes);
        let words = [&words(op, [count])?[..], rest].concat();
        self.launch(Run { program, wide: lanes == 4, spans, words: &words, grid: self.blocks(count.div_ceil(EACH)) })
    }

    /// Whether a tensor is this device's, in this backend's type.
    fn check(&self, op: &Op, x: &Tensor) -> Result<()> {
        if x.dtype == self.dtype && x.place.is_on(&self.context) {
            return Ok(());
        }
        let message = format!("a tensor is another backend's ({}), expected {} of this one", x.dtype, self.dtype);
        Err(Error::Invalid { op: op.name(), message })
    }

    /// How many buffers hold tensors, and their bytes.
    #[must_use]
    pub fn arena(&self) -> (usize, usize) {
        self.tensors.held()
    }
}

impl Backend for Gpu {
    type Tensor = Tensor;
    type Param = Param;

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn threads(&self) -> &Threads {
        &self.context.threads
    }

    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Tensor> {
        op_shapes::data("from_f32", shape, data.len())?;
        let x = self.tensor(shape)?;
        let mut bytes = vec![0; data.len() * self.dtype.size()];
        encode(self.dtype, &data, &mut bytes, self.threads());
        self.context.upload(&bytes, x.span())?;
        Ok(x)
    }

    fn to_f32(&self, x: &Tensor) -> Result<Vec<f32>> {
        let bytes = self.context.download(x.span(), &self.cancel)?;
        let mut data = vec![0.0; x.shape.count()];
        decode(x.dtype, &bytes, &mut data, self.threads());
        Ok(data)
    }

    fn synchronize(&self) -> Result<()> {
        self.context.finish(&self.cancel)
    }

    fn device_seconds(&self) -> Result<Option<f64>> {
        self.context.device_seconds(&self.cancel)
    }

    fn shape(&self, x: &Tensor) -> Shape {
        x.shape
    }

    fn param(&self, _name: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<Param> {
        Param::load(self, role.into(), shape, data)
    }

    fn param_shape(&self, p: &Param) -> Shape {
        p.shape()
    }

    fn fuses(&self, fusion: Fusion) -> bool {
        matches!(fusion, Fusion::ShiftedConv2d | Fusion::LinearThree)
    }

    fn linear_three(&self, x: &Tensor, weights: [&Param; 3]) -> Result<[Tensor; 3]> {
        self.cancel.check()?;
        self.check(&Op::Linear(Activation::None), x)?;
        self.multiply_three(x, weights)
    }

    fn compute(&self, op: &Op, tensors: &[&Tensor], params: &[&Param], shape: Shape) -> Result<Tensor> {
        self.cancel.check()?;
        tensors.iter().try_for_each(|x| self.check(op, x))?;
        let unary = |function| self.unary(tensors[0], function);
        match (op, tensors, params) {
            (&Op::Conv2d(options), [x, residual @ ..], [weight, bias @ ..]) => {
                let epilogue = Epilogue::new(bias, residual, options.activation);
                self.convolve(x, weight, epilogue, options, shape)
            }
            (&Op::ShiftedConv2d(options), [x, shift], [weight, bias @ ..]) => {
                self.convolve(x, weight, Epilogue::shifted(bias, shift), options, shape)
            }
            (&Op::Linear(activation), [x, residual @ ..], [weight, bias @ ..]) => {
                self.multiply(x, weight, Epilogue::new(bias, residual, activation), shape)
            }
            (Op::UpsampleConv2d, [x], [weight, bias @ ..]) => {
                self.convolve_upsampled(x, weight, Epilogue::new(bias, &[], Activation::None), shape)
            }
            (Op::LinearGeglu, [x], [weight, bias @ ..]) => {
                self.multiply_gated(x, weight, Epilogue::new(bias, &[], Activation::None), shape)
            }
            (&Op::DepthwiseConv2d { kernel, options }, [x], [weight, bias @ ..]) => {
                self.convolve_depthwise(x, weight, bias.first().copied(), kernel, options, shape)
            }
            (&Op::Attention(options), [q, k, v], _) => self.attend(q, k, v, options),
            (&Op::GroupNorm { groups, eps, activation }, [x], [gamma, beta]) => {
                self.normalise_groups(x, gamma, beta, groups, eps, activation)
            }
            (&Op::LayerNorm { eps }, [x], [gamma, beta]) => self.normalise_rows(x, Some([gamma, beta]), eps),
            (&Op::UnitRows { eps }, [x], _) => self.normalise_rows(x, None, eps),
            (&Op::Activation(activation), [_], _) => unary(Function::Activation(activation)),
            (&Op::Scale(factor), [_], _) => unary(Function::Scale(factor)),
            (Op::Abs, [_], _) => unary(Function::Abs),
            (Op::Exp, [_], _) => unary(Function::Exp),
            (&Op::Clamp { low, high }, [_], _) => unary(Function::Clamp(low, high)),
            (Op::PRelu, [x], [slope]) => self.leak(x, slope),
            (Op::Geglu, [x], _) => self.gate(x, shape),
            (Op::Add, [a, b], _) => self.binary(a, b, 0),
            (Op::Sub, [a, b], _) => self.binary(a, b, 1),
            (Op::Mul, [a, b], _) => self.binary(a, b, 2),
            (Op::AddChannels, [x, v], _) => self.add_to_channels(x, v),
            (Op::Mean, [x], _) => self.average(x, shape),
            (Op::Reshape(_), [x], _) => Ok(Tensor { shape, ..(*x).clone() }),
            (&Op::Narrow { start, .. }, [x], _) => self.take_channels(x, start, shape),
            (Op::Concat, [a, b], _) => self.join(a, b, shape),
            (Op::UpsampleNearest2x, [x], _) => self.double_pixels(x, shape),
            (Op::MaxPool2x, [x], _) => self.pool(x, shape),
            (&Op::PixelShuffle(factor), [x], _) => self.shuffle(op.name(), x, factor, false, shape),
            (&Op::PixelUnshuffle(factor), [x], _) => self.shuffle(op.name(), x, factor, true, shape),
            (Op::Embedding { ids, .. }, _, [table]) => self.look_up(table, ids, shape),
            _ => op.refuse(tensors.len(), params.len()),
        }
    }
}
