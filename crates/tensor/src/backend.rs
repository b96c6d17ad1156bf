use crate::{DType, Op, ParamData, Result, Shape, Threads};

/// The op set of Stable Diffusion.
///
/// Model code is generic over this trait and sees neither memory nor packing. Shapes are channels-last. `rows` below
/// means "every dimension but the last". An operation never changes its arguments. Shapes are checked by [`Op::shape`], the same way on
/// every backend, so a bad one is an [`Error`](crate::Error) and never a panic.
pub trait Backend: Sized + 'static {
    /// An activation: a dense array with a shape. Cloning is cheap (shared storage).
    type Tensor: Clone + 'static;
    /// A parameter in the form that this backend computes with, packed once. Cloning is cheap.
    type Param: Clone + 'static;

    /// The element type that activations are computed in.
    fn dtype(&self) -> DType;

    /// The threads that compute, or that prepare data on the processor. What is computed beside a backend uses them too, so that a
    /// program has no others.
    fn threads(&self) -> &Threads;

    // ---- data in and out

    /// A tensor from row-major data. Errors when the length is not the shape's.
    #[expect(clippy::wrong_self_convention, reason = "the backend makes it, as torch.from_numpy does")]
    fn from_f32(&self, shape: Shape, data: Vec<f32>) -> Result<Self::Tensor>;
    /// The data of a tensor, row-major. It waits for the operations that the tensor is the result of, and so carries their errors
    /// where a device reports them late.
    fn to_f32(&self, x: &Self::Tensor) -> Result<Vec<f32>>;
    /// Returns when every operation that was asked for has run: at once, unless a device works on its own.
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
    /// Seconds that a device has computed since this was last asked, once everything that was asked for has run; none where that is
    /// not known apart from the clock.
    fn device_seconds(&self) -> Result<Option<f64>> {
        Ok(None)
    }
    /// The shape of a tensor.
    fn shape(&self, x: &Self::Tensor) -> Shape;
    /// A parameter from data in the layout of files, where its shape is `shape`. `name` is for messages only; a [`ParamKind`] alone
    /// is a [`ParamRole`] that may be quantised.
    fn param(&self, name: &str, role: impl Into<ParamRole>, shape: Shape, data: &dyn ParamData) -> Result<Self::Param>;
    /// The shape of a parameter, in the layout of its [`ParamKind`].
    fn param_shape(&self, p: &Self::Param) -> Shape;

    // ---- the operations

    /// Runs an operation on the arguments that [`Op`] lists for it. The methods below are this one by name.
    ///
    /// # Errors
    /// The arguments don't fit, as [`Op::shape`] says, or the operation can't be computed.
    fn run(&self, op: &Op, tensors: &[&Self::Tensor], params: &[&Self::Param]) -> Result<Self::Tensor> {
        let of_tensors: Vec<Shape> = tensors.iter().map(|x| self.shape(x)).collect();
        let of_params: Vec<Shape> = params.iter().map(|p| self.param_shape(p)).collect();
        self.compute(op, tensors, params, op.shape(&of_tensors, &of_params)?)
    }

    /// Computes an operation, whose arguments [`Self::run`] has found to fit, and whose result has this `shape`.
    ///
    /// # Errors
    /// The operation can't be computed.
    fn compute(
        &self,
        op: &Op,
        tensors: &[&Self::Tensor],
        params: &[&Self::Param],
        shape: Shape,
    ) -> Result<Self::Tensor>;

    /// 2-D convolution (cross-correlation): `activation(x * weight + bias) + residual`.
    ///
    /// `x (B, H, W, I)`, `weight (KH, KW, I, O)`, `bias (O)`, `residual` and result `(B, H', W', O)` with
    /// `H' = (H + top + bottom - KH) / stride + 1`, likewise `W'`.
    fn conv2d(
        &self,
        x: &Self::Tensor,
        weight: &Self::Param,
        bias: Option<&Self::Param>,
        residual: Option<&Self::Tensor>,
        options: Conv2d,
    ) -> Result<Self::Tensor> {
        self.run(&Op::Conv2d(options), &with(x, residual), &with(weight, bias))
    }

    /// Whether some operations are one here. Who asks for them need not: it is for what wraps a backend.
    fn fuses(&self, _: Fusion) -> bool {
        false
    }

    /// [`conv2d`](Self::conv2d) and `shift (B, O)` at every pixel of the result: what a timestep adds. The activation of `options` must
    /// be `None`. It takes `x`, whose memory is free once it is read.
    fn shifted_conv2d(
        &self,
        x: Self::Tensor,
        weight: &Self::Param,
        bias: Option<&Self::Param>,
        shift: &Self::Tensor,
        options: Conv2d,
    ) -> Result<Self::Tensor> {
        if self.fuses(Fusion::ShiftedConv2d) {
            return self.run(&Op::ShiftedConv2d(options), &[&x, shift], &with(weight, bias));
        }
        let y = self.conv2d(&x, weight, bias, None, options)?;
        drop(x);
        self.add_channels(&y, shift)
    }

    /// `activation(x · weight + bias) + residual`: `x (rows, I)`, `weight (I, O)`, `bias (O)`, `residual` and result `(rows, O)`.
    fn linear(
        &self,
        x: &Self::Tensor,
        weight: &Self::Param,
        bias: Option<&Self::Param>,
        residual: Option<&Self::Tensor>,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.run(&Op::Linear(activation), &with(x, residual), &with(weight, bias))
    }

    /// Three linear maps of one `x (rows, I)` without bias: queries, keys and values, each `(rows, O)`. They are three operations
    /// where a backend knows no better.
    fn linear_three(&self, x: &Self::Tensor, weights: [&Self::Param; 3]) -> Result<[Self::Tensor; 3]> {
        let [q, k, v] = weights;
        let one = |weight| self.linear(x, weight, None, None, Activation::None);
        Ok([one(q)?, one(k)?, one(v)?])
    }

    /// Nearest upsampling ([`upsample_nearest_2x`](Self::upsample_nearest_2x)), then a 3×3 convolution that keeps the size:
    /// `x (B, H, W, I)`, `weight (3, 3, I, O)`, `bias (O)`, result `(B, 2H, 2W, O)`.
    ///
    /// Each pixel of the result sees only four pixels of `x`: it is one of four 2×2 convolutions, with 4/9 of the products.
    /// A weight of kind [`ParamKind::UpsampledConv`] is kept for that alone.
    fn upsample_conv2d(
        &self,
        x: &Self::Tensor,
        weight: &Self::Param,
        bias: Option<&Self::Param>,
    ) -> Result<Self::Tensor> {
        self.run(&Op::UpsampleConv2d, &[x], &with(weight, bias))
    }

    /// [`geglu`](Self::geglu) of a linear map: `x (rows, I)`, `weight (I, 2O)`, `bias (2O)`, result `(rows, O)`.
    fn linear_geglu(&self, x: &Self::Tensor, weight: &Self::Param, bias: Option<&Self::Param>) -> Result<Self::Tensor> {
        self.run(&Op::LinearGeglu, &[x], &with(weight, bias))
    }

    /// 2-D convolution of each channel by itself: `x * weight + bias`.
    ///
    /// `x (B, H, W, C)`, `weight (KH·KW, C)` of kind [`ParamKind::Table`] with `kernel` `[KH, KW]`, `bias (C)`, result
    /// `(B, H', W', C)` with the extents of [`conv2d`](Self::conv2d). The activation of `options` must be `None`.
    fn depthwise_conv2d(
        &self,
        x: &Self::Tensor,
        weight: &Self::Param,
        bias: Option<&Self::Param>,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Self::Tensor> {
        self.run(&Op::DepthwiseConv2d { kernel, options }, &[x], &with(weight, bias))
    }

    /// Scaled-dot-product attention over heads that lie side by side in the channels (Vaswani et al. 2017, eq. 1).
    ///
    /// `q (B, Lq, heads·D)`, `k` and `v (B, Lk, heads·D)`, result `(B, Lq, heads·D)`; the scale is `1/√D`.
    /// With `causal`, row `i` sees keys `0..=i` only. No backend may hold a whole `(Lq, Lk)` score matrix, save the reference.
    fn attention(
        &self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        options: Attention,
    ) -> Result<Self::Tensor> {
        self.run(&Op::Attention(options), &[q, k, v], &[])
    }

    /// Group normalisation (Wu & He 2018) and then `activation`, which is `None` or `Silu`: `x (B, H, W, C)`, `gamma`, `beta (C)`.
    /// The variance is the biased one.
    fn group_norm(
        &self,
        x: &Self::Tensor,
        gamma: &Self::Param,
        beta: &Self::Param,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<Self::Tensor> {
        self.run(&Op::GroupNorm { groups, eps, activation }, &[x], &[gamma, beta])
    }

    /// Layer normalisation (Ba et al. 2016) of the last dimension: `x (rows, C)`, `gamma`, `beta (C)`.
    fn layer_norm(&self, x: &Self::Tensor, gamma: &Self::Param, beta: &Self::Param, eps: f32) -> Result<Self::Tensor> {
        self.run(&Op::LayerNorm { eps }, &[x], &[gamma, beta])
    }

    /// Each row of `x (rows, C)` divided by its length (the root of the sum of squares) plus `eps`.
    fn unit_rows(&self, x: &Self::Tensor, eps: f32) -> Result<Self::Tensor> {
        self.run(&Op::UnitRows { eps }, &[x], &[])
    }

    /// `activation(x)`.
    fn activation(&self, x: &Self::Tensor, activation: Activation) -> Result<Self::Tensor> {
        self.run(&Op::Activation(activation), &[x], &[])
    }

    /// `x (rows, C)` above 0, else `slope (C) · x` (He et al. 2015); the derivative at 0 is the slope.
    fn prelu(&self, x: &Self::Tensor, slope: &Self::Param) -> Result<Self::Tensor> {
        self.run(&Op::PRelu, &[x], &[slope])
    }

    /// GEGLU (Shazeer 2020): `x (rows, 2C)` is `(a, gate)`, the result `a · gelu(gate)` is `(rows, C)`.
    fn geglu(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Geglu, &[x], &[])
    }

    /// `a + b`, of one shape.
    fn add(&self, a: &Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Add, &[a, b], &[])
    }

    /// `a - b`, of one shape.
    fn sub(&self, a: &Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Sub, &[a, b], &[])
    }

    /// `a · b`, of one shape.
    fn mul(&self, a: &Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Mul, &[a, b], &[])
    }

    /// `x · factor`.
    fn scale(&self, x: &Self::Tensor, factor: f32) -> Result<Self::Tensor> {
        self.run(&Op::Scale(factor), &[x], &[])
    }

    /// `x (B, H, W, C)` plus `v (B, C)` at every pixel.
    fn add_channels(&self, x: &Self::Tensor, v: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::AddChannels, &[x, v], &[])
    }

    /// `|x|`.
    fn abs(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Abs, &[x], &[])
    }

    /// `e^x`.
    fn exp(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Exp, &[x], &[])
    }

    /// `min(max(x, low), high)`.
    fn clamp(&self, x: &Self::Tensor, low: f32, high: f32) -> Result<Self::Tensor> {
        self.run(&Op::Clamp { low, high }, &[x], &[])
    }

    /// The mean of all elements, of shape `(1)`.
    fn mean(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Mean, &[x], &[])
    }

    /// The same elements in another shape.
    fn reshape(&self, x: &Self::Tensor, shape: Shape) -> Result<Self::Tensor> {
        self.run(&Op::Reshape(shape), &[x], &[])
    }

    /// Elements `start..start + length` of the last dimension.
    fn narrow(&self, x: &Self::Tensor, start: usize, length: usize) -> Result<Self::Tensor> {
        self.run(&Op::Narrow { start, length }, &[x], &[])
    }

    /// `a (rows, A)` and `b (rows, B)` side by side: `(rows, A + B)`.
    fn concat(&self, a: &Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::Concat, &[a, b], &[])
    }

    /// Each pixel twice in both directions: `(B, H, W, C)` to `(B, 2H, 2W, C)`.
    fn upsample_nearest_2x(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::UpsampleNearest2x, &[x], &[])
    }

    /// The greatest of each 2×2 block: `(B, H, W, C)` to `(B, H/2, W/2, C)`, rounded down; a last odd line or column is not seen.
    fn max_pool_2x(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        self.run(&Op::MaxPool2x, &[x], &[])
    }

    /// Channels as pixels (Shi et al. 2016): of `x (B, H, W, C·f²)` with `f = factor`, channel `c·f² + i·f + j` becomes channel `c` of the
    /// pixel in line `i` and column `j` of `f` by `f`; the result is `(B, f·H, f·W, C)`.
    fn pixel_shuffle(&self, x: &Self::Tensor, factor: usize) -> Result<Self::Tensor> {
        self.run(&Op::PixelShuffle(factor), &[x], &[])
    }

    /// The inverse of [`pixel_shuffle`](Self::pixel_shuffle): `(B, f·H, f·W, C)` to `(B, H, W, C·f²)`.
    fn pixel_unshuffle(&self, x: &Self::Tensor, factor: usize) -> Result<Self::Tensor> {
        self.run(&Op::PixelUnshuffle(factor), &[x], &[])
    }

    /// Rows of `table (R, C)` by index: `ids` has `B·L` entries, the result is `(B, L, C)`. Errors when an id is not below `R`.
    fn embedding(&self, table: &Self::Param, ids: &[u32], batch: usize) -> Result<Self::Tensor> {
        self.run(&Op::Embedding { ids: ids.to_vec(), batch }, &[], &[table])
    }

    // ---- memory

    /// Runs `block`. A recording backend keeps only the inputs and runs it again for the gradient (Chen et al. 2016).
    fn checkpoint(
        &self,
        inputs: &[Self::Tensor],
        block: impl Fn(&Self, &[Self::Tensor]) -> Result<Self::Tensor> + 'static,
    ) -> Result<Self::Tensor> {
        block(self, inputs)
    }
}

