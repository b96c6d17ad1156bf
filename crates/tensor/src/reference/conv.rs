//! 2-D convolution.

use super::{array::Wide, linear::epilogue};
use crate::{Conv2d, Result, Shape, op_shapes};

/// Calls `f(input pixel, output pixel, weight row)` for every product of the convolution.
///
/// Pixels are rows of `x (B, H, W, I)` and `y (B, H', W', O)`; a weight row is `(ky, kx, i)` with `i` still to be added.
fn for_each_tap(x: Shape, weight: Shape, y: Shape, options: Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    let (&[batch, h, w, channels], &[kh, kw, ..], &[_, out_h, out_w, _]) = (&*x, &*weight, &*y) else { return };
    let Conv2d { stride, padding, .. } = options;
    for b in 0..batch {
        for (oy, ox) in pixels(out_h, out_w) {
            for (ky, kx) in pixels(kh, kw) {
                // The position in the padded picture, then in the picture itself.
                let iy = (oy * stride + ky).checked_sub(padding.top).filter(|&iy| iy < h);
                let ix = (ox * stride + kx).checked_sub(padding.left).filter(|&ix| ix < w);
                if let (Some(iy), Some(ix)) = (iy, ix) {
                    f((b * h + iy) * w + ix, (b * out_h + oy) * out_w + ox, (ky * kw + kx) * channels);
                }
            }
        }
    }
}

fn pixels(h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..h).flat_map(move |y| (0..w).map(move |x| (y, x)))
}

pub(super) fn conv2d(
    x: &Wide,
    weight: &Wide,
    bias: Option<&Wide>,
    residual: Option<&Wide>,
    options: Conv2d,
) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::conv2d(x.shape(), weight.shape(), &options)?, 0.0);
    for_each_tap(x.shape(), weight.shape(), y.shape(), options, |input, output, tap| {
        let y = y.row_mut(output);
        for (i, x) in x.row(input).iter().enumerate() {
            for (y, w) in y.iter_mut().zip(weight.row(tap + i)) {
                *y += x * w;
            }
        }
    });
    epilogue("conv2d", y, bias, residual, options.activation)
}

pub(super) fn backward_input(dy: &Wide, weight: &Wide, input: Shape, options: Conv2d) -> Result<Wide> {
    op_shapes::same("conv2d_backward_input", "dy", op_shapes::conv2d(input, weight.shape(), &options)?, dy.shape())?;
    let mut dx = Wide::filled(input, 0.0);
    for_each_tap(input, weight.shape(), dy.shape(), options, |input, output, tap| {
        for (i, dx) in dx.row_mut(input).iter_mut().enumerate() {
            *dx += weight.row(tap + i).iter().zip(dy.row(output)).map(|(w, dy)| w * dy).sum::<f64>();
        }
    });
    Ok(dx)
}

pub(super) fn backward_weight(x: &Wide, dy: &Wide, kernel: [usize; 2], options: Conv2d) -> Result<Wide> {
    let weight = Shape::new(&[kernel[0], kernel[1], x.shape().last(), dy.shape().last()])?;
    op_shapes::same("conv2d_backward_weight", "dy", op_shapes::conv2d(x.shape(), weight, &options)?, dy.shape())?;
    let mut dw = Wide::filled(weight, 0.0);
    for_each_tap(x.shape(), weight, dy.shape(), options, |input, output, tap| {
        for (i, x) in x.row(input).iter().enumerate() {
            for (dw, dy) in dw.row_mut(tap + i).iter_mut().zip(dy.row(output)) {
                *dw += x * dy;
            }
        }
    });
    Ok(dw)
}
