//! Attention within the windows of a picture, as Swin transformers have it (Liu et al. 2021), and what stands around it.

use calotype_tensor::{Activation, Attention, Backend, ParamKind, Result as Computed, op_shapes};

use crate::{Init, Result, Scope, layers::Linear, padding::Axis};

/// What is added to the score of a pixel from the other end of the picture.
const APART: f32 = -100.0;

/// Two linear maps with a GELU between them.
#[derive(Clone, Debug)]
pub(super) struct Mlp<P> {
    fc1: Linear<P>,
    fc2: Linear<P>,
}

impl<P> Mlp<P> {
    pub(super) fn new(mut scope: Scope<'_, P>, channels: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(scope.sub("fc1"), channels, hidden)?,
            fc2: Linear::new(scope.sub("fc2"), hidden, channels)?,
        })
    }

    pub(super) fn forward<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        residual: &B::Tensor,
    ) -> Computed<B::Tensor> {
        let hidden = self.fc1.forward_with(b, x, None, Activation::Gelu)?;
        self.fc2.forward_with(b, &hidden, Some(residual), Activation::None)
    }
}

/// Windows that attend to windows: how many there are, pixels of one that asks and of one that is asked, heads and their width.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) count: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
}

/// Attention with a number added to each score: `q (count · queries, heads · width)`, `k` and `v` likewise, result as `q`. `added` gives it
/// for a window, query, key and head.
///
/// It comes in as more channels: those of a query say which of its window it is, and those of a key what each of them has with it.
pub(super) fn biased_attention<B: Backend>(
    b: &B,
    [q, k, v]: [&B::Tensor; 3],
    Sizes { count, queries, keys, heads, width }: Sizes,
    added: impl Fn(usize, [usize; 2], usize) -> f32,
) -> Computed<B::Tensor> {
    let wide = width + queries;
    let root = (wide as f32).sqrt();
    let with = |x: &B::Tensor, pixels: usize, more: Vec<f32>| {
        let rows = count * pixels * heads;
        let x = b.reshape(x, [rows, width].into())?;
        let more = b.from_f32([rows, queries].into(), more)?;
        b.reshape(&b.concat(&x, &more)?, [count, pixels, heads * wide].into())
    };
    let mut which = vec![0.0; count * queries * heads * queries];
    for (row, which) in which.chunks_exact_mut(queries.max(1)).enumerate() {
        which[row / heads % queries] = root;
    }
    let mut what = vec![0.0; count * keys * heads * queries];
    for (row, what) in what.chunks_exact_mut(queries.max(1)).enumerate() {
        let (window, key, head) = (row / heads / keys, row / heads % keys, row % heads);
        what.iter_mut().enumerate().for_each(|(query, to)| *to = added(window, [query, key], head));
    }
    let query = with(&b.scale(q, root / (width as f32).sqrt())?, queries, which)?;
    let key = with(k, keys, what)?;
    let value = with(v, keys, vec![0.0; count * keys * heads * queries])?;
    let y = b.attention(&query, &key, &value, Attention { heads, causal: false })?;
    let y = b.narrow(&b.reshape(&y, [count * queries * heads, wide].into())?, 0, width)?;
    b.reshape(&y, [count * queries, heads * width].into())
}

/// The windows of a row of them `(1, h, W, C)`, every `step` columns, `width` columns wide: `(count · h · width, C)`.
pub(super) fn cut_columns<B: Backend>(b: &B, x: &B::Tensor, step: usize, width: usize) -> Computed<B::Tensor> {
    let [_, h, all, channels] = op_shapes::picture("windows", "a strip", b.shape(x))?;
    let x = b.reshape(x, [h, all * channels].into())?;
    let count = (all - width) / step + 1;
    let size = h * width * channels;
    let columns = (0..count)
        .map(|n| b.reshape(&b.narrow(&x, n * step * channels, width * channels)?, [1, size].into()))
        .collect::<Computed<_>>()?;
    let windows = joined(b, columns, |b, before, after| b.concat(before, after))?;
    b.reshape(&windows, [count * h * width, channels].into())
}

