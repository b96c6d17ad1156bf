use calotype_tensor::{Activation, Attention, Backend, Result as Computed, op_shapes};

use super::coder::NORM_EPS;
use crate::{
    Result, Scope,
    layers::{GroupNorm, Linear, run},
};

/// The one-headed self-attention over pixels in the middle of the autoencoder.
#[derive(Clone, Debug)]
pub(super) struct PixelAttention<P> {
    group_norm: GroupNorm<P>,
    to_q: Linear<P>,
    to_k: Linear<P>,
    to_v: Linear<P>,
    to_out: Linear<P>,
}

impl<P> PixelAttention<P> {
    pub(super) fn new(mut scope: Scope<'_, P>, channels: usize, groups: usize) -> Result<Self> {
        Ok(Self {
            group_norm: GroupNorm::new(scope.sub("group_norm"), channels, groups, NORM_EPS)?,
            to_q: Linear::new(scope.sub("to_q"), channels, channels)?,
            to_k: Linear::new(scope.sub("to_k"), channels, channels)?,
            to_v: Linear::new(scope.sub("to_v"), channels, channels)?,
            to_out: Linear::new(scope.sub("to_out.0"), channels, channels)?,
        })
    }

    /// `x (B, H, W, C)`; the result is of the same shape.
    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let block = self.clone();
        run(b, checkpointing, std::slice::from_ref(x), move |b, inputs| block.compute(b, &inputs[0]))
    }

    fn compute<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let shape = b.shape(x);
        let [batch, height, width, channels] = op_shapes::picture("attention", "x", shape)?;
        let h = self.group_norm.forward(b, x, Activation::None)?;
        let h = b.reshape(&h, [batch, height * width, channels].into())?;
        let (q, k, v) = (self.to_q.forward(b, &h)?, self.to_k.forward(b, &h)?, self.to_v.forward(b, &h)?);
        let h = b.attention(&q, &k, &v, Attention { heads: 1, causal: false })?;
        self.to_out.forward_with(b, &b.reshape(&h, shape)?, Some(x), Activation::None)
    }
}
