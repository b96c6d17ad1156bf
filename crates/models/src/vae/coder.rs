use calotype_tensor::{Activation, Backend, Padding, Result as Computed};

use super::attention::PixelAttention;
use crate::{
    CircularPadding, Result, Scope, VaeConfig,
    bands::{self, BandNorm},
    layers::{Conv, GroupNorm, Upsampler},
    resnet::{ResnetBlock, ResnetOptions},
};

/// Added to the variance in every norm of the autoencoder.
pub(super) const NORM_EPS: f32 = 1e-6;
/// Rows of the picture in a band of [`KlDecoder::forward_tiled`]: fewer need less memory, and take more time.
const BAND_ROWS: usize = 32;
/// The encoder halves with zeros below and to the right only.
const HALVING_PADDING: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

/// The residual blocks of one resolution, and what changes the resolution after them.
#[derive(Clone, Debug)]
struct Level<P, R> {
    resnets: Vec<ResnetBlock<P>>,
    /// `downsamplers.0.conv` or `upsamplers.0.conv`.
    resampler: Option<R>,
}

fn resnets<P>(
    scope: &mut Scope<'_, P>,
    config: &VaeConfig,
    layers: usize,
    inputs: usize,
    outputs: usize,
) -> Result<Vec<ResnetBlock<P>>> {
    (0..layers)
        .map(|i| {
            let inputs = if i == 0 { inputs } else { outputs };
            ResnetBlock::new(scope.sub(format_args!("resnets.{i}")), inputs, outputs, options(config))
        })
        .collect()
}

impl<P, R> Level<P, R> {
    fn set_wrap(&mut self, wrap: CircularPadding) {
        self.resnets.iter_mut().for_each(|resnet| resnet.set_wrap(wrap));
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, mut x: B::Tensor, checkpointing: bool) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        for resnet in &self.resnets {
            x = resnet.forward(b, &x, None, checkpointing)?;
        }
        Ok(x)
    }
}

fn options(config: &VaeConfig) -> ResnetOptions {
    ResnetOptions { groups: config.norm_num_groups, eps: NORM_EPS, time_width: None }
}

/// Channels at both ends of the resolutions.
fn ends(config: &VaeConfig) -> (usize, usize) {
    let end = |c: Option<&usize>| c.copied().unwrap_or(0);
    (end(config.block_out_channels.first()), end(config.block_out_channels.last()))
}

/// The middle: a residual block, an attention unless the config leaves it out, a residual block.
#[derive(Clone, Debug)]
struct Middle<P> {
    first: ResnetBlock<P>,
    attention: Option<PixelAttention<P>>,
    second: ResnetBlock<P>,
}

impl<P> Middle<P> {
    fn new(mut scope: Scope<'_, P>, config: &VaeConfig, width: usize) -> Result<Self> {
        Ok(Self {
            first: ResnetBlock::new(scope.sub("resnets.0"), width, width, options(config))?,
            attention: config
                .mid_block_add_attention
                .then(|| PixelAttention::new(scope.sub("attentions.0"), width, config.norm_num_groups))
                .transpose()?,
            second: ResnetBlock::new(scope.sub("resnets.1"), width, width, options(config))?,
        })
    }

    fn set_wrap(&mut self, wrap: CircularPadding) {
        self.first.set_wrap(wrap);
        self.second.set_wrap(wrap);
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, checkpointing: bool) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let mut x = self.first.forward(b, x, None, checkpointing)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(b, &x, checkpointing)?;
        }
        self.second.forward(b, &x, None, checkpointing)
    }
}

/// `quant_conv` or `post_quant_conv`, if the config has it.
fn pointwise<P>(scope: Scope<'_, P>, used: bool, channels: usize) -> Result<Option<Conv<P>>> {
    used.then(|| Conv::new(scope, channels, channels, 1)).transpose()
}

/// Picture to moments: the autoencoder's first half.
#[derive(Clone, Debug)]
pub(super) struct KlEncoder<P> {
    quant_conv: Option<Conv<P>>,
    conv_in: Conv<P>,
    down_blocks: Vec<Level<P, Conv<P>>>,
    mid_block: Middle<P>,
    conv_norm_out: GroupNorm<P>,
    conv_out: Conv<P>,
}

impl<P> KlEncoder<P> {
    pub(super) fn new(config: &VaeConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        let quant_conv = pointwise(scope.sub("quant_conv"), config.use_quant_conv, 2 * config.latent_channels)?;
        let mut scope = scope.sub("encoder");
        let (first, last) = ends(config);
        let conv_in = Conv::new(scope.sub("conv_in").unquantised(), config.in_channels, first, 3)?;
        let mut down_blocks = Vec::new();
        let mut inputs = first;
        for (i, &outputs) in config.block_out_channels.iter().enumerate() {
            let mut scope = scope.sub(format_args!("down_blocks.{i}"));
            let resnets = resnets(&mut scope, config, config.layers_per_block, inputs, outputs)?;
            let resampler = (i + 1 < config.block_out_channels.len())
                .then(|| Conv::halving(scope.sub("downsamplers.0.conv"), outputs, HALVING_PADDING))
                .transpose()?;
            down_blocks.push(Level { resnets, resampler });
            inputs = outputs;
        }
        Ok(Self {
            quant_conv,
            conv_in,
            down_blocks,
            mid_block: Middle::new(scope.sub("mid_block"), config, last)?,
            conv_norm_out: GroupNorm::new(scope.sub("conv_norm_out"), last, config.norm_num_groups, NORM_EPS)?,
            conv_out: Conv::new(scope.sub("conv_out").unquantised(), last, 2 * config.latent_channels, 3)?,
        })
    }

