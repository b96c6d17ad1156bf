//! SwinIR (Liang et al. 2021, "SwinIR: Image Restoration Using Swin Transformer").

use calotype_tensor::{Activation, Backend, Conv2d, ParamKind, Result as Computed};

use super::{
    config::Shapes,
    window::{Mlp, WindowAttention},
};
use crate::{
    Result, Scope,
    layers::{Conv, LayerNorm, Upsampler},
};

/// What is subtracted from the colours first, and added in the end.
const MEAN: [f32; 3] = [0.4488, 0.4371, 0.4040];
/// The models for JPEG alone have windows of this side, and colours in 0..255.
const JPEG_WINDOW: usize = 7;
/// As PyTorch's layer norm has it.
pub(super) const NORM_EPS: f32 = 1e-5;
/// The slope of the leaky ReLU before the upsampling, PyTorch's default.
const SMALL_LEAK: f32 = 0.01;

/// How the picture is made of the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwinUpsampler {
    /// Nearest upsampling by 2, as often as said, for real photographs.
    Nearest(usize),
    /// Convolutions and pixel shuffles: by 2 as often as said, or once by 3.
    Shuffle {
        /// How often.
        times: usize,
        /// By how much.
        factor: usize,
    },
    /// One pixel shuffle.
    Direct(usize),
    /// The size stays, and the input is added.
    None,
}

/// The sizes of a SwinIR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwinIrConfig {
    /// Channels of the picture it takes and gives.
    pub colours: usize,
    /// Channels of every layer.
    pub channels: usize,
    /// Channels within the upsampling.
    pub features: usize,
    /// Blocks of each group, and heads of their attention.
    pub groups: Vec<[usize; 2]>,
    /// The side of a window.
    pub window: usize,
    /// Channels within the blocks' MLP.
    pub hidden: usize,
    /// How it enlarges.
    pub upsampler: SwinUpsampler,
    /// Whether a group ends with three convolutions, in the place of one.
    pub three: bool,
}

impl SwinIrConfig {
    pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Self> {
        let (colours, channels) = (shapes.extent("conv_first.weight", 1)?, shapes.extent("conv_first.weight", 0)?);
        let block = |group: usize, n: usize, name: &str| format!("layers.{group}.residual_group.blocks.{n}.{name}");
        let groups = shapes.count(|n| block(n, 0, "norm1.weight"));
        let groups = (0..groups)
            .map(|group| {
                let blocks = shapes.count(|n| block(group, n, "norm1.weight"));
                Ok([blocks, shapes.extent(&block(group, 0, "attn.relative_position_bias_table"), 1)?])
            })
            .collect::<Result<Vec<_>>>()?;
        let area = shapes.extent(&block(0, 0, "attn.relative_position_index"), 0)?;
        let window = (1..=32).find(|side| side * side == area);
        let Some(window) = window else { return shapes.refuse(format!("its windows have {area} pixels, no square")) };
        let mut features = channels;
        let upsampler = if shapes.has("conv_before_upsample.0.weight") {
            features = shapes.extent("conv_before_upsample.0.weight", 0)?;
            let ups = shapes.count(|n| format!("conv_up{}.weight", n + 1));
            let times = shapes.count(|n| format!("upsample.{}.weight", 2 * n));
            match (ups, times) {
                (1..=5, _) => SwinUpsampler::Nearest(ups),
                (0, 1..=5) if shapes.extent("upsample.0.weight", 0)? == 9 * features => {
                    SwinUpsampler::Shuffle { times, factor: 3 }
                }
                (0, 1..=5) => SwinUpsampler::Shuffle { times, factor: 2 },
                _ => return shapes.refuse("how it enlarges is not known".to_owned()),
            }
        } else if shapes.has("upsample.0.weight") {
            SwinUpsampler::Direct(shapes.shuffled(shapes.extent("upsample.0.weight", 0)?, colours)?.0)
        } else {
            SwinUpsampler::None
        };
        let config = Self {
            colours,
            channels,
            features,
            window,
            hidden: shapes.extent(&block(0, 0, "mlp.fc1.weight"), 0)?,
            upsampler,
            three: !shapes.has("conv_after_body.weight"),
            groups,
        };
        if config.groups.iter().any(|&[_, heads]| heads == 0 || !channels.is_multiple_of(heads)) {
            return shapes.refuse(format!("{channels} channels can't be divided among its heads"));
        }
        Ok(config)
    }

    /// How much it enlarges.
    #[must_use]
    pub fn scale(&self) -> usize {
        match self.upsampler {
            SwinUpsampler::Nearest(ups) => 1 << ups,
            SwinUpsampler::Shuffle { times, factor } => factor.pow(times as u32),
            SwinUpsampler::Direct(factor) => factor,
            SwinUpsampler::None => 1,
        }
    }

