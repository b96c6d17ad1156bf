//! Convolution of each channel by itself.

use super::array::Wide;
use crate::{Conv2d, Result, Shape, op_shapes};

/// Calls `f(output pixel, input pixel, tap)` for everything that the convolution connects.
fn for_each_tap(
    input: Shape,
    output: Shape,
    [kh, kw]: [usize; 2],
    options: Conv2d,
    mut f: impl FnMut(usize, usize, usize),
) {
    let (&[batch, height, width, _], &[_, rows, columns, _]) = (&*input, &*output) else { return };
    let at = |i: usize, k: usize, before: usize, extent: usize| {
        (i * options.stride + k).checked_sub(before).filter(|&i| i < extent)
    };
    for (b, y, x) in (0..batch).flat_map(|b| (0..rows).flat_map(move |y| (0..columns).map(move |x| (b, y, x)))) {
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let place = at(y, ky, options.padding.top, height).zip(at(x, kx, options.padding.left, width));
            if let Some((from_y, from_x)) = place {
                f((b * rows + y) * columns + x, (b * height + from_y) * width + from_x, ky * kw + kx);
            }
        }
    }
}

pub(super) fn forward(
    x: &Wide,
    weight: &Wide,
    bias: Option<&Wide>,
    kernel: [usize; 2],
    options: Conv2d,
) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::depthwise_conv2d(x.shape(), weight.shape(), kernel, &options)?, 0.0);
    for_each_tap(x.shape(), y.shape(), kernel, options, |to, from, tap| {
        for ((y, x), w) in y.row_mut(to).iter_mut().zip(x.row(from)).zip(weight.row(tap)) {
            *y += x * w;
        }
    });
    if let Some(bias) = bias {
        op_shapes::vector("depthwise_conv2d", "bias", y.shape().last(), bias.shape())?;
        for row in 0..y.shape().rows() {
            y.row_mut(row).iter_mut().zip(bias.data()).for_each(|(y, b)| *y += b);
        }
    }
    Ok(y)
}

pub(super) fn backward_input(
    dy: &Wide,
    weight: &Wide,
    input: Shape,
    kernel: [usize; 2],
    options: Conv2d,
) -> Result<Wide> {
    let output = op_shapes::depthwise_conv2d(input, weight.shape(), kernel, &options)?;
    op_shapes::same("depthwise_conv2d_backward_input", "dy", output, dy.shape())?;
    let mut dx = Wide::filled(input, 0.0);
    for_each_tap(input, output, kernel, options, |to, from, tap| {
        for ((dx, dy), w) in dx.row_mut(from).iter_mut().zip(dy.row(to)).zip(weight.row(tap)) {
            *dx += dy * w;
        }
    });
    Ok(dx)
}

pub(super) fn backward_weight(x: &Wide, dy: &Wide, kernel: [usize; 2], options: Conv2d) -> Result<Wide> {
    let weight = Shape::new(&[kernel[0] * kernel[1], x.shape().last()])?;
    let output = op_shapes::depthwise_conv2d(x.shape(), weight, kernel, &options)?;
    op_shapes::same("depthwise_conv2d_backward_weight", "dy", output, dy.shape())?;
    let mut dweight = Wide::filled(weight, 0.0);
    for_each_tap(x.shape(), output, kernel, options, |to, from, tap| {
        for ((dw, dy), x) in dweight.row_mut(tap).iter_mut().zip(dy.row(to)).zip(x.row(from)) {
            *dw += dy * x;
        }
    });
    Ok(dweight)
}