    /// What halves the picture keeps its zeros, as CompVis pads there apart from the convolution.
    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.conv_in.wrap = wrap;
        self.conv_out.wrap = wrap;
        self.down_blocks.iter_mut().for_each(|block| block.set_wrap(wrap));
        self.mid_block.set_wrap(wrap);
    }

    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        pixels: &B::Tensor,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let mut x = self.conv_in.forward(b, pixels, None)?;
        for block in &self.down_blocks {
            x = block.forward(b, x, checkpointing)?;
            if let Some(downsampler) = &block.resampler {
                x = downsampler.forward(b, &x, None)?;
            }
        }
        x = self.mid_block.forward(b, &x, checkpointing)?;
        let moments = self.conv_out.forward(b, &self.conv_norm_out.forward(b, &x, Activation::Silu)?, None)?;
        match &self.quant_conv {
            Some(conv) => conv.forward(b, &moments, None),
            None => Ok(moments),
        }
    }
}

/// Latents to picture: the autoencoder's second half.
#[derive(Clone, Debug)]
pub(super) struct KlDecoder<P> {
    post_quant_conv: Option<Conv<P>>,
    conv_in: Conv<P>,
    mid_block: Middle<P>,
    up_blocks: Vec<Level<P, Upsampler<P>>>,
    conv_norm_out: GroupNorm<P>,
    conv_out: Conv<P>,
}

impl<P> KlDecoder<P> {
    pub(super) fn new(config: &VaeConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        let post_quant_conv =
            pointwise(scope.sub("post_quant_conv"), config.use_post_quant_conv, config.latent_channels)?;
        let mut scope = scope.sub("decoder");
        let (first, last) = ends(config);
        let conv_in = Conv::new(scope.sub("conv_in").unquantised(), config.latent_channels, last, 3)?;
        let mut up_blocks = Vec::new();
        let mut inputs = last;
        for (i, &outputs) in config.block_out_channels.iter().rev().enumerate() {
            let mut scope = scope.sub(format_args!("up_blocks.{i}"));
            let resnets = resnets(&mut scope, config, config.layers_per_block + 1, inputs, outputs)?;
            let resampler = (i + 1 < config.block_out_channels.len())
                .then(|| Upsampler::new(scope.sub("upsamplers.0.conv"), outputs))
                .transpose()?;
            up_blocks.push(Level { resnets, resampler });
            inputs = outputs;
        }
        Ok(Self {
            post_quant_conv,
            conv_in,
            mid_block: Middle::new(scope.sub("mid_block"), config, last)?,
            up_blocks,
            conv_norm_out: GroupNorm::new(scope.sub("conv_norm_out"), first, config.norm_num_groups, NORM_EPS)?,
            conv_out: Conv::new(scope.sub("conv_out").unquantised(), first, config.out_channels, 3)?,
        })
    }

    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.conv_in.wrap = wrap;
        self.conv_out.wrap = wrap;
        self.mid_block.set_wrap(wrap);
        for block in &mut self.up_blocks {
            block.set_wrap(wrap);
            block.resampler.iter_mut().for_each(|upsampler| upsampler.wrap = wrap);
        }
    }

    /// Everything but the last convolution.
    pub(super) fn last_features<B: Backend<Param = P>>(
        &self,
        b: &B,
        latents: &B::Tensor,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let mut x = self.middle(b, latents, checkpointing)?;
        for block in &self.up_blocks {
            x = block.forward(b, x, checkpointing)?;
            if let Some(upsampler) = &block.resampler {
                x = upsampler.forward(b, &x)?;
            }
        }
        self.conv_norm_out.forward(b, &x, Activation::Silu)
    }

    /// The last convolution.
    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        self.conv_out.forward(b, features, None)
    }

    /// One picture, what comes after the lowest resolution in bands of rows.
    pub(super) fn forward_tiled<B: Backend<Param = P>>(&self, b: &B, latents: &B::Tensor) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let rows = (BAND_ROWS >> self.up_blocks.len().saturating_sub(1)).max(1);
        let mut x = bands::cut(b, &self.middle(b, latents, false)?, rows)?;
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward_bands(b, x)?;
            }
            if let Some(upsampler) = &block.resampler {
                x = bands::upsample(b, upsampler, x)?;
            }
        }
        let norm = BandNorm::new(b, &self.conv_norm_out, &x)?;
        let normalised = x.into_iter().enumerate().map(|(i, x)| norm.forward(b, i, &x, Activation::Silu));
        bands::join(b, &bands::convolve(b, &self.conv_out, normalised, None)?)
    }

    /// The lowest resolution.
    fn middle<B: Backend<Param = P>>(&self, b: &B, latents: &B::Tensor, checkpointing: bool) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let x = match &self.post_quant_conv {
            Some(conv) => &conv.forward(b, latents, None)?,
            None => latents,
        };
        self.mid_block.forward(b, &self.conv_in.forward(b, x, None)?, checkpointing)
    }
}
