use crate::{Activation, Attention, Backend, Conv2d, ParamKind, Result, Shape};

/// The derivatives of the op set, and what an optimiser does to a parameter.
///
/// For an operation `y = f(x)` and a loss `L`, `dy` is `∂L/∂y` (the shape of `y`) and the result is `∂L/∂x` (the shape of `x`).
/// Gradients of parameters come in the layout of their [`ParamKind`].
pub trait Differentiable: Backend {
    /// `∂L/∂x` of [`Backend::conv2d`] without activation; `input` is the shape of `x`.
    fn conv2d_backward_input(
        &self,
        dy: &Self::Tensor,
        weight: &Self::Param,
        input: Shape,
        options: Conv2d,
    ) -> Result<Self::Tensor>;
    /// `∂L/∂weight` of [`Backend::conv2d`] without activation, `(KH, KW, I, O)`; `kernel` is `[KH, KW]`.
    fn conv2d_backward_weight(
        &self,
        x: &Self::Tensor,
        dy: &Self::Tensor,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::linear`] without activation: `dy (rows, O)` to `(rows, I)`.
    fn linear_backward_input(&self, dy: &Self::Tensor, weight: &Self::Param) -> Result<Self::Tensor>;
    /// `∂L/∂weight` of [`Backend::linear`] without activation, `(I, O)`.
    fn linear_backward_weight(&self, x: &Self::Tensor, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::depthwise_conv2d`]; `input` is the shape of `x`.
    fn depthwise_conv2d_backward_input(
        &self,
        dy: &Self::Tensor,
        weight: &Self::Param,
        input: Shape,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Self::Tensor>;
    /// `∂L/∂weight` of [`Backend::depthwise_conv2d`], `(KH·KW, C)`.
    fn depthwise_conv2d_backward_weight(
        &self,
        x: &Self::Tensor,
        dy: &Self::Tensor,
        kernel: [usize; 2],
        options: Conv2d,
    ) -> Result<Self::Tensor>;
    /// Sums `(rows, C)` to `(C)`: a bias' gradient.
    fn sum_rows(&self, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// Sums `(B, H, W, C)` to `(B, C)`: the gradient of `v` in [`Backend::add_channels`].
    fn sum_pixels(&self, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `[∂L/∂q, ∂L/∂k, ∂L/∂v]` of [`Backend::attention`]; the scores are computed again, block by block (Dao et al. 2022).
    fn attention_backward(
        &self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        dy: &Self::Tensor,
        options: Attention,
    ) -> Result<[Self::Tensor; 3]>;
    /// `[∂L/∂x, ∂L/∂gamma, ∂L/∂beta]` of [`Backend::group_norm`], activation included.
    fn group_norm_backward(
        &self,
        x: &Self::Tensor,
        gamma: &Self::Param,
        beta: &Self::Param,
        dy: &Self::Tensor,
        groups: usize,
        eps: f32,
        activation: Activation,
    ) -> Result<[Self::Tensor; 3]>;
    /// `[∂L/∂x, ∂L/∂gamma, ∂L/∂beta]` of [`Backend::layer_norm`].
    fn layer_norm_backward(
        &self,
        x: &Self::Tensor,
        gamma: &Self::Param,
        dy: &Self::Tensor,
        eps: f32,
    ) -> Result<[Self::Tensor; 3]>;
    /// `∂L/∂x` of [`Backend::unit_rows`]. The length of a row of zeros counts as constant.
    fn unit_rows_backward(&self, x: &Self::Tensor, dy: &Self::Tensor, eps: f32) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::activation`].
    fn activation_backward(&self, x: &Self::Tensor, dy: &Self::Tensor, activation: Activation) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::prelu`].
    fn prelu_backward(&self, x: &Self::Tensor, slope: &Self::Param, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::geglu`].
    fn geglu_backward(&self, x: &Self::Tensor, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::abs`]: `dy · sign(x)`, 0 at 0.
    fn abs_backward(&self, x: &Self::Tensor, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::clamp`]: `dy` where `low <= x <= high`, else 0.
    fn clamp_backward(&self, x: &Self::Tensor, dy: &Self::Tensor, low: f32, high: f32) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::mean`]: `dy (1)` divided by the count, at every element of `input`.
    fn mean_backward(&self, dy: &Self::Tensor, input: Shape) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::narrow`]: `dy` at `start` in zeros of the shape `input`.
    fn narrow_backward(&self, dy: &Self::Tensor, start: usize, input: Shape) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::upsample_nearest_2x`]: the sum of each 2×2 block.
    fn upsample_nearest_2x_backward(&self, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `∂L/∂x` of [`Backend::max_pool_2x`]: `dy` at the greatest element of each block, the first of equal ones in reading order.
    fn max_pool_2x_backward(&self, x: &Self::Tensor, dy: &Self::Tensor) -> Result<Self::Tensor>;
    /// `∂L/∂table` of [`Backend::embedding`], `(rows, C)`.
    fn embedding_backward(&self, dy: &Self::Tensor, ids: &[u32], rows: usize) -> Result<Self::Tensor>;

    // ---- gradients as they gather, and the optimiser

    /// `into += x`, of one shape.
    fn accumulate(&self, into: &mut Self::Tensor, x: &Self::Tensor) -> Result<()>;
    /// The sum of the squares of all elements, summed in double precision.
    fn sum_squares(&self, x: &Self::Tensor) -> Result<f64>;
    /// Packs a trained value, in the layout of `kind`, for computing.
    fn pack(&self, kind: ParamKind, value: &Self::Tensor) -> Result<Self::Param>;
    /// One step of AdamW (Loshchilov & Hutter 2019, algorithm 2, as `torch.optim.AdamW` orders it) on `value`, with its moments `m` and `v`.
    fn adamw(
        &self,
        value: &mut Self::Tensor,
        m: &mut Self::Tensor,
        v: &mut Self::Tensor,
        gradient: &Self::Tensor,
        step: &AdamW,
    ) -> Result<()>;
    /// `average += (value - average) · weight`: an exponential moving average.
    fn lerp(&self, average: &mut Self::Tensor, value: &Self::Tensor, weight: f32) -> Result<()>;
}

/// The numbers of one AdamW step, in double precision as PyTorch keeps them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: the value shrinks by `learning_rate · weight_decay`.
    pub weight_decay: f64,
    /// The gradient is multiplied by this first (clipping, averaging over accumulated batches).
    pub gradient_scale: f64,
    /// Which step this is, from 1, for the bias corrections.
    pub step: u64,
}
