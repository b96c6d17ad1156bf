//! The shape of every operation's result, and the check of its arguments: one place for all backends.

use crate::{Activation, Attention, Conv2d, Error, ParamKind, Result, Shape};

fn shape_error<T>(op: &'static str, what: &'static str, expected: impl Into<String>, got: Shape) -> Result<T> {
    Err(Error::Shape { op, what, expected: expected.into(), got })
}

/// Checks that `got` is `expected`.
pub fn same(op: &'static str, what: &'static str, expected: Shape, got: Shape) -> Result<()> {
    if expected == got { Ok(()) } else { shape_error(op, what, expected.to_string(), got) }
}

/// Checks that `data` has as many elements as `shape`, and at least one. So no tensor is empty, and no kernel need think of it.
pub fn data(op: &'static str, shape: Shape, length: usize) -> Result<()> {
    if shape.count() == length && length > 0 {
        return Ok(());
    }
    Err(Error::Invalid {
        op,
        message: format!("{length} elements were given for the shape {shape}, expected {}", shape.count()),
    })
}

/// The four extents of a `(B, H, W, C)` tensor.
pub fn picture(op: &'static str, what: &'static str, x: Shape) -> Result<[usize; 4]> {
    match *x {
        [b, h, w, c] => Ok([b, h, w, c]),
        _ => shape_error(op, what, "(B, H, W, C)", x),
    }
}

/// The three extents of a `(B, L, C)` tensor.
pub fn sequence(op: &'static str, what: &'static str, x: Shape) -> Result<[usize; 3]> {
    match *x {
        [b, l, c] => Ok([b, l, c]),
        _ => shape_error(op, what, "(B, L, C)", x),
    }
}

/// Checks that a parameter has the rank of its kind.
pub fn param(kind: ParamKind, shape: Shape) -> Result<()> {
    let (rank, layout) = match kind {
        ParamKind::Conv => (4, "(KH, KW, I, O)"),
        ParamKind::UpsampledConv => (4, "(3, 3, I, O)"),
        ParamKind::Linear => (2, "(I, O)"),
        ParamKind::Vector => (1, "(C)"),
        ParamKind::Table => (2, "(R, C)"),
    };
    if shape.len() == rank { Ok(()) } else { shape_error("param", "data", layout, shape) }
}

/// The layout of its kind for a parameter whose shape in a file is `shape`, with `count` elements:
/// `(O, I, KH, KW)` becomes `(KH, KW, I, O)`, `(O, I)` becomes `(I, O)`, others stay.
pub fn param_from_file(kind: ParamKind, shape: Shape, count: usize) -> Result<Shape> {
    data("param", shape, count)?;
    match (kind, &*shape) {
        (ParamKind::Conv | ParamKind::UpsampledConv, &[o, i, kh, kw]) => Ok([kh, kw, i, o].into()),
        (ParamKind::Conv | ParamKind::UpsampledConv, _) => shape_error("param", "data", "(O, I, KH, KW)", shape),
        (ParamKind::Linear, &[o, i]) => Ok([i, o].into()),
        (ParamKind::Linear, _) => shape_error("param", "data", "(O, I)", shape),
        (ParamKind::Vector | ParamKind::Table, _) => param(kind, shape).map(|()| shape),
    }
}

/// Checks a `(channels)` parameter.
pub fn vector(op: &'static str, what: &'static str, channels: usize, got: Shape) -> Result<()> {
    same(op, what, [channels].into(), got)
}

/// The result of a convolution of `x (B, H, W, I)` with `weight (KH, KW, I, O)`.
pub fn conv2d(x: Shape, weight: Shape, options: &Conv2d) -> Result<Shape> {
    let op = "conv2d";
    let [b, h, w, c] = picture(op, "x", x)?;
    let [kh, kw, i, o] = *weight else { return shape_error(op, "weight", "(KH, KW, I, O)", weight) };
    if i != c {
        return shape_error(op, "x", format!("(B, H, W, {i})"), x);
    }
    let p = options.padding;
    let extent = |n: usize, before: usize, after: usize, k: usize| -> Option<usize> {
        n.checked_add(before)?.checked_add(after)?.checked_sub(k)?.checked_div(options.stride).map(|n| n + 1)
    };
    match (extent(h, p.top, p.bottom, kh), extent(w, p.left, p.right, kw)) {
        (Some(h), Some(w)) if kh * kw > 0 => Shape::new(&[b, h, w, o]),
        (Some(_), Some(_)) => shape_error(op, "weight", "at least one kernel position", weight),
        _ => Err(Error::Invalid {
            op,
            message: format!("a {kh}×{kw} kernel with stride {} does not fit into {h}×{w} pixels", options.stride),
        }),
    }
}

