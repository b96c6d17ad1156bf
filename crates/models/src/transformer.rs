use calotype_tensor::{Activation, Attention, Backend, Error, Result as Computed, op_shapes};

use crate::{
    Result, Scope,
    adapters::LoadedHypernetwork,
    layers::{Conv, GroupNorm, LayerNorm, Linear, run},
};

/// Added to the variance: in the group norm before a transformer, and in its layer norms.
const GROUP_NORM_EPS: f32 = 1e-6;
const LAYER_NORM_EPS: f32 = 1e-5;
/// The feed-forward part is this many times as wide as its input.
const FEED_FORWARD: usize = 4;

/// Sizes of a transformer in the UNet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransformerOptions {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) context_width: usize,
    pub(crate) groups: usize,
    pub(crate) use_linear_projection: bool,
}

/// A transformer over the pixels of a picture (diffusers `Transformer2DModel`).
#[derive(Clone, Debug)]
pub(crate) struct Transformer2D<P> {
    norm: GroupNorm<P>,
    proj_in: Projection<P>,
    transformer_blocks: Vec<TransformerBlock<P>>,
    proj_out: Projection<P>,
}

impl<P> Transformer2D<P> {
    pub(crate) fn new(mut scope: Scope<'_, P>, channels: usize, options: TransformerOptions) -> Result<Self> {
        let linear = options.use_linear_projection;
        Ok(Self {
            norm: GroupNorm::new(scope.sub("norm"), channels, options.groups, GROUP_NORM_EPS)?,
            proj_in: Projection::new(scope.sub("proj_in"), channels, linear)?,
            transformer_blocks: (0..options.layers)
                .map(|i| TransformerBlock::new(scope.sub(format_args!("transformer_blocks.{i}")), channels, options))
                .collect::<Result<_>>()?,
            proj_out: Projection::new(scope.sub("proj_out"), channels, linear)?,
        })
    }

    /// Every attention, to itself and to the context.
    pub(crate) fn set_hypernetworks(&mut self, hypernetworks: &[LoadedHypernetwork<P>])
    where
        P: Clone,
    {
        for block in &mut self.transformer_blocks {
            for attention in [&mut block.attn1, &mut block.attn2] {
                attention.hypernetworks = hypernetworks.to_vec();
            }
        }
    }

    /// Keys and values `(B, L, C)` of `context (B, L, context_width)`, of each layer in turn.
    pub(crate) fn keys_values<B: Backend<Param = P>>(&self, b: &B, context: &B::Tensor) -> Computed<Vec<B::Tensor>> {
        let of = |block: &TransformerBlock<P>| block.attn2.keys_values(b, context);
        Ok(self.transformer_blocks.iter().map(of).collect::<Computed<Vec<_>>>()?.concat())
    }

    /// `x (B, H, W, C)`, `keys_values` those of [`Self::keys_values`]; the result is of `x`'s shape.
    pub(crate) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        keys_values: &[B::Tensor],
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let (got, expected) = (keys_values.len(), 2 * self.transformer_blocks.len());
        if got != expected {
            let message = format!("{got} keys and values were given for {} layers", self.transformer_blocks.len());
            return Err(Error::Invalid { op: "transformer", message });
        }
        let block = self.clone();
        let inputs = [std::slice::from_ref(x), keys_values].concat();
        run(b, checkpointing, &inputs, move |b, inputs| block.compute(b, &inputs[0], &inputs[1..]))
    }

    fn compute<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, keys_values: &[B::Tensor]) -> Computed<B::Tensor> {
        let shape = b.shape(x);
        let [batch, height, width, channels] = op_shapes::picture("transformer", "x", shape)?;
        let h = self.proj_in.forward(b, &self.norm.forward(b, x, Activation::None)?, None)?;
        let mut h = b.reshape(&h, [batch, height * width, channels].into())?;
        for (block, keys_values) in self.transformer_blocks.iter().zip(keys_values.as_chunks::<2>().0) {
            h = block.forward(b, &h, keys_values)?;
        }
        self.proj_out.forward(b, &b.reshape(&h, shape)?, Some(x))
    }
}

/// The same map of every pixel, kept as a linear map or as a 1×1 convolution.
#[derive(Clone, Debug)]
enum Projection<P> {
    Linear(Linear<P>),
    Conv(Conv<P>),
}

impl<P> Projection<P> {
    fn new(scope: Scope<'_, P>, channels: usize, linear: bool) -> Result<Self> {
        Ok(if linear {
            Self::Linear(Linear::new(scope, channels, channels)?)
        } else {
            Self::Conv(Conv::new(scope, channels, channels, 1)?)
        })
    }

    fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        residual: Option<&B::Tensor>,
    ) -> Computed<B::Tensor> {
        match self {
            Self::Linear(linear) => linear.forward_with(b, x, residual, Activation::None),
            Self::Conv(conv) => conv.forward(b, x, residual),
        }
    }
}