/// The arguments of an operation that may have a second one.
fn with<'a, T>(first: &'a T, second: Option<&'a T>) -> Vec<&'a T> {
    std::iter::once(first).chain(second).collect()
}

/// [`Backend::upsample_conv2d`] as two operations, for backends that know no better.
pub(crate) fn upsample_then_conv2d<B: Backend>(
    b: &B,
    x: &B::Tensor,
    weight: &B::Param,
    bias: Option<&B::Param>,
) -> Result<B::Tensor> {
    b.conv2d(&b.upsample_nearest_2x(x)?, weight, bias, None, Conv2d::padded(1))
}

/// [`Backend::shifted_conv2d`] as two operations, for backends that know no better.
pub(crate) fn conv2d_then_shift<B: Backend>(
    b: &B,
    [x, shift]: [&B::Tensor; 2],
    weight: &B::Param,
    bias: Option<&B::Param>,
    options: Conv2d,
) -> Result<B::Tensor> {
    b.add_channels(&b.conv2d(x, weight, bias, None, options)?, shift)
}

/// [`Backend::linear_geglu`] as two operations, for backends that know no better.
pub(crate) fn linear_then_geglu<B: Backend>(
    b: &B,
    x: &B::Tensor,
    weight: &B::Param,
    bias: Option<&B::Param>,
) -> Result<B::Tensor> {
    b.geglu(&b.linear(x, weight, bias, None, Activation::None)?)
}

