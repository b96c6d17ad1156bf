//! HAT (Chen et al. 2023, "Activating More Pixels in Image Super-Resolution Transformer"): a SwinIR whose blocks also weigh channels by
//! the whole picture, and whose groups end with windows that attend to larger ones.

use calotype_tensor::{Activation, Backend, Conv2d, ParamKind, Result as Computed, op_shapes};

use super::{
    config::Shapes,
    swinir::{NORM_EPS, SwinUpsampler, Up, affine, centre},
    window::{Mlp, Sizes, WindowAttention, biased_attention, cut_columns, join_columns, joined},
};
use crate::{
    Init, Result, Scope,
    layers::{Conv, LayerNorm, Linear},
    padding::Axis,
};

/// How much of the convolutions' result is added in a block. No file has it.
const CONV_SCALE: f32 = 0.01;

/// The sizes of a HAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HatConfig {
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
    /// The side of the windows that a group's last attention sees.
    pub seen: usize,
    /// Channels within the blocks' MLP.
    pub hidden: usize,
    /// Channels within the MLP after the last attention of a group.
    pub last_hidden: usize,
    /// Channels between a block's two convolutions.
    pub compressed: usize,
    /// Channels by which it weighs channels.
    pub squeezed: usize,
    /// How often it doubles the picture, or that it trebles it: times and factor.
    pub ups: [usize; 2],
    /// Whether the features are normed before the first group.
    pub normed: bool,
    /// Whether a convolution stands behind every group.
    pub convolved: bool,
}

