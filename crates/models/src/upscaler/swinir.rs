//! SwinIR (Liang et al. 2021, "SwinIR: Image Restoration Using Swin Transformer").

use calotype_tensor::{Activation, Attention, Backend, Conv2d, ParamKind, Result as Computed, op_shapes};

use super::config::Shapes;
use crate::{
    Init, Result, Scope,
    layers::{Conv, LayerNorm, Linear, Upsampler},
    padding::Axis,
};

/// What is subtracted from the colours first, and added in the end.
const MEAN: [f32; 3] = [0.4488, 0.4371, 0.4040];
/// The models for JPEG alone have windows of this side, and colours in 0..255.
const JPEG_WINDOW: usize = 7;
/// As PyTorch's layer norm has it.
const NORM_EPS: f32 = 1e-5;
/// What is added to the score of a pixel from the other end of the picture.
const APART: f32 = -100.0;
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
        let range = if self.window == JPEG_WINDOW { 255.0 } else { 1.0 };
        let mean: Vec<f32> = (0..self.colours).map(|c| if self.colours == 3 { MEAN[c] } else { 0.0 }).collect();
        let affine = |scale: f32, shift: Vec<f32>| -> Result<[B::Param; 2]> {
            let scales = vec![scale; self.colours];
            Ok([
                b.param("range", ParamKind::Table, [1, self.colours].into(), &scales)?,
                b.param("mean", ParamKind::Vector, [self.colours].into(), &shift)?,
            ])
        };
        Ok([affine(range, mean.iter().map(|mean| -mean * range).collect())?, affine(range.recip(), mean)?])
    }
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
    /// `((2w − 1)², heads)`.
    bias: P,
    qkv: Linear<P>,
    proj: Linear<P>,
    norm2: LayerNorm<P>,
    fc1: Linear<P>,
    fc2: Linear<P>,
    window: usize,
    heads: usize,
    shift: usize,
}

impl<P> Block<P> {
    fn new(mut scope: Scope<'_, P>, config: &SwinIrConfig, heads: usize, shift: usize) -> Result<Self> {
        let SwinIrConfig { channels, window, hidden, .. } = *config;
        let rows = (2 * window - 1) * (2 * window - 1);
        let mut attn = scope.sub("attn");
        Ok(Self {
            bias: attn.param("relative_position_bias_table", ParamKind::Table, &[rows, heads], Init::Normal(0.02))?,
            qkv: Linear::new(attn.sub("qkv"), channels, 3 * channels)?,
            proj: Linear::new(attn.sub("proj"), channels, channels)?,
            norm1: LayerNorm::new(scope.sub("norm1"), channels, NORM_EPS)?,
            norm2: LayerNorm::new(scope.sub("norm2"), channels, NORM_EPS)?,
            fc1: Linear::new(scope.sub("mlp.fc1"), channels, hidden)?,
            fc2: Linear::new(scope.sub("mlp.fc2"), hidden, channels)?,
            window,
            heads,
            shift,
        })
    }

    fn forward<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let attended = self.attend(b, &self.norm1.forward(b, x)?)?;
        let x = b.add(x, &attended)?;
        let hidden = self.fc1.forward_with(b, &self.norm2.forward(b, &x)?, None, Activation::Gelu)?;
        self.fc2.forward_with(b, &hidden, Some(&x), Activation::None)
    }

    /// Attention within windows, which are shifted in every second block.
    fn attend<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let [_, height, width, _] = op_shapes::picture("swinir", "x", b.shape(x))?;
        let x = rolled(b, x, [self.shift; 2])?;
        let relative = self.relative(b)?;
        let rows = height / self.window;
        let mut strips = Vec::with_capacity(rows);
        for row in 0..rows {
            let strip = Axis::Rows.part(b, &x, row * self.window, self.window)?;
            strips.push(self.strip(b, &strip, &relative, row + 1 == rows)?);
        }
        let whole = joined(b, strips, |b, before, after| Axis::Rows.join(b, before, after))?;
        rolled(b, &whole, [height - self.shift, width - self.shift])
    }

    /// What is added to the scores of a window: of key, query and head.
    fn relative<B: Backend<Param = P>>(&self, b: &B) -> Computed<Vec<f32>> {
        let (w, area) = (self.window, self.window * self.window);
        let of = |n: usize| {
            let (key, query) = (n / area, n % area);
            let [dy, dx] = [query / w + w - 1 - key / w, query % w + w - 1 - key % w];
            (dy * (2 * w - 1) + dx) as u32
        };
        let ids: Vec<u32> = (0..area * area).map(of).collect();
        b.to_f32(&b.embedding(&self.bias, &ids, 1)?)
    }

    /// A row of windows `(1, w, W, C)`. What is added to the scores comes in as more channels: those of a query say which of its window
    /// it is, and those of a key what each of them has with it.
    fn strip<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        relative: &[f32],
        is_last: bool,
    ) -> Computed<B::Tensor> {
        let [_, w, width, channels] = op_shapes::picture("swinir", "a strip", b.shape(x))?;
        let (heads, area, count) = (self.heads, w * w, width / w);
        let x = b.reshape(x, [w, width * channels].into())?;
        let columns =
            (0..count).map(|n| b.reshape(&b.narrow(&x, n * w * channels, w * channels)?, [1, area * channels].into()));
        let windows = joined(b, columns.collect::<Computed<_>>()?, |b, before, after| b.concat(before, after))?;
        let qkv = self.qkv.forward(b, &b.reshape(&windows, [count * area, channels].into())?)?;

        let width_of_head = channels / heads;
        let wide = width_of_head + area;
        let rows = count * area * heads;
        let part = |n: usize| b.reshape(&b.narrow(&qkv, n * channels, channels)?, [rows, width_of_head].into());
        let with = |x: &B::Tensor, more: Vec<f32>| {
            let more = b.from_f32([rows, area].into(), more)?;
            b.reshape(&b.concat(x, &more)?, [count, area, heads * wide].into())
        };
        // Of each row of `rows`: its window, its pixel and its head.
        let of = |row: usize| (row / heads / area, row / heads % area, row % heads);
        let root = (wide as f32).sqrt();
        let mut which = vec![0.0; rows * area];
        let mut added = vec![0.0; rows * area];
        for row in 0..rows {
            let (window, pixel, head) = of(row);
            which[row * area + pixel] = root;
            for (query, to) in added[row * area..][..area].iter_mut().enumerate() {
                *to = relative[(pixel * area + query) * heads + head];
                if self.is_apart(pixel, query, [is_last, window + 1 == count]) {
                    *to += APART;
                }
            }
        }
        let query = b.scale(&part(0)?, root / (width_of_head as f32).sqrt())?;
        let query = with(&query, which)?;
        let key = with(&part(1)?, added)?;
        let value = with(&part(2)?, vec![0.0; rows * area])?;
        let y = b.attention(&query, &key, &value, Attention { heads, causal: false })?;
        let y = b.narrow(&b.reshape(&y, [rows, wide].into())?, 0, width_of_head)?;
        let y = self.proj.forward(b, &b.reshape(&y, [count * area, channels].into())?)?;

        let y = b.reshape(&y, [1, count * area * channels].into())?;
        let columns = (0..count)
            .map(|n| b.reshape(&b.narrow(&y, n * area * channels, area * channels)?, [w, w * channels].into()));
        let y = joined(b, columns.collect::<Computed<_>>()?, |b, before, after| b.concat(before, after))?;
        b.reshape(&y, [1, w, width, channels].into())
    }

    /// Whether two pixels of a window come from different ends of the picture: of the last row of windows, or the last column.
    fn is_apart(&self, a: usize, b: usize, [last_row, last_column]: [bool; 2]) -> bool {
        let w = self.window;
        let end = |at: usize| at >= w - self.shift;
        self.shift > 0 && ((last_row && end(a / w) != end(b / w)) || (last_column && end(a % w) != end(b % w)))
    }
}