    /// Factors and summands before the network and after it.
    pub(super) fn centre<B: Backend>(&self, b: &B) -> Result<[[B::Param; 2]; 2]> {
        centre(b, self.colours, if self.window == JPEG_WINDOW { 255.0 } else { 1.0 })
    }
}

/// Factors and summands that bring colours around their mean, to a range, and back.
pub(super) fn centre<B: Backend>(b: &B, colours: usize, range: f32) -> Result<[[B::Param; 2]; 2]> {
    let mean: Vec<f32> = (0..colours).map(|c| if colours == 3 { MEAN[c] } else { 0.0 }).collect();
    let affine = |scale: f32, shift: Vec<f32>| -> Result<[B::Param; 2]> {
        let scales = vec![scale; colours];
        Ok([
            b.param("range", ParamKind::Table, [1, colours].into(), &scales)?,
            b.param("mean", ParamKind::Vector, [colours].into(), &shift)?,
        ])
    };
    Ok([affine(range, mean.iter().map(|mean| -mean * range).collect())?, affine(range.recip(), mean)?])
}

/// `factor · x + summand`, by colour.
pub(super) fn affine<B: Backend>(b: &B, x: &B::Tensor, [scale, shift]: &[B::Param; 2]) -> Computed<B::Tensor> {
    b.depthwise_conv2d(x, scale, Some(shift), [1, 1], Conv2d::padded(0))
}

/// One convolution, or three.
#[derive(Clone, Debug)]
struct Last<P>(Vec<Conv<P>>);

impl<P> Last<P> {
    fn new(mut scope: Scope<'_, P>, channels: usize, three: bool) -> Result<Self> {
        if !three {
            return Ok(Self(vec![Conv::new(scope, channels, channels, 3)?]));
        }
        let narrow = channels / 4;
        let leaky = |conv: Conv<P>| conv.with(1, Activation::LeakyRelu);
        Ok(Self(vec![
            leaky(Conv::new(scope.sub(0), channels, narrow, 3)?),
            leaky(Conv::new(scope.sub(2), narrow, narrow, 1)?),
            Conv::new(scope.sub(4), narrow, channels, 3)?,
        ]))
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor, residual: &B::Tensor) -> Computed<B::Tensor> {
        let mut x = x.clone();
        for (n, conv) in self.0.iter().enumerate() {
            x = conv.forward(b, &x, (n + 1 == self.0.len()).then_some(residual))?;
        }
        Ok(x)
    }
}

#[derive(Clone, Debug)]
struct Block<P> {
    norm1: LayerNorm<P>,
    attention: WindowAttention<P>,
    norm2: LayerNorm<P>,
    mlp: Mlp<P>,
}

impl<P> Block<P> {
    fn new(mut scope: Scope<'_, P>, config: &SwinIrConfig, heads: usize, shift: usize) -> Result<Self> {
        let SwinIrConfig { channels, window, hidden, .. } = *config;
        Ok(Self {
            attention: WindowAttention::new(scope.sub("attn"), channels, heads, window, shift)?,
            norm1: LayerNorm::new(scope.sub("norm1"), channels, NORM_EPS)?,
            norm2: LayerNorm::new(scope.sub("norm2"), channels, NORM_EPS)?,
            mlp: Mlp::new(scope.sub("mlp"), channels, hidden)?,
        })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let attended = self.attention.attend(b, &self.norm1.forward(b, x)?)?;
        let x = b.add(x, &attended)?;
        self.mlp.forward(b, &self.norm2.forward(b, &x)?, &x)
    }
}

/// What makes the picture of the features.
#[derive(Clone, Debug)]
pub(super) enum Up<P> {
    Nearest { before: Conv<P>, ups: Vec<Upsampler<P>>, hr: Conv<P>, last: Conv<P> },
    Shuffle { before: Conv<P>, ups: Vec<Conv<P>>, factor: usize, last: Conv<P> },
    Direct(Conv<P>, usize),
    None(Conv<P>),
}

#[derive(Clone, Debug)]
pub(super) struct SwinIr<P> {
    centre: [[P; 2]; 2],
    first: Conv<P>,
    embed: LayerNorm<P>,
    groups: Vec<(Vec<Block<P>>, Last<P>)>,
    norm: LayerNorm<P>,
    body: Last<P>,
    up: Up<P>,
}