impl HatConfig {
    pub(super) fn infer(shapes: &Shapes<'_>) -> Result<Self> {
        if shapes.mark("absolute_pos_embed").is_some() {
            return shapes
                .refuse("it knows where pixels lie (absolute_pos_embed), so it is for one size only".to_owned());
        }
        let (colours, channels) = (shapes.extent("conv_first.weight", 1)?, shapes.extent("conv_first.weight", 0)?);
        let group = |group: usize, name: &str| format!("layers.{group}.residual_group.{name}");
        let block = |n: usize, name: &str| group(n, &format!("blocks.{name}"));
        let first = |name: &str| block(0, &format!("0.{name}"));
        let groups = shapes.count(|n| block(n, "0.norm1.weight"));
        let groups = (0..groups)
            .map(|n| {
                let blocks = shapes.count(|i| block(n, &format!("{i}.norm1.weight")));
                Ok([blocks, shapes.extent(&group(n, "overlap_attn.relative_position_bias_table"), 1)?])
            })
            .collect::<Result<Vec<_>>>()?;
        let side = |area: usize| (1..=64).find(|side| side * side == area);
        // (2w - 1)² and (w + seen - 1)² ways that pixels lie to each other.
        let own = side(shapes.extent(&first("attn.relative_position_bias_table"), 0)?);
        let both = side(shapes.extent(&group(0, "overlap_attn.relative_position_bias_table"), 0)?);
        let window = own.map(|side| side.div_ceil(2));
        let seen = both.zip(window).and_then(|(both, window)| (both + 1).checked_sub(window));
        let Some((window, seen)) = window.zip(seen).filter(|(window, seen)| seen >= window) else {
            return shapes.refuse("its windows are no squares".to_owned());
        };
        if !(seen - window).is_multiple_of(2) {
            return shapes.refuse(format!("windows of {window} pixels can't lie in the middle of {seen}"));
        }
        let features = shapes.extent("conv_before_upsample.0.weight", 0)?;
        let times = shapes.count(|n| format!("upsample.{}.weight", 2 * n));
        let ups = match times {
            0 => [0, 2],
            1..=5 if shapes.extent("upsample.0.weight", 0)? == 9 * features => [times, 3],
            1..=5 => [times, 2],
            _ => return shapes.refuse("how it enlarges is not known".to_owned()),
        };
        let config = Self {
            colours,
            channels,
            features,
            window,
            seen,
            hidden: shapes.extent(&first("mlp.fc1.weight"), 0)?,
            last_hidden: shapes.extent(&group(0, "overlap_attn.mlp.fc1.weight"), 0)?,
            compressed: shapes.extent(&first("conv_block.cab.0.weight"), 0)?,
            squeezed: shapes.extent(&first("conv_block.cab.3.attention.1.weight"), 0)?,
            ups,
            normed: shapes.has("patch_embed.norm.weight"),
            convolved: shapes.has("conv_after_body.weight"),
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
        let [times, factor] = self.ups;
        factor.pow(times as u32)
    }

    pub(super) fn centre<B: Backend>(&self, b: &B) -> Result<[[B::Param; 2]; 2]> {
        centre(b, self.colours, 1.0)
    }
}

/// Two convolutions, and their channels weighed by their means over the picture (the "channel attention block").
#[derive(Clone, Debug)]
struct ChannelBlock<P> {
    narrow: Conv<P>,
    widen: Conv<P>,
    squeeze: Conv<P>,
    spread: Conv<P>,
}

impl<P> ChannelBlock<P> {
    fn new(mut scope: Scope<'_, P>, config: &HatConfig) -> Result<Self> {
        let HatConfig { channels, compressed, squeezed, .. } = *config;
        Ok(Self {
            narrow: Conv::new(scope.sub(0), channels, compressed, 3)?.with(1, Activation::Gelu),
            widen: Conv::new(scope.sub(2), compressed, channels, 3)?,
            squeeze: Conv::new(scope.sub("3.attention.1"), channels, squeezed, 1)?.with(1, Activation::Relu),
            spread: Conv::new(scope.sub("3.attention.3"), squeezed, channels, 1)?.with(1, Activation::Sigmoid),
        })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let y = self.widen.forward(b, &self.narrow.forward(b, x, None)?, None)?;
        let weights = self.spread.forward(b, &self.squeeze.forward(b, &means(b, &y)?, None)?, None)?;
        let weights = b.to_f32(&weights)?;
        let weights = b.param("", ParamKind::Table, [1, weights.len()].into(), &weights)?;
        b.depthwise_conv2d(&y, &weights, None, [1, 1], Conv2d::padded(0))
    }
}

/// The mean of each channel of one picture, `(1, 1, 1, C)`.
fn means<B: Backend>(b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
    let [_, height, width, channels] = op_shapes::picture("hat", "x", b.shape(x))?;
    let mut sums = vec![0.0f64; channels];
    for pixel in b.to_f32(x)?.chunks_exact(channels.max(1)) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let count = (height * width).max(1) as f64;
    b.from_f32([1, 1, 1, channels].into(), sums.into_iter().map(|sum| (sum / count) as f32).collect())
}

#[derive(Clone, Debug)]
struct Block<P> {
    norm1: LayerNorm<P>,
    attention: WindowAttention<P>,
    channels: ChannelBlock<P>,
    norm2: LayerNorm<P>,
    mlp: Mlp<P>,
}

impl<P> Block<P> {
    fn new(mut scope: Scope<'_, P>, config: &HatConfig, heads: usize, shift: usize) -> Result<Self> {
        let HatConfig { channels, window, hidden, .. } = *config;
        Ok(Self {
            norm1: LayerNorm::new(scope.sub("norm1"), channels, NORM_EPS)?,
            attention: WindowAttention::new(scope.sub("attn"), channels, heads, window, shift)?,
            channels: ChannelBlock::new(scope.sub("conv_block.cab"), config)?,
            norm2: LayerNorm::new(scope.sub("norm2"), channels, NORM_EPS)?,
            mlp: Mlp::new(scope.sub("mlp"), channels, hidden)?,
        })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let normed = self.norm1.forward(b, x)?;
        let y = b.add(x, &self.attention.attend(b, &normed)?)?;
        let y = b.add(&y, &b.scale(&self.channels.forward(b, &normed)?, CONV_SCALE)?)?;
        self.mlp.forward(b, &self.norm2.forward(b, &y)?, &y)
    }
}

/// Attention of windows to larger ones around them (the "overlapping cross-attention block").
#[derive(Clone, Debug)]
struct Overlapping<P> {
    norm1: LayerNorm<P>,
    qkv: Linear<P>,
    /// `((w + seen − 1)², heads)`.
    bias: P,
    proj: Linear<P>,
    norm2: LayerNorm<P>,
    mlp: Mlp<P>,
    window: usize,
    seen: usize,
    heads: usize,
}

impl<P> Overlapping<P> {
    fn new(mut scope: Scope<'_, P>, config: &HatConfig, heads: usize) -> Result<Self> {
        let HatConfig { channels, window, seen, last_hidden, .. } = *config;
        let rows = (window + seen - 1) * (window + seen - 1);
        Ok(Self {
            norm1: LayerNorm::new(scope.sub("norm1"), channels, NORM_EPS)?,
            qkv: Linear::new(scope.sub("qkv"), channels, 3 * channels)?,
            bias: scope.param("relative_position_bias_table", ParamKind::Table, &[rows, heads], Init::Normal(0.02))?,
            proj: Linear::new(scope.sub("proj"), channels, channels)?,
            norm2: LayerNorm::new(scope.sub("norm2"), channels, NORM_EPS)?,
            mlp: Mlp::new(scope.sub("mlp"), channels, last_hidden)?,
            window,
            seen,
            heads,
        })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let [_, height, width, channels] = op_shapes::picture("hat", "x", b.shape(x))?;
        let &Self { window, seen, heads, .. } = self;
        let qkv = self.qkv.forward(b, &self.norm1.forward(b, x)?)?;
        // Beyond the picture keys and values are zero.
        let around = (seen - window) / 2;
        let keys = bordered(b, &b.narrow(&qkv, channels, channels)?, around)?;
        let values = bordered(b, &b.narrow(&qkv, 2 * channels, channels)?, around)?;
        let queries = b.narrow(&qkv, 0, channels)?;
        let relative = self.relative(b)?;
        let (area, of_seen) = (window * window, seen * seen);
        let sizes = Sizes { count: width / window, queries: area, keys: of_seen, heads, width: channels / heads };
        let added = |_: usize, [query, key]: [usize; 2], head: usize| relative[(query * of_seen + key) * heads + head];
        let mut strips = Vec::with_capacity(height / window);
        for row in (0..height).step_by(window) {
            let part = |x: &B::Tensor, rows: usize| cut_columns(b, &Axis::Rows.part(b, x, row, rows)?, window, rows);
            let y = biased_attention(
                b,
                [&part(&queries, window)?, &part(&keys, seen)?, &part(&values, seen)?],
                sizes,
                added,
            )?;
            strips.push(join_columns(b, &self.proj.forward(b, &y)?, [window, window])?);
        }
        let attended = joined(b, strips, |b, before, after| Axis::Rows.join(b, before, after))?;
        let y = b.add(x, &attended)?;
        self.mlp.forward(b, &self.norm2.forward(b, &y)?, &y)
    }