/// The result of upsampling `x (B, H, W, I)` and a convolution with `weight (3, 3, I, O)`.
pub fn upsample_conv2d(x: Shape, weight: Shape) -> Result<Shape> {
    let [3, 3, _, _] = *weight else { return shape_error("upsample_conv2d", "weight", "(3, 3, I, O)", weight) };
    conv2d(upsample_nearest_2x(x)?, weight, &Conv2d::padded(1))
}

/// The result of [`Backend::shifted_conv2d`](crate::Backend::shifted_conv2d).
///
/// # Errors
/// The arguments don't fit.
pub fn shifted_conv2d(x: Shape, shift: Shape, weight: Shape, options: &Conv2d) -> Result<Shape> {
    let op = "shifted_conv2d";
    if options.activation != Activation::None {
        return Err(Error::Invalid { op, message: format!("{:?} can't follow it, only None", options.activation) });
    }
    let y = conv2d(x, weight, options)?;
    let [batch, _, _, channels] = picture(op, "y", y)?;
    same(op, "shift", [batch, channels].into(), shift)?;
    Ok(y)
}

/// The result of a convolution of each channel of `x (B, H, W, C)` with `weight (KH·KW, C)`.
pub fn depthwise_conv2d(x: Shape, weight: Shape, [kh, kw]: [usize; 2], options: &Conv2d) -> Result<Shape> {
    let op = "depthwise_conv2d";
    let [_, _, _, c] = picture(op, "x", x)?;
    let taps = kh.checked_mul(kw).unwrap_or_default();
    same(op, "weight", [taps, c].into(), weight)?;
    if options.activation != Activation::None {
        return Err(Error::Invalid { op, message: format!("{:?} can't follow it, only None", options.activation) });
    }
    // The extents are those of any convolution.
    conv2d(x, [kh, kw, c, c].into(), options)
}

/// The result of pooling blocks of 2×2.
pub fn max_pool_2x(x: Shape) -> Result<Shape> {
    match picture("max_pool_2x", "x", x)? {
        [b, h, w, c] if h > 1 && w > 1 => Ok([b, h / 2, w / 2, c].into()),
        _ => shape_error("max_pool_2x", "x", "at least 2×2 pixels", x),
    }
}

/// The result of a linear map of `x (rows, I)` by `weight (I, O)`.
pub fn linear(x: Shape, weight: Shape) -> Result<Shape> {
    let [i, o] = *weight else { return shape_error("linear", "weight", "(I, O)", weight) };
    if x.last() != i {
        return shape_error("linear", "x", format!("(rows, {i})"), x);
    }
    Ok(x.with_last(o))
}

/// Batch, queries, keys and width of a head of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionExtents {
    /// B.
    pub batch: usize,
    /// Lq.
    pub queries: usize,
    /// Lk.
    pub keys: usize,
    /// D.
    pub head_dim: usize,
}

/// Checks `q (B, Lq, heads·D)`, `k` and `v (B, Lk, heads·D)`.
pub fn attention(q: Shape, k: Shape, v: Shape, options: &Attention) -> Result<AttentionExtents> {
    let op = "attention";
    let [batch, queries, c] = sequence(op, "q", q)?;
    let [_, keys, _] = sequence(op, "k", k)?;
    same(op, "k", [batch, keys, c].into(), k)?;
    same(op, "v", k, v)?;
    if options.heads == 0 || !c.is_multiple_of(options.heads) {
        return Err(Error::Invalid {
            op,
            message: format!("{c} channels can't be divided among {} heads", options.heads),
        });
    }
    if keys == 0 {
        return shape_error(op, "k", "at least one key", k);
    }
    Ok(AttentionExtents { batch, queries, keys, head_dim: c / options.heads })
}

/// Checks a group norm and gives `[B, H·W, C]`.
pub fn group_norm(x: Shape, gamma: Shape, beta: Shape, groups: usize, activation: Activation) -> Result<[usize; 3]> {
    let op = "group_norm";
    if !matches!(activation, Activation::None | Activation::Silu) {
        return Err(Error::Invalid { op, message: format!("{activation:?} can't follow it, only Silu or None") });
    }
    let [b, h, w, c] = picture(op, "x", x)?;
    vector(op, "gamma", c, gamma)?;
    vector(op, "beta", c, beta)?;
    if groups == 0 || !c.is_multiple_of(groups) {
        return Err(Error::Invalid { op, message: format!("{c} channels can't be divided into {groups} groups") });
    }
    Ok([b, h * w, c])
}