/// All of them one after the other, by pairs, so that no element is copied often.
fn joined<B: Backend>(
    b: &B,
    mut parts: Vec<B::Tensor>,
    join: impl Fn(&B, &B::Tensor, &B::Tensor) -> Computed<B::Tensor>,
) -> Computed<B::Tensor> {
    while parts.len() > 1 {
        let pair = |pair: &[B::Tensor]| match pair {
            [before, after] => join(b, before, after),
            rest => Ok(rest[0].clone()),
        };
        parts = parts.chunks(2).map(pair).collect::<Computed<_>>()?;
    }
    match parts.pop() {
        Some(whole) => Ok(whole),
        None => b.from_f32([1].into(), vec![0.0]),
    }
}

/// The picture that begins at this row and column, and goes on at its start.
fn rolled<B: Backend>(b: &B, x: &B::Tensor, shifts: [usize; 2]) -> Computed<B::Tensor> {
    let mut x = x.clone();
    for (axis, shift) in [Axis::Rows, Axis::Columns].into_iter().zip(shifts) {
        let extent = axis.extent(b, &x)?;
        let shift = shift % extent.max(1);
        if shift > 0 {
            x = axis.join(b, &axis.part(b, &x, shift, extent - shift)?, &axis.part(b, &x, 0, shift)?)?;
        }
    }
    Ok(x)
}

#[derive(Clone, Debug)]
enum Up<P> {
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
        let mut before = || Conv::new(scope.sub("conv_before_upsample.0"), channels, features, 3);
        let up = match upsampler {
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
        };
        Ok(Self { centre, first, embed, groups, norm, body, up })
    }

    fn affine<B: Backend<Param = P>>(b: &B, x: &B::Tensor, [scale, shift]: &[P; 2]) -> Computed<B::Tensor> {
        b.depthwise_conv2d(x, scale, Some(shift), [1, 1], Conv2d::padded(0))
    }

    pub(super) fn features<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let x = Self::affine(b, x, &self.centre[0])?;
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
        let y = match &self.up {
            Up::None(_) => features.clone(),
            Up::Direct(conv, factor) => b.pixel_shuffle(&conv.forward(b, features, None)?, *factor)?,
            Up::Nearest { before, ups, hr, last } => {
                let mut y = slightly_leaky(b, &before.forward(b, features, None)?)?;
                for up in ups {
                    y = b.activation(&up.forward(b, &y)?, Activation::LeakyRelu)?;
                }
                last.forward(b, &hr.forward(b, &y, None)?, None)?
            }
            Up::Shuffle { before, ups, factor, last } => {
                let mut y = slightly_leaky(b, &before.forward(b, features, None)?)?;
                for up in ups {
                    y = b.pixel_shuffle(&up.forward(b, &y, None)?, *factor)?;
                }
                last.forward(b, &y, None)?
            }
        };
        Self::affine(b, &y, &self.centre[1])
    }

    /// A convolution or two at the features' size, and as far as one more pixel at the larger ones.
    pub(super) fn band_context(&self) -> usize {
        match &self.up {
            Up::None(_) => 0,
            Up::Direct(..) => 1,
            Up::Nearest { .. } | Up::Shuffle { .. } => 3,
        }
    }
}

/// The leaky ReLU of the smaller slope.
fn slightly_leaky<B: Backend>(b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
    b.add(&b.scale(&b.activation(x, Activation::Relu)?, 1.0 - SMALL_LEAK)?, &b.scale(x, SMALL_LEAK)?)
}
