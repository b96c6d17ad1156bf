//! Operations that move elements and compute nothing, and the sums that are their gradients.

use super::array::Wide;
use crate::{Error, Result, Shape, op_shapes};

pub(super) fn narrow(x: &Wide, start: usize, length: usize) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::narrow(x.shape(), start, length)?, 0.0);
    for row in 0..x.shape().rows() {
        y.row_mut(row).copy_from_slice(&x.row(row)[start..][..length]);
    }
    Ok(y)
}

pub(super) fn narrow_backward(dy: &Wide, start: usize, input: Shape) -> Result<Wide> {
    let length = dy.shape().last();
    op_shapes::same("narrow_backward", "dy", op_shapes::narrow(input, start, length)?, dy.shape())?;
    let mut dx = Wide::filled(input, 0.0);
    for row in 0..input.rows() {
        dx.row_mut(row)[start..][..length].copy_from_slice(dy.row(row));
    }
    Ok(dx)
}

pub(super) fn concat(a: &Wide, b: &Wide) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::concat(a.shape(), b.shape())?, 0.0);
    for row in 0..y.shape().rows() {
        let (left, right) = y.row_mut(row).split_at_mut(a.shape().last());
        left.copy_from_slice(a.row(row));
        right.copy_from_slice(b.row(row));
    }
    Ok(y)
}

/// Calls `f(small pixel, large pixel)` for every pixel of the large `(B, 2H, 2W, C)`.
fn for_each_copy(large: Shape, mut f: impl FnMut(usize, usize)) {
    let &[batch, h, w, _] = &*large else { return };
    for b in 0..batch {
        for y in 0..h {
            for x in 0..w {
                f((b * (h / 2) + y / 2) * (w / 2) + x / 2, (b * h + y) * w + x);
            }
        }
    }
}

pub(super) fn upsample_nearest_2x(x: &Wide) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::upsample_nearest_2x(x.shape())?, 0.0);
    for_each_copy(y.shape(), |small, large| y.row_mut(large).copy_from_slice(x.row(small)));
    Ok(y)
}

pub(super) fn upsample_nearest_2x_backward(dy: &Wide) -> Result<Wide> {
    let mut dx = Wide::filled(op_shapes::upsample_nearest_2x_backward(dy.shape())?, 0.0);
    for_each_copy(dy.shape(), |small, large| {
        for (dx, dy) in dx.row_mut(small).iter_mut().zip(dy.row(large)) {
            *dx += dy;
        }
    });
    Ok(dx)
}

/// The element of each 2×2 block of `x` that is the greatest, the first of equal ones: `f(place in the result, place in x)`.
fn for_each_greatest(x: &Wide, small: Shape, mut f: impl FnMut(usize, usize)) {
    let (&[_, height, width, _], &[batch, h, w, channels]) = (&*x.shape(), &*small) else { return };
    for pixel in 0..batch * h * w {
        let (b, y, column) = (pixel / (h * w), pixel / w % h, pixel % w);
        for c in 0..channels {
            let place = |i: usize| ((b * height + 2 * y + i / 2) * width + 2 * column + i % 2) * channels + c;
            let greatest = (1..4).fold(0, |best, i| if x.data()[place(i)] > x.data()[place(best)] { i } else { best });
            f(pixel * channels + c, place(greatest));
        }
    }
}

pub(super) fn max_pool_2x(x: &Wide) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::max_pool_2x(x.shape())?, 0.0);
    for_each_greatest(x, y.shape(), |to, from| y.data_mut()[to] = x.data()[from]);
    Ok(y)
}

pub(super) fn max_pool_2x_backward(x: &Wide, dy: &Wide) -> Result<Wide> {
    op_shapes::same("max_pool_2x_backward", "dy", op_shapes::max_pool_2x(x.shape())?, dy.shape())?;
    let mut dx = Wide::filled(x.shape(), 0.0);
    for_each_greatest(x, dy.shape(), |from, to| dx.data_mut()[to] += dy.data()[from]);
    Ok(dx)
}

/// Calls `f(pixel of few channels, pixel of many, line and column in it)` for every pixel of `(B, f·H, f·W, C)`.
fn for_each_subpixel(large: Shape, factor: usize, mut f: impl FnMut(usize, usize, usize)) {
    let &[batch, h, w, _] = &*large else { return };
    for pixel in 0..batch * h * w {
        let (line, column) = (pixel / w, pixel % w);
        f(pixel, line / factor * (w / factor) + column / factor, line % factor * factor + column % factor);
    }
}

pub(super) fn pixel_shuffle(x: &Wide, factor: usize) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::pixel_shuffle(x.shape(), factor)?, 0.0);
    for_each_subpixel(y.shape(), factor, |large, small, place| {
        for (c, y) in y.row_mut(large).iter_mut().enumerate() {
            *y = x.row(small)[c * factor * factor + place];
        }
    });
    Ok(y)
}

pub(super) fn pixel_unshuffle(x: &Wide, factor: usize) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::pixel_unshuffle(x.shape(), factor)?, 0.0);
    for_each_subpixel(x.shape(), factor, |large, small, place| {
        for (c, x) in x.row(large).iter().enumerate() {
            y.row_mut(small)[c * factor * factor + place] = *x;
        }
    });
    Ok(y)
}

pub(super) fn embedding(table: &Wide, ids: &[u32], batch: usize) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::embedding(table.shape(), ids, batch)?, 0.0);
    for (row, &id) in ids.iter().enumerate() {
        y.row_mut(row).copy_from_slice(table.row(id as usize));
    }
    Ok(y)
}

pub(super) fn embedding_backward(dy: &Wide, ids: &[u32], rows: usize) -> Result<Wide> {
    let op = "embedding_backward";
    let [batch, length, channels] = op_shapes::sequence(op, "dy", dy.shape())?;
    if batch * length != ids.len() {
        return Err(Error::Invalid { op, message: format!("{} ids for dy of shape {}", ids.len(), dy.shape()) });
    }
    let table = Shape::new(&[rows, channels])?;
    if !ids.is_empty() {
        op_shapes::embedding(table, ids, batch)?;
    }
    let mut dtable = Wide::filled(table, 0.0);
    for (row, &id) in ids.iter().enumerate() {
        for (sum, dy) in dtable.row_mut(id as usize).iter_mut().zip(dy.row(row)) {
            *sum += dy;
        }
    }
    Ok(dtable)
}
