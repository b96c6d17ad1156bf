mod blocks;
mod conditioning;
mod inputs;

use calotype_tensor::{Activation, Backend, Error, Result as Computed, op_shapes};

use blocks::{DownBlock, Layer, MidBlock, UpBlock};

use conditioning::Conditioning;
pub use conditioning::{Context, TimeEmbedding};
pub use inputs::{Residuals, UNetInputs};

use crate::{
    CircularPadding, Result, Scope, UNetConfig,
    adapters::LoadedHypernetwork,
    layers::{Conv, GroupNorm, Linear},
    resnet::ResnetBlock,
    timestep_embedding,
    transformer::Transformer2D,
};

/// The UNet with attention to a context (Rombach et al. 2022; diffusers `UNet2DConditionModel`).
///
/// Clones share their parameters as far as those of the backend do.
#[derive(Clone, Debug)]
pub struct UNet<P> {
    /// Whether each residual block and each transformer goes through [`Backend::checkpoint`].
    pub checkpointing: bool,
    config: UNetConfig,
    time_linear_1: Linear<P>,
    time_linear_2: Linear<P>,
    conv_in: Conv<P>,
    down_blocks: Vec<DownBlock<P>>,
    mid_block: Option<MidBlock<P>>,
    up_blocks: Vec<UpBlock<P>>,
    conv_norm_out: GroupNorm<P>,
    conv_out: Conv<P>,
}