/// Windows side by side, `(count · h · width, C)`, as a row of them `(1, h, count · width, C)`.
pub(super) fn join_columns<B: Backend>(b: &B, x: &B::Tensor, [h, width]: [usize; 2]) -> Computed<B::Tensor> {
    let shape = b.shape(x);
    let channels = shape.last();
    let size = h * width * channels;
    let count = shape.count() / size.max(1);
    let x = b.reshape(x, [1, count * size].into())?;
    let columns = (0..count)
        .map(|n| b.reshape(&b.narrow(&x, n * size, size)?, [h, width * channels].into()))
        .collect::<Computed<_>>()?;
    let y = joined(b, columns, |b, before, after| b.concat(before, after))?;
    b.reshape(&y, [1, h, count * width, channels].into())
}

/// Attention of each pixel to those of its window, with a bias by where they lie to each other. Windows are shifted by `shift`.
#[derive(Clone, Debug)]
pub(super) struct WindowAttention<P> {
    /// `((2w − 1)², heads)`.
    bias: P,
    qkv: Linear<P>,
    proj: Linear<P>,
    window: usize,
    heads: usize,
    shift: usize,
}

impl<P> WindowAttention<P> {
    pub(super) fn new(
        mut scope: Scope<'_, P>,
        channels: usize,
        heads: usize,
        window: usize,
        shift: usize,
    ) -> Result<Self> {
        let rows = (2 * window - 1) * (2 * window - 1);
        Ok(Self {
            bias: scope.param("relative_position_bias_table", ParamKind::Table, &[rows, heads], Init::Normal(0.02))?,
            qkv: Linear::new(scope.sub("qkv"), channels, 3 * channels)?,
            proj: Linear::new(scope.sub("proj"), channels, channels)?,
            window,
            heads,
            shift,
        })
    }

    /// Of one picture whose sides are multiples of the window's.
    pub(super) fn attend<B: Backend<Param = P>>(&self, b: &B, x: &B::Tensor) -> Computed<B::Tensor> {
        let [_, height, width, _] = op_shapes::picture("windows", "x", b.shape(x))?;
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

    /// A row of windows `(1, w, W, C)`.
    fn strip<B: Backend<Param = P>>(
        &self,
        b: &B,
        x: &B::Tensor,
        relative: &[f32],
        is_last: bool,
    ) -> Computed<B::Tensor> {
        let [_, w, width, channels] = op_shapes::picture("windows", "a strip", b.shape(x))?;
        let (heads, area, count) = (self.heads, w * w, width / w);
        let qkv = self.qkv.forward(b, &cut_columns(b, x, w, w)?)?;
        let part = |n: usize| b.narrow(&qkv, n * channels, channels);
        let sizes = Sizes { count, queries: area, keys: area, heads, width: channels / heads };
        let added = |window: usize, [query, key]: [usize; 2], head: usize| {
            let apart = self.is_apart(key, query, [is_last, window + 1 == count]);
            relative[(key * area + query) * heads + head] + if apart { APART } else { 0.0 }
        };
        let y = biased_attention(b, [&part(0)?, &part(1)?, &part(2)?], sizes, added)?;
        join_columns(b, &self.proj.forward(b, &y)?, [w, w])
    }

    /// Whether two pixels of a window come from different ends of the picture: of the last row of windows, or the last column.
    fn is_apart(&self, a: usize, b: usize, [last_row, last_column]: [bool; 2]) -> bool {
        let w = self.window;
        let end = |at: usize| at >= w - self.shift;
        self.shift > 0 && ((last_row && end(a / w) != end(b / w)) || (last_column && end(a % w) != end(b % w)))
    }
}

/// All of them one after the other, by pairs, so that no element is copied often.
pub(super) fn joined<B: Backend>(
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
