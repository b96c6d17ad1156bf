//! Linear maps, and what follows every map with weights.

use super::{activation, array::Wide, elementwise::zip};
use crate::{Activation, Result, op_shapes};

/// `activation(y + bias) + residual`.
pub(super) fn epilogue(
    op: &'static str,
    mut y: Wide,
    bias: Option<&Wide>,
    residual: Option<&Wide>,
    activation: Activation,
) -> Result<Wide> {
    if let Some(bias) = bias {
        op_shapes::vector(op, "bias", y.shape().last(), bias.shape())?;
        for row in 0..y.shape().rows() {
            for (y, bias) in y.row_mut(row).iter_mut().zip(bias.data()) {
                *y += bias;
            }
        }
    }
    let y = activation::activation(&y, activation);
    match residual {
        Some(residual) => zip(op, ["y", "residual"], &y, residual, |y, residual| y + residual),
        None => Ok(y),
    }
}

pub(super) fn linear(
    x: &Wide,
    weight: &Wide,
    bias: Option<&Wide>,
    residual: Option<&Wide>,
    activation: Activation,
) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::linear(x.shape(), weight.shape())?, 0.0);
    for row in 0..y.shape().rows() {
        let y = y.row_mut(row);
        for (i, x) in x.row(row).iter().enumerate() {
            for (y, w) in y.iter_mut().zip(weight.row(i)) {
                *y += x * w;
            }
        }
    }
    epilogue("linear", y, bias, residual, activation)
}

pub(super) fn backward_input(dy: &Wide, weight: &Wide) -> Result<Wide> {
    let inputs = weight.shape().rows();
    let mut dx = Wide::filled(dy.shape().with_last(inputs), 0.0);
    op_shapes::same("linear_backward_input", "dy", op_shapes::linear(dx.shape(), weight.shape())?, dy.shape())?;
    for row in 0..dy.shape().rows() {
        for (i, dx) in dx.row_mut(row).iter_mut().enumerate() {
            *dx = weight.row(i).iter().zip(dy.row(row)).map(|(w, dy)| w * dy).sum();
        }
    }
    Ok(dx)
}

pub(super) fn backward_weight(x: &Wide, dy: &Wide) -> Result<Wide> {
    let [inputs, outputs] = [x.shape().last(), dy.shape().last()];
    op_shapes::same("linear_backward_weight", "dy", x.shape().with_last(outputs), dy.shape())?;
    let mut dw = Wide::filled([inputs, outputs].into(), 0.0);
    for row in 0..x.shape().rows() {
        for (i, x) in x.row(row).iter().enumerate() {
            for (dw, dy) in dw.row_mut(i).iter_mut().zip(dy.row(row)) {
                *dw += x * dy;
            }
        }
    }
    Ok(dw)
}