impl<P> UNet<P> {
    /// Makes it at `scope`, the root of a UNet's names.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn new(config: &UNetConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        let blocks = config.block_out_channels.len();
        let width = config.block_out_channels.first().copied().unwrap_or(0);
        let time_width = config.time_width();
        Ok(Self {
            checkpointing: false,
            config: config.clone(),
            conv_in: Conv::new(scope.sub("conv_in").unquantised(), config.in_channels, width, 3)?,
            time_linear_1: Linear::new(scope.sub("time_embedding.linear_1").unquantised(), width, time_width)?,
            time_linear_2: Linear::new(scope.sub("time_embedding.linear_2").unquantised(), time_width, time_width)?,
            down_blocks: (0..blocks)
                .map(|i| DownBlock::new(scope.sub(format_args!("down_blocks.{i}")), config, i))
                .collect::<Result<_>>()?,
            mid_block: config
                .mid_block_type
                .map(|kind| MidBlock::new(scope.sub("mid_block"), config, kind))
                .transpose()?,
            up_blocks: (0..blocks)
                .map(|i| UpBlock::new(scope.sub(format_args!("up_blocks.{i}")), config, i))
                .collect::<Result<_>>()?,
            conv_norm_out: GroupNorm::new(scope.sub("conv_norm_out"), width, config.norm_num_groups, config.norm_eps)?,
            conv_out: Conv::new(scope.sub("conv_out").unquantised(), width, config.out_channels, 3)?,
        })
    }

    /// Lets `hypernetworks` change the context of every attention, one after the other, in place of those it has. Contexts
    /// that were [prepared](Self::prepare) before are as they were.
    pub fn set_hypernetworks(&mut self, hypernetworks: &[LoadedHypernetwork<P>])
    where
        P: Clone,
    {
        let down = self.down_blocks.iter_mut().flat_map(|block| &mut block.layers);
        let up = self.up_blocks.iter_mut().flat_map(|block| &mut block.layers);
        let middle = self.mid_block.iter_mut().map(|block| &mut block.first);
        for transformer in down.chain(middle).chain(up).filter_map(|layer| layer.attention.as_mut()) {
            transformer.set_hypernetworks(hypernetworks);
        }
    }

    /// The config it was made from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Makes pictures that go on at their other edge: each convolution sees that edge instead of zeros.
    pub fn set_wrap(&mut self, wrap: CircularPadding) {
        self.conv_in.wrap = wrap;
        self.conv_out.wrap = wrap;
        self.down_blocks.iter_mut().for_each(|block| block.set_wrap(wrap));
        self.mid_block.iter_mut().for_each(|block| block.set_wrap(wrap));
        self.up_blocks.iter_mut().for_each(|block| block.set_wrap(wrap));
    }

    /// Keys and values of the texts `context (B, L, cross_attention_dim)`: the same at every step, so made once.
    ///
    /// # Errors
    /// The context has another width.
    pub fn prepare<B: Backend<Param = P>>(&self, b: &B, context: &B::Tensor) -> Computed<Context<B::Tensor>> {
        let keys_values = self.transformers().map(|transformer| transformer.keys_values(b, context));
        Ok(Context { keys_values: keys_values.collect::<Computed<_>>()? })
    }

    /// The embedding of one timestep per image, and what every residual block makes of it. The same for all latents.
    /// `added (B, 4 · block_out_channels[0])` is added to the embedding: what a model knows of an image beside its prompt.
    ///
    /// # Errors
    /// There are no timesteps.
    pub fn time_embedding<B: Backend<Param = P>>(
        &self,
        b: &B,
        timesteps: &[f32],
        added: Option<&B::Tensor>,
    ) -> Computed<TimeEmbedding<B::Tensor>> {
        // Every use of the time embedding begins with the same SiLU.
        let &UNetConfig { flip_sin_to_cos, freq_shift, .. } = &self.config;
        let width = self.config.block_out_channels.first().copied().unwrap_or(0);
        let x = timestep_embedding(b, timesteps, width, flip_sin_to_cos, freq_shift)?;
        let x = self.time_linear_1.forward_with(b, &x, None, Activation::Silu)?;
        let x = match added {
            None => self.time_linear_2.forward_with(b, &x, None, Activation::Silu)?,
            Some(added) => {
                let x = self.time_linear_2.forward_with(b, &x, Some(added), Activation::None)?;
                b.activation(&x, Activation::Silu)?
            }
        };
        let shifts = self.resnets().filter_map(|resnet| resnet.shift(b, &x).transpose()).collect::<Computed<_>>()?;
        Ok(TimeEmbedding { shifts, batch: timesteps.len() })
    }

    /// Predicts the noise (or the velocity, if so trained), `(B, H, W, out_channels)`.
    ///
    /// # Errors
    /// The arguments don't fit together; or H or W is not a multiple of [`UNetConfig::latent_multiple`] and the picture
    /// [wraps](Self::set_wrap) there.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, inputs: &UNetInputs<'_, B::Tensor>) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let &UNetInputs { latents, time, context, extra_channels, residuals } = inputs;
        self.check_input(b, latents, time.batch)?;
        let conditioning = &mut Conditioning::new(time, context);
        let latents = match extra_channels {
            Some(extra) => &b.concat(latents, extra)?,
            None => latents,
        };
        let mut x = self.conv_in.forward(b, &self.centered(b, latents)?, None)?;
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(b, x, conditioning, &mut skips, self.checkpointing)?;
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(b, &x, conditioning, self.checkpointing)?;
        }
        if let Some(residuals) = residuals {
            x = add_residuals(b, x, &mut skips, residuals)?;
        }
        for block in &self.up_blocks {
            x = block.forward(b, x, conditioning, &mut skips, self.checkpointing)?;
        }
        self.conv_out.forward(b, &self.conv_norm_out.forward(b, &x, Activation::Silu)?, None)
    }

    fn check_input<B: Backend>(&self, b: &B, latents: &B::Tensor, timesteps: usize) -> Computed<()> {
        let [batch, _, _, _] = op_shapes::picture("unet", "latents", b.shape(latents))?;
        let invalid = |message| Err(Error::Invalid { op: "unet", message });
        if timesteps != batch {
            return invalid(format!("{timesteps} timesteps were given for {batch} images"));
        }
        Ok(())
    }

    /// Every layer on the way down.
    fn down(&self) -> impl Iterator<Item = &Layer<P>> {
        self.down_blocks.iter().flat_map(|block| &block.layers)
    }

    /// Every layer on the way up.
    fn up(&self) -> impl Iterator<Item = &Layer<P>> {
        self.up_blocks.iter().flat_map(|block| &block.layers)
    }

    /// Every residual block, in the order of the forward pass.
    fn resnets(&self) -> impl Iterator<Item = &ResnetBlock<P>> {
        let middle = self.mid_block.iter().flat_map(|block| [&block.first.resnet].into_iter().chain(&block.second));
        self.down().map(|layer| &layer.resnet).chain(middle).chain(self.up().map(|layer| &layer.resnet))
    }

    /// Every transformer, in the order of the forward pass.
    fn transformers(&self) -> impl Iterator<Item = &Transformer2D<P>> {
        let middle = self.mid_block.iter().map(|block| &block.first);
        self.down().chain(middle).chain(self.up()).filter_map(|layer| layer.attention.as_ref())
    }

    /// `2x - 1` if the config asks for it.
    fn centered<B: Backend>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        if !self.config.center_input_sample {
            return Ok(x.clone());
        }
        let shape = b.shape(x);
        b.sub(&b.scale(x, 2.0)?, &b.from_f32(shape, vec![1.0; shape.count()])?)
    }
}

/// Adds to the feature maps that go on to the way up, and gives the output of the middle block with what is added to it.
fn add_residuals<B: Backend>(
    b: &B,
    x: B::Tensor,
    skips: &mut [B::Tensor],
    residuals: &Residuals<B::Tensor>,
) -> Computed<B::Tensor> {
    if residuals.down.len() != skips.len() {
        let (got, expected) = (residuals.down.len(), skips.len());
        let message = format!("{got} residuals were given for the way down, expected {expected}");
        return Err(Error::Invalid { op: "unet", message });
    }
    for (skip, residual) in skips.iter_mut().zip(&residuals.down) {
        *skip = b.add(skip, residual)?;
    }
    residuals.mid.as_ref().map_or(Ok(x.clone()), |residual| b.add(&x, residual))
}