/// The result of GEGLU.
pub fn geglu(x: Shape) -> Result<Shape> {
    if !x.last().is_multiple_of(2) {
        return shape_error("geglu", "x", "(rows, 2C)", x);
    }
    Ok(x.with_last(x.last() / 2))
}

/// Checks `x (B, H, W, C)` and `v (B, C)` and gives `[B, H·W, C]`.
pub fn add_channels(x: Shape, v: Shape) -> Result<[usize; 3]> {
    let [b, h, w, c] = picture("add_channels", "x", x)?;
    same("add_channels", "v", [b, c].into(), v)?;
    Ok([b, h * w, c])
}

/// Checks that `shape` has as many elements as `x`.
pub fn reshape(x: Shape, shape: Shape) -> Result<()> {
    if x.count() == shape.count() {
        Ok(())
    } else {
        shape_error("reshape", "x", format!("as many elements as {shape}"), x)
    }
}

/// The result of taking part of the last dimension.
pub fn narrow(x: Shape, start: usize, length: usize) -> Result<Shape> {
    match start.checked_add(length) {
        Some(end) if end <= x.last() && length > 0 => Ok(x.with_last(length)),
        _ => shape_error("narrow", "x", format!("at least {start} + {} channels", length.max(1)), x),
    }
}

/// The result of joining two tensors along the last dimension.
pub fn concat(a: Shape, b: Shape) -> Result<Shape> {
    same("concat", "b", a.with_last(b.last()), b)?;
    Ok(a.with_last(a.last() + b.last()))
}

/// The result of nearest upsampling.
pub fn upsample_nearest_2x(x: Shape) -> Result<Shape> {
    let [b, h, w, c] = picture("upsample_nearest_2x", "x", x)?;
    Ok([b, 2 * h, 2 * w, c].into())
}

/// The shape before nearest upsampling.
pub fn upsample_nearest_2x_backward(dy: Shape) -> Result<Shape> {
    let [b, h, w, c] = picture("upsample_nearest_2x_backward", "dy", dy)?;
    if h % 2 + w % 2 != 0 {
        return shape_error("upsample_nearest_2x_backward", "dy", "(B, 2H, 2W, C)", dy);
    }
    Ok([b, h / 2, w / 2, c].into())
}

/// The result of spreading the channels of `x (B, H, W, C·factor²)` over `factor` by `factor` pixels each.
pub fn pixel_shuffle(x: Shape, factor: usize) -> Result<Shape> {
    let op = "pixel_shuffle";
    let [b, h, w, c] = picture(op, "x", x)?;
    let area = factor.checked_mul(factor).filter(|&area| area > 0 && c.is_multiple_of(area));
    match (area, h.checked_mul(factor), w.checked_mul(factor)) {
        (Some(area), Some(h), Some(w)) => Shape::new(&[b, h, w, c / area]),
        _ => shape_error(op, "x", format!("channels that are a multiple of {factor} squared"), x),
    }
}

/// The result of gathering `factor` by `factor` pixels of `x (B, H, W, C)` in the channels of one.
pub fn pixel_unshuffle(x: Shape, factor: usize) -> Result<Shape> {
    let op = "pixel_unshuffle";
    let [b, h, w, c] = picture(op, "x", x)?;
    let channels = factor.checked_mul(factor).and_then(|area| c.checked_mul(area));
    match channels {
        Some(channels) if factor > 0 && h.is_multiple_of(factor) && w.is_multiple_of(factor) => {
            Shape::new(&[b, h / factor, w / factor, channels])
        }
        _ => shape_error(op, "x", format!("sides that are multiples of {factor}"), x),
    }
}

/// The result of an embedding lookup.
pub fn embedding(table: Shape, ids: &[u32], batch: usize) -> Result<Shape> {
    let op = "embedding";
    let [rows, c] = *table else { return shape_error(op, "table", "(R, C)", table) };
    if batch == 0 || !ids.len().is_multiple_of(batch) {
        return Err(Error::Invalid {
            op,
            message: format!("{} ids can't be divided into {batch} sequences", ids.len()),
        });
    }
    data(op, [ids.len().max(1)].into(), ids.len())?;
    match ids.iter().find(|&&id| id as usize >= rows) {
        Some(id) => Err(Error::Invalid { op, message: format!("id {id} is not below the table's {rows} rows") }),
        None => Ok([batch, ids.len() / batch, c].into()),
    }
}
