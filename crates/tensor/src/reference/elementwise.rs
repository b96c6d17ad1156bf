//! Operations on single elements, and sums over many.

use super::array::Wide;
use crate::{Result, Shape, op_shapes};

/// `f(a, b)` at every element of two arrays of one shape; `names` is what `op` calls them.
pub(super) fn zip(
    op: &'static str,
    names: [&'static str; 2],
    a: &Wide,
    b: &Wide,
    f: impl Fn(f64, f64) -> f64,
) -> Result<Wide> {
    op_shapes::same(op, names[1], a.shape(), b.shape())?;
    Wide::new(a.shape(), a.data().iter().zip(b.data()).map(|(&a, &b)| f(a, b)).collect())
}

/// `sign(x)`, 0 at 0.
pub(super) fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

pub(super) fn add_channels(x: &Wide, v: &Wide) -> Result<Wide> {
    let [batch, pixels, _] = op_shapes::add_channels(x.shape(), v.shape())?;
    let mut y = x.clone();
    for b in 0..batch {
        for pixel in 0..pixels {
            for (y, v) in y.row_mut(b * pixels + pixel).iter_mut().zip(v.row(b)) {
                *y += v;
            }
        }
    }
    Ok(y)
}

/// The mean of all elements; of none, it is not a number.
pub(super) fn mean(x: &Wide) -> Wide {
    let mean = x.data().iter().sum::<f64>() / x.data().len() as f64;
    Wide::filled([1].into(), mean)
}

pub(super) fn mean_backward(dy: &Wide, input: Shape) -> Result<Wide> {
    op_shapes::same("mean_backward", "dy", [1].into(), dy.shape())?;
    Ok(Wide::filled(input, dy.data()[0] / input.count() as f64))
}

pub(super) fn sum_rows(dy: &Wide) -> Wide {
    let mut sum = Wide::filled([dy.shape().last()].into(), 0.0);
    for row in 0..dy.shape().rows() {
        for (sum, dy) in sum.data_mut().iter_mut().zip(dy.row(row)) {
            *sum += dy;
        }
    }
    sum
}

pub(super) fn sum_pixels(dy: &Wide) -> Result<Wide> {
    let [batch, h, w, channels] = op_shapes::picture("sum_pixels", "dy", dy.shape())?;
    let mut sum = Wide::filled([batch, channels].into(), 0.0);
    for b in 0..batch {
        for pixel in 0..h * w {
            for (sum, dy) in sum.row_mut(b).iter_mut().zip(dy.row(b * h * w + pixel)) {
                *sum += dy;
            }
        }
    }
    Ok(sum)
}