/// One layer (diffusers `BasicTransformerBlock`): self-attention, attention to the context, feed-forward with GEGLU.
#[derive(Clone, Debug)]
struct TransformerBlock<P> {
    norm1: LayerNorm<P>,
    attn1: UNetAttention<P>,
    norm2: LayerNorm<P>,
    attn2: UNetAttention<P>,
    norm3: LayerNorm<P>,
    ff_in: Linear<P>,
    ff_out: Linear<P>,
}

impl<P> TransformerBlock<P> {
    fn new(mut scope: Scope<'_, P>, channels: usize, options: TransformerOptions) -> Result<Self> {
        let TransformerOptions { heads, context_width, .. } = options;
        let inner = FEED_FORWARD * channels;
        Ok(Self {
            norm1: LayerNorm::new(scope.sub("norm1"), channels, LAYER_NORM_EPS)?,
            attn1: UNetAttention::new(scope.sub("attn1"), channels, channels, heads)?,
            norm2: LayerNorm::new(scope.sub("norm2"), channels, LAYER_NORM_EPS)?,
            attn2: UNetAttention::new(scope.sub("attn2"), channels, context_width, heads)?,
            norm3: LayerNorm::new(scope.sub("norm3"), channels, LAYER_NORM_EPS)?,
            ff_in: Linear::new(scope.sub("ff.net.0.proj"), channels, 2 * inner)?,
            ff_out: Linear::new(scope.sub("ff.net.2"), inner, channels)?,
        })
    }

    /// `x (B, L, C)`; `keys_values` are the context's.
    fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        keys_values: &[B::Tensor; 2],
    ) -> Computed<B::Tensor> {
        let h = self.norm1.forward(b, x)?;
        let x = self.attn1.forward_self(b, &h, x)?;
        let x = self.attn2.forward(b, &self.norm2.forward(b, &x)?, keys_values, &x)?;
        let h = self.ff_in.forward_geglu(b, &self.norm3.forward(b, &x)?)?;
        self.ff_out.forward_with(b, &h, Some(&x), Activation::None)
    }
}

/// Attention whose queries, keys and values have no bias.
#[derive(Clone, Debug)]
struct UNetAttention<P> {
    to_q: Linear<P>,
    to_k: Linear<P>,
    to_v: Linear<P>,
    to_out: Linear<P>,
    heads: usize,
    /// What changes the context before keys and values are made of it, one after the other.
    hypernetworks: Vec<LoadedHypernetwork<P>>,
}

impl<P> UNetAttention<P> {
    fn new(mut scope: Scope<'_, P>, channels: usize, context_width: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::unbiased(scope.sub("to_q"), channels, channels)?,
            to_k: Linear::unbiased(scope.sub("to_k"), context_width, channels)?,
            to_v: Linear::unbiased(scope.sub("to_v"), context_width, channels)?,
            to_out: Linear::new(scope.sub("to_out.0"), channels, channels)?,
            heads,
            hypernetworks: Vec::new(),
        })
    }

    /// Keys and values `(B, Lk, C)` of `context (B, Lk, context_width)`.
    fn keys_values<B: Backend<Param = P>>(&self, b: &B, context: &B::Tensor) -> Computed<[B::Tensor; 2]> {
        let contexts = [context.clone(), context.clone()];
        let [of_k, of_v] =
            self.hypernetworks.iter().try_fold(contexts, |contexts, hypernetwork| hypernetwork.forward(b, contexts))?;
        Ok([self.to_k.forward(b, &of_k)?, self.to_v.forward(b, &of_v)?])
    }

    /// `x (B, L, C)` attends to itself; `residual` and result are of its shape.
    fn forward_self<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, residual: &B::Tensor) -> Computed<B::Tensor> {
        if !self.hypernetworks.is_empty() {
            return self.forward(b, x, &self.keys_values(b, x)?, residual);
        }
        let [q, k, v] = Linear::forward_three([&self.to_q, &self.to_k, &self.to_v], b, x)?;
        self.attend(b, [&q, &k, &v], residual)
    }

    /// `x (B, Lq, C)` attends to [`Self::keys_values`]; `residual` and result are `(B, Lq, C)`.
    fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        [k, v]: &[B::Tensor; 2],
        residual: &B::Tensor,
    ) -> Computed<B::Tensor> {
        self.attend(b, [&self.to_q.forward(b, x)?, k, v], residual)
    }

    fn attend<B: Backend<Param = P>>(
        &self,
        b: &B,
        [q, k, v]: [&B::Tensor; 3],
        residual: &B::Tensor,
    ) -> Computed<B::Tensor> {
        let h = b.attention(q, k, v, Attention { heads: self.heads, causal: false })?;
        self.to_out.forward_with(b, &h, Some(residual), Activation::None)
    }
}