impl<P> SwinIr<P> {
    pub(super) fn new(config: &SwinIrConfig, scope: &mut Scope<'_, P>, centre: [[P; 2]; 2]) -> Result<Self> {
        let SwinIrConfig { colours, channels, features, three, window, upsampler, .. } = *config;
        let first = Conv::new(scope.sub("conv_first").unquantised(), colours, channels, 3)?;
        let embed = LayerNorm::new(scope.sub("patch_embed.norm"), channels, NORM_EPS)?;
        let mut groups = Vec::new();
        for (group, &[blocks, heads]) in config.groups.iter().enumerate() {
            let mut scope = scope.sub(format_args!("layers.{group}"));
            let block = |n: usize| {
                let shift = if n.is_multiple_of(2) { 0 } else { window / 2 };
                Block::new(scope.sub(format_args!("residual_group.blocks.{n}")), config, heads, shift)
            };
            let blocks = (0..blocks).map(block).collect::<Result<Vec<_>>>()?;
            groups.push((blocks, Last::new(scope.sub("conv"), channels, three)?));
        }
        let norm = LayerNorm::new(scope.sub("norm"), channels, NORM_EPS)?;
        let body = Last::new(scope.sub("conv_after_body"), channels, three)?;
        let up = Up::new(upsampler, scope, [channels, features, colours])?;
        Ok(Self { centre, first, embed, groups, norm, body, up })
    }

    pub(super) fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let x = affine(b, x, &self.centre[0])?;
        let first = self.first.forward(b, &x, None)?;
        let mut y = self.embed.forward(b, &first)?;
        for (blocks, last) in &self.groups {
            let mut inner = y.clone();
            for block in blocks {
                inner = block.forward(b, &inner)?;
            }
            y = last.forward(b, &inner, &y)?;
        }
        let y = self.body.forward(b, &self.norm.forward(b, &y)?, &first)?;
        match &self.up {
            // The input is at hand only here.
            Up::None(last) => last.forward(b, &y, Some(&x)),
            _ => Ok(y),
        }
    }

    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        affine(b, &self.up.forward(b, features)?, &self.centre[1])
    }

    pub(super) fn band_context(&self) -> usize {
        self.up.band_context()
    }
}

impl<P> Up<P> {
    pub(super) fn new(
        upsampler: SwinUpsampler,
        scope: &mut Scope<'_, P>,
        [channels, features, colours]: [usize; 3],
    ) -> Result<Self> {
        let mut before = || Conv::new(scope.sub("conv_before_upsample.0"), channels, features, 3);
        Ok(match upsampler {
            SwinUpsampler::Nearest(ups) => Up::Nearest {
                before: before()?,
                ups: (1..=ups)
                    .map(|n| Upsampler::new(scope.sub(format_args!("conv_up{n}")), features))
                    .collect::<Result<_>>()?,
                hr: Conv::new(scope.sub("conv_hr"), features, features, 3)?.with(1, Activation::LeakyRelu),
                last: Conv::new(scope.sub("conv_last").unquantised(), features, colours, 3)?,
            },
            SwinUpsampler::Shuffle { times, factor } => Up::Shuffle {
                before: before()?,
                ups: (0..times)
                    .map(|n| {
                        let outputs = factor * factor * features;
                        Conv::new(scope.sub(format_args!("upsample.{}", 2 * n)), features, outputs, 3)
                    })
                    .collect::<Result<_>>()?,
                factor,
                last: Conv::new(scope.sub("conv_last").unquantised(), features, colours, 3)?,
            },
            SwinUpsampler::Direct(factor) => {
                let outputs = factor * factor * colours;
                Up::Direct(Conv::new(scope.sub("upsample.0").unquantised(), channels, outputs, 3)?, factor)
            }
            SwinUpsampler::None => Up::None(Conv::new(scope.sub("conv_last").unquantised(), channels, colours, 3)?),
        })
    }

    /// Everything but what [`affine`] does in the end.
    pub(super) fn forward<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        match self {
            Self::None(_) => Ok(features.clone()),
            Self::Direct(conv, factor) => b.pixel_shuffle(&conv.forward(b, features, None)?, *factor),
            Self::Nearest { before, ups, hr, last } => {
                let mut y = slightly_leaky(b, &before.forward(b, features, None)?)?;
                for up in ups {
                    y = b.activation(&up.forward(b, &y)?, Activation::LeakyRelu)?;
                }
                last.forward(b, &hr.forward(b, &y, None)?, None)
            }
            Self::Shuffle { before, ups, factor, last } => {
                let mut y = slightly_leaky(b, &before.forward(b, features, None)?)?;
                for up in ups {
                    y = b.pixel_shuffle(&up.forward(b, &y, None)?, *factor)?;
                }
                last.forward(b, &y, None)
            }
        }
    }

    /// A convolution or two at the features' size, and as far as one more pixel at the larger ones.
    pub(super) fn band_context(&self) -> usize {
        match self {
            Self::None(_) => 0,
            Self::Direct(..) => 1,
            Self::Nearest { .. } | Self::Shuffle { .. } => 3,
        }
    }
}

/// The leaky ReLU of the smaller slope.
fn slightly_leaky<B: Backend>(b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
    b.add(&b.scale(&b.activation(x, Activation::Relu)?, 1.0 - SMALL_LEAK)?, &b.scale(x, SMALL_LEAK)?)
}
