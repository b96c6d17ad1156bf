mod blocks;

use calotype_tensor::{Activation, Backend, Error, Result as Computed, infer};

use blocks::{DownBlock, MidBlock, UpBlock};

use crate::{
    Result, Scope, UNetConfig,
    layers::{Conv, GroupNorm, Linear},
    timestep_embedding,
};

/// The UNet with attention to a context (Rombach et al. 2022; diffusers `UNet2DConditionModel`).
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
            conv_in: Conv::new(scope.sub("conv_in"), config.in_channels, width, 3)?,
            time_linear_1: Linear::new(scope.sub("time_embedding.linear_1"), width, time_width)?,
            time_linear_2: Linear::new(scope.sub("time_embedding.linear_2"), time_width, time_width)?,
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
            conv_out: Conv::new(scope.sub("conv_out"), width, config.out_channels, 3)?,
        })
    }

    /// The config it was made from.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Predicts the noise (or the velocity, if so trained): `latents (B, H, W, in_channels)`, one timestep per image,
    /// `context (B, L, cross_attention_dim)`; the result is `(B, H, W, out_channels)`.
    ///
    /// # Errors
    /// H or W is not a multiple of [`UNetConfig::latent_multiple`], or the arguments don't fit together.
    pub fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        latents: &B::Tensor,
        timesteps: &[f32],
        context: &B::Tensor,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        self.check_input(b, latents, timesteps)?;
        let time = self.time_embedding(b, timesteps)?;
        let mut x = self.conv_in.forward(b, &self.centered(b, latents)?, None)?;
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(b, x, &time, context, &mut skips, self.checkpointing)?;
        }
        if let Some(block) = &self.mid_block {
            x = block.forward(b, &x, &time, context, self.checkpointing)?;
        }
        for block in &self.up_blocks {
            x = block.forward(b, x, &time, context, &mut skips, self.checkpointing)?;
        }
        self.conv_out.forward(b, &self.conv_norm_out.forward(b, &x, Activation::Silu)?, None)
    }

    fn check_input<B: Backend>(&self, b: &B, latents: &B::Tensor, timesteps: &[f32]) -> Computed<()> {
        let [batch, height, width, _] = infer::picture("unet", "latents", b.shape(latents))?;
        let multiple = self.config.latent_multiple();
        let invalid = |message| Err(Error::Invalid { op: "unet", message });
        if !(height.is_multiple_of(multiple) && width.is_multiple_of(multiple)) {
            return invalid(format!("latents of {height}×{width} were given, expected multiples of {multiple}"));
        }
        if timesteps.len() != batch {
            return invalid(format!("{} timesteps were given for {batch} images", timesteps.len()));
        }
        Ok(())
    }

    /// `silu(temb) (B, T)`: every use of the time embedding begins with that SiLU.
    fn time_embedding<B: Backend<Param = P>>(&self, b: &B, timesteps: &[f32]) -> Computed<B::Tensor> {
        let &UNetConfig { flip_sin_to_cos, freq_shift, .. } = &self.config;
        let width = self.config.block_out_channels.first().copied().unwrap_or(0);
        let x = timestep_embedding(b, timesteps, width, flip_sin_to_cos, freq_shift)?;
        let x = self.time_linear_1.forward_with(b, &x, None, Activation::Silu)?;
        self.time_linear_2.forward_with(b, &x, None, Activation::Silu)
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
