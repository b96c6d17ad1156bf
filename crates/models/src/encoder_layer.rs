//! A layer of CLIP's transformers, and of ViT: norms before its parts.

use calotype_tensor::{Activation, Attention, Backend, Result as Computed};

use crate::{
    HiddenAct, Result, Scope,
    curve::Curve,
    layers::{LayerNorm, Linear},
    padding_mask::PaddingMask,
};

/// The sizes of a transformer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncoderSizes {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) layer_norm_eps: f32,
    pub(crate) hidden_act: HiddenAct,
    /// Whether a position sees only those before it.
    pub(crate) causal: bool,
}

/// Self-attention and MLP.
#[derive(Clone, Debug)]
pub(crate) struct EncoderLayer<P> {
    layer_norm1: LayerNorm<P>,
    q_proj: Linear<P>,
    k_proj: Linear<P>,
    v_proj: Linear<P>,
    out_proj: Linear<P>,
    layer_norm2: LayerNorm<P>,
    fc1: Linear<P>,
    fc2: Linear<P>,
    attention: Attention,
    activation: Activation,
    /// After it, computed outside the backend.
    curve: Option<Curve>,
}

impl<P> EncoderLayer<P> {
    pub(crate) fn new(mut scope: Scope<'_, P>, sizes: &EncoderSizes) -> Result<Self> {
        let &EncoderSizes { hidden_size: width, intermediate_size: inner, layer_norm_eps: eps, .. } = sizes;
        // Radford et al. 2019, section 2.3: what adds to the residual stream starts smaller the more layers there are.
        let out_deviation = (width as f32).sqrt().recip();
        let in_deviation = out_deviation * ((2 * sizes.num_hidden_layers) as f32).sqrt().recip();
        let fc_deviation = ((2 * width) as f32).sqrt().recip();
        Ok(Self {
            layer_norm1: LayerNorm::new(scope.sub("layer_norm1"), width, eps)?,
            q_proj: Linear::normal(scope.sub("self_attn.q_proj"), width, width, in_deviation)?,
            k_proj: Linear::normal(scope.sub("self_attn.k_proj"), width, width, in_deviation)?,
            v_proj: Linear::normal(scope.sub("self_attn.v_proj"), width, width, in_deviation)?,
            out_proj: Linear::normal(scope.sub("self_attn.out_proj"), width, width, out_deviation)?,
            layer_norm2: LayerNorm::new(scope.sub("layer_norm2"), width, eps)?,
            fc1: Linear::normal(scope.sub("mlp.fc1"), width, inner, fc_deviation)?,
            fc2: Linear::normal(scope.sub("mlp.fc2"), inner, width, in_deviation)?,
            attention: Attention { heads: sizes.num_attention_heads, causal: sizes.causal },
            activation: sizes.hidden_act.native().unwrap_or_default(),
            curve: sizes.hidden_act.native().is_none().then_some(Curve::GeluTanh),
        })
    }

    /// `x (B, L, C)`.
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        mask: Option<&PaddingMask>,
    ) -> Computed<B::Tensor> {
        let h = self.layer_norm1.forward(b, x)?;
        let (q, k, v) = (self.q_proj.forward(b, &h)?, self.k_proj.forward(b, &h)?, self.v_proj.forward(b, &h)?);
        let mut h = b.attention(&q, &k, &v, self.attention)?;
        if let Some(mask) = mask {
            h = mask.apply(b, h, [&q, &k, &v], self.attention.heads)?;
        }
        let x = self.out_proj.forward_with(b, &h, Some(x), Activation::None)?;
        let mut h = self.fc1.forward_with(b, &self.layer_norm2.forward(b, &x)?, None, self.activation)?;
        if let Some(curve) = self.curve {
            h = curve.forward(b, &h)?;
        }
        self.fc2.forward_with(b, &h, Some(&x), Activation::None)
    }
}
