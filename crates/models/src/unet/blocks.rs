use calotype_tensor::{Backend, Error, Padding, Result as Computed, op_shapes};

use super::conditioning::Conditioning;
use crate::{
    CircularPadding, DownBlockType, MidBlockType, Result, Scope, UNetConfig, UpBlockType,
    layers::{Conv, Upsampler},
    resnet::{ResnetBlock, ResnetOptions},
    transformer::{Transformer2D, TransformerOptions},
};

/// A residual block, and the transformer after it if its resolution has them.
#[derive(Clone, Debug)]
pub(super) struct Layer<P> {
    pub(super) resnet: ResnetBlock<P>,
    pub(super) attention: Option<Transformer2D<P>>,
}

impl<P: Clone + 'static> Layer<P> {
    fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        conditioning: &mut Conditioning<'_, B::Tensor>,
        checkpointing: bool,
    ) -> Computed<B::Tensor> {
        let x = self.resnet.forward(b, x, Some(conditioning.shift()?), checkpointing)?;
        match &self.attention {
            Some(attention) => attention.forward(b, &x, conditioning.keys_values()?, checkpointing),
            None => Ok(x),
        }
    }
}

fn channels(config: &UNetConfig, level: usize) -> usize {
    config.block_out_channels.get(level).copied().unwrap_or(0)
}

fn resnet<P>(scope: Scope<'_, P>, config: &UNetConfig, inputs: usize, outputs: usize) -> Result<ResnetBlock<P>> {
    let options =
        ResnetOptions { groups: config.norm_num_groups, eps: config.norm_eps, time_width: Some(config.time_width()) };
    ResnetBlock::new(scope, inputs, outputs, options)
}

fn attention<P>(scope: Scope<'_, P>, config: &UNetConfig, level: usize) -> Result<Transformer2D<P>> {
    let options = TransformerOptions {
        layers: config.transformer_layers_per_block.get(level),
        heads: config.heads(level),
        context_width: config.cross_attention_dim.get(level),
        groups: config.norm_num_groups,
        use_linear_projection: config.use_linear_projection,
    };
    Transformer2D::new(scope, channels(config, level), options)
}

/// Layer `i` of a block: `resnets.i`, and `attentions.i` if `attends`.
fn layer<P>(
    scope: &mut Scope<'_, P>,
    config: &UNetConfig,
    level: usize,
    i: usize,
    inputs: usize,
    attends: bool,
) -> Result<Layer<P>> {
    let resnet = resnet(scope.sub(format_args!("resnets.{i}")), config, inputs, channels(config, level))?;
    let attention = attends.then(|| attention(scope.sub(format_args!("attentions.{i}")), config, level)).transpose()?;
    Ok(Layer { resnet, attention })
}

/// One resolution on the way down (diffusers `DownBlock2D`, `CrossAttnDownBlock2D`).
#[derive(Clone, Debug)]
pub(super) struct DownBlock<P> {
    pub(super) layers: Vec<Layer<P>>,
    downsampler: Option<Conv<P>>,
}