    /// What is added to the scores: of query, key and head. As HAT's code has it, whose indices run below zero, and so on from the end.
    fn relative<B: Backend<Param = P>>(&self, b: &B) -> Computed<Vec<f32>> {
        let (w, seen) = (self.window as isize, self.seen as isize);
        let side = w + seen - 1;
        let mut ids = Vec::with_capacity((w * w * seen * seen) as usize);
        for (qy, qx) in (0..w).flat_map(|y| (0..w).map(move |x| (y, x))) {
            for (ky, kx) in (0..seen).flat_map(|y| (0..seen).map(move |x| (y, x))) {
                let at = (ky - qy + w - seen + 1) * side + (kx - qx + w - seen + 1);
                ids.push(at.rem_euclid(side * side) as u32);
            }
        }
        b.to_f32(&b.embedding(&self.bias, &ids, 1)?)
    }
}

/// The picture with so many zeros around it.
fn bordered<B: Backend>(b: &B, x: &B::Tensor, around: usize) -> Computed<B::Tensor> {
    let mut x = x.clone();
    if around == 0 {
        return Ok(x);
    }
    for axis in [Axis::Rows, Axis::Columns] {
        let [batch, height, width, channels] = op_shapes::picture("hat", "x", b.shape(&x))?;
        let shape =
            if axis == Axis::Rows { [batch, around, width, channels] } else { [batch, height, around, channels] };
        let zeros = b.from_f32(shape.into(), vec![0.0; shape.iter().product()])?;
        x = axis.join(b, &axis.join(b, &zeros, &x)?, &zeros)?;
    }
    Ok(x)
}

#[derive(Clone, Debug)]
struct Group<P> {
    blocks: Vec<Block<P>>,
    overlapping: Overlapping<P>,
    last: Option<Conv<P>>,
}

#[derive(Clone, Debug)]
pub(super) struct Hat<P> {
    centre: [[P; 2]; 2],
    first: Conv<P>,
    embed: Option<LayerNorm<P>>,
    groups: Vec<Group<P>>,
    norm: LayerNorm<P>,
    body: Option<Conv<P>>,
    up: Up<P>,
}

impl<P> Hat<P> {
    pub(super) fn new(config: &HatConfig, scope: &mut Scope<'_, P>, centre: [[P; 2]; 2]) -> Result<Self> {
        let HatConfig { colours, channels, features, window, ups: [times, factor], normed, convolved, .. } = *config;
        let first = Conv::new(scope.sub("conv_first").unquantised(), colours, channels, 3)?;
        let norm = |scope: Scope<'_, P>| LayerNorm::new(scope, channels, NORM_EPS);
        let embed = normed.then(|| norm(scope.sub("patch_embed.norm"))).transpose()?;
        let mut groups = Vec::new();
        for (group, &[blocks, heads]) in config.groups.iter().enumerate() {
            let mut scope = scope.sub(format_args!("layers.{group}"));
            let block = |n: usize| {
                let shift = if n.is_multiple_of(2) { 0 } else { window / 2 };
                Block::new(scope.sub(format_args!("residual_group.blocks.{n}")), config, heads, shift)
            };
            let blocks = (0..blocks).map(block).collect::<Result<Vec<_>>>()?;
            let overlapping = Overlapping::new(scope.sub("residual_group.overlap_attn"), config, heads)?;
            let last = convolved.then(|| Conv::new(scope.sub("conv"), channels, channels, 3)).transpose()?;
            groups.push(Group { blocks, overlapping, last });
        }
        let norm = norm(scope.sub("norm"))?;
        let body = convolved.then(|| Conv::new(scope.sub("conv_after_body"), channels, channels, 3)).transpose()?;
        let up = Up::new(SwinUpsampler::Shuffle { times, factor }, scope, [channels, features, colours])?;
        Ok(Self { centre, first, embed, groups, norm, body, up })
    }

    pub(super) fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let first = self.first.forward(b, &affine(b, x, &self.centre[0])?, None)?;
        let mut y = match &self.embed {
            Some(norm) => norm.forward(b, &first)?,
            None => first.clone(),
        };
        for Group { blocks, overlapping, last } in &self.groups {
            let mut inner = y.clone();
            for block in blocks {
                inner = block.forward(b, &inner)?;
            }
            inner = overlapping.forward(b, &inner)?;
            y = match last {
                Some(conv) => conv.forward(b, &inner, Some(&y))?,
                None => b.add(&inner, &y)?,
            };
        }
        let y = self.norm.forward(b, &y)?;
        match &self.body {
            Some(conv) => conv.forward(b, &y, Some(&first)),
            None => b.add(&y, &first),
        }
    }

    pub(super) fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        affine(b, &self.up.forward(b, features)?, &self.centre[1])
    }

    pub(super) fn band_context(&self) -> usize {
        self.up.band_context()
    }
}