/// Operations that a backend may compute as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fusion {
    /// [`Backend::shifted_conv2d`].
    ShiftedConv2d,
    /// [`Backend::linear_three`].
    LinearThree,
}

/// What a parameter is, and so its layout: here, and in files, where the outputs come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// A convolution's weight, `(KH, KW, I, O)`; in files `(O, I, KH, KW)`.
    Conv,
    /// The weight of a convolution after nearest upsampling, `(3, 3, I, O)`, in files as [`Self::Conv`]: for
    /// [`Backend::upsample_conv2d`] only.
    UpsampledConv,
    /// A linear map's weight, `(I, O)`; in files `(O, I)`.
    Linear,
    /// A bias, or a norm's gain or offset, `(C)`.
    Vector,
    /// An embedding table, `(R, C)`.
    Table,
}

/// What a parameter is, and how exactly it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParamRole {
    /// What it is.
    pub kind: ParamKind,
    /// Whether a backend of [`Precision::Int8`](crate::Precision::Int8) may keep a weight in 8 bits. A layer whose result goes into
    /// all others, or out of the network, says no.
    pub quantise: bool,
}

impl From<ParamKind> for ParamRole {
    fn from(kind: ParamKind) -> Self {
        Self { kind, quantise: true }
    }
}

/// Activation functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `x · sigmoid(x)` (Elfwing et al. 2017), also called swish.
    Silu,
    /// `x · Φ(x)` with the exact normal distribution function (Hendrycks & Gimpel 2016).
    Gelu,
    /// `x · sigmoid(1.702 x)`, CLIP's.
    QuickGelu,
    /// `max(x, 0)`; the derivative at 0 is 0.
    Relu,
    /// `x` above 0, else `0.2 x` (Maas et al. 2013), with the slope of PatchGAN's discriminator; the derivative at 0 is 0.2.
    LeakyRelu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

/// Rows and columns of zeros around a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub const fn all(n: usize) -> Self {
        Self { top: n, left: n, bottom: n, right: n }
    }
}

/// How a convolution walks its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Pixels from one output to the next, in both directions.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Applied to the result, before the residual is added.
    pub activation: Activation,
}

impl Conv2d {
    /// Stride 1 with `padding` on all sides and no activation.
    pub const fn padded(padding: usize) -> Self {
        Self { stride: 1, padding: Padding::all(padding), activation: Activation::None }
    }
}

/// How attention reads its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// How many heads share the channels.
    pub heads: usize,
    /// Whether row `i` sees keys `0..=i` only.
    pub causal: bool,
}