impl<P> DownBlock<P> {
    /// Block `level`, counted from the highest resolution.
    pub(super) fn new(mut scope: Scope<'_, P>, config: &UNetConfig, level: usize) -> Result<Self> {
        let inputs = channels(config, level.saturating_sub(1));
        let outputs = channels(config, level);
        let attends = config.down_block_types.get(level) == Some(&DownBlockType::CrossAttention);
        let is_last = level + 1 == config.block_out_channels.len();
        Ok(Self {
            layers: (0..config.layers_per_block.get(level))
                .map(|i| layer(&mut scope, config, level, i, if i == 0 { inputs } else { outputs }, attends))
                .collect::<Result<_>>()?,
            downsampler: (!is_last)
                .then(|| Conv::halving(scope.sub("downsamplers.0.conv"), outputs, Padding::all(1)))
                .transpose()?,
        })
    }

    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.layers.iter_mut().for_each(|layer| layer.resnet.set_wrap(wrap));
        self.downsampler.iter_mut().for_each(|conv| conv.wrap = wrap);
    }

    /// Each result on the way also goes onto `skips`.
    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        mut x: B::Tensor,
        conditioning: &mut Conditioning<'_, B::Tensor>,
        skips: &mut Vec<B::Tensor>,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        for layer in &self.layers {
            x = layer.forward(b, &x, conditioning, checkpointing)?;
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(b, &x, None)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// The bottom (diffusers `UNetMidBlock2D` with one residual block, `UNetMidBlock2DCrossAttn` with two).
#[derive(Clone, Debug)]
pub(super) struct MidBlock<P> {
    pub(super) first: Layer<P>,
    pub(super) second: Option<ResnetBlock<P>>,
}

impl<P> MidBlock<P> {
    pub(super) fn new(mut scope: Scope<'_, P>, config: &UNetConfig, kind: MidBlockType) -> Result<Self> {
        let level = config.block_out_channels.len().saturating_sub(1);
        let width = channels(config, level);
        let attends = kind == MidBlockType::CrossAttention;
        Ok(Self {
            first: layer(&mut scope, config, level, 0, width, attends)?,
            second: attends.then(|| resnet(scope.sub("resnets.1"), config, width, width)).transpose()?,
        })
    }

    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.first.resnet.set_wrap(wrap);
        self.second.iter_mut().for_each(|resnet| resnet.set_wrap(wrap));
    }

    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        conditioning: &mut Conditioning<'_, B::Tensor>,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let x = self.first.forward(b, x, conditioning, checkpointing)?;
        match &self.second {
            Some(resnet) => resnet.forward(b, &x, Some(conditioning.shift()?), checkpointing),
            None => Ok(x),
        }
    }
}

/// One resolution on the way up (diffusers `UpBlock2D`, `CrossAttnUpBlock2D`).
#[derive(Clone, Debug)]
pub(super) struct UpBlock<P> {
    pub(super) layers: Vec<Layer<P>>,
    upsampler: Option<Upsampler<P>>,
}

impl<P> UpBlock<P> {
    /// Block `i`, counted from the lowest resolution.
    pub(super) fn new(mut scope: Scope<'_, P>, config: &UNetConfig, i: usize) -> Result<Self> {
        let lowest = config.block_out_channels.len().saturating_sub(1);
        let level = lowest.saturating_sub(i);
        let outputs = channels(config, level);
        let from_below = channels(config, (level + 1).min(lowest));
        let last_skip = channels(config, level.saturating_sub(1));
        let attends = config.up_block_types.get(i) == Some(&UpBlockType::CrossAttention);
        let last = config.layers_per_block.get(level);
        Ok(Self {
            layers: (0..=last)
                .map(|i| {
                    let inputs = if i == 0 { from_below } else { outputs };
                    let skip = if i == last { last_skip } else { outputs };
                    layer(&mut scope, config, level, i, inputs + skip, attends)
                })
                .collect::<Result<_>>()?,
            upsampler: (level > 0).then(|| Upsampler::new(scope.sub("upsamplers.0.conv"), outputs)).transpose()?,
        })
    }

    pub(super) fn set_wrap(&mut self, wrap: CircularPadding) {
        self.layers.iter_mut().for_each(|layer| layer.resnet.set_wrap(wrap));
        self.upsampler.iter_mut().for_each(|upsampler| upsampler.wrap = wrap);
    }

    /// Takes its inputs from the way down off the end of `skips`.
    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        mut x: B::Tensor,
        conditioning: &mut Conditioning<'_, B::Tensor>,
        skips: &mut Vec<B::Tensor>,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        for layer in &self.layers {
            let skip = skips.pop().ok_or_else(|| Error::Invalid {
                op: "unet",
                message: "the way up has more layers than the way down, expected one more in each block".into(),
            })?;
            x = layer.forward(b, &b.concat(&x, &skip)?, conditioning, checkpointing)?;
        }
        match (&self.upsampler, skips.last()) {
            (Some(upsampler), Some(skip)) => {
                // The size that was halved on the way down.
                let [_, height, width, _] = op_shapes::picture("unet", "a skip", b.shape(skip))?;
                upsampler.forward_to(b, &x, [height, width])
            }
            (Some(upsampler), None) => upsampler.forward(b, &x),
            (None, _) => Ok(x),
        }
    }
}
