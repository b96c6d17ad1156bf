//! The activation functions, their derivatives, and GEGLU.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::{array::Wide, elementwise::zip};
use crate::{Activation, Result, op_shapes};

/// The factor of CLIP's approximation of GELU (Hendrycks & Gimpel 2016, section 2).
const QUICK_GELU: f64 = 1.702;

/// The slope of the leaky ReLU below 0.
const LEAK: f64 = 0.2;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The standard normal distribution function, Φ.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// The standard normal density, φ.
fn normal_pdf(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// `activation(x)` of one number.
pub(super) fn value(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => x * normal_cdf(x),
        Activation::QuickGelu => x * sigmoid(QUICK_GELU * x),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu => {
            if x > 0.0 {
                x
            } else {
                LEAK * x
            }
        }
        Activation::Sigmoid => sigmoid(x),
    }
}

/// `d activation(x) / dx`.
pub(super) fn derivative(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => 1.0,
        Activation::Silu => {
            let s = sigmoid(x);
            s + x * s * (1.0 - s)
        }
        Activation::Gelu => normal_cdf(x) + x * normal_pdf(x),
        Activation::QuickGelu => {
            let s = sigmoid(QUICK_GELU * x);
            s + QUICK_GELU * x * s * (1.0 - s)
        }
        Activation::Relu => f64::from(x > 0.0),
        Activation::LeakyRelu => {
            if x > 0.0 {
                1.0
            } else {
                LEAK
            }
        }
        Activation::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
    }
}

pub(super) fn activation(x: &Wide, activation: Activation) -> Wide {
    x.convert(|x| value(activation, x))
}

pub(super) fn activation_backward(x: &Wide, dy: &Wide, activation: Activation) -> Result<Wide> {
    zip("activation_backward", ["x", "dy"], x, dy, |x, dy| dy * derivative(activation, x))
}

pub(super) fn prelu(x: &Wide, slope: &Wide) -> Wide {
    let mut y = x.clone();
    for row in 0..x.shape().rows() {
        for (y, slope) in y.row_mut(row).iter_mut().zip(slope.data()) {
            *y *= if *y > 0.0 { 1.0 } else { *slope };
        }
    }
    y
}

pub(super) fn prelu_backward(x: &Wide, slope: &Wide, dy: &Wide) -> Result<Wide> {
    op_shapes::vector("prelu_backward", "slope", x.shape().last(), slope.shape())?;
    // Those of 1 where the argument is above 0.
    let slopes = prelu(&x.convert(|x| if x > 0.0 { 1.0 } else { -1.0 }), &slope.convert(|slope| -slope));
    zip("prelu_backward", ["x", "dy"], &slopes, dy, |slope, dy| dy * slope)
}

pub(super) fn geglu(x: &Wide) -> Result<Wide> {
    let mut y = Wide::filled(op_shapes::geglu(x.shape())?, 0.0);
    for row in 0..y.shape().rows() {
        let (a, gate) = x.row(row).split_at(y.shape().last());
        for (c, y) in y.row_mut(row).iter_mut().enumerate() {
            *y = a[c] * value(Activation::Gelu, gate[c]);
        }
    }
    Ok(y)
}

pub(super) fn geglu_backward(x: &Wide, dy: &Wide) -> Result<Wide> {
    op_shapes::same("geglu_backward", "dy", op_shapes::geglu(x.shape())?, dy.shape())?;
    let mut dx = Wide::filled(x.shape(), 0.0);
    for row in 0..dy.shape().rows() {
        let (a, gate) = x.row(row).split_at(dy.shape().last());
        let (da, dgate) = dx.row_mut(row).split_at_mut(dy.shape().last());
        for (c, &dy) in dy.row(row).iter().enumerate() {
            da[c] = dy * value(Activation::Gelu, gate[c]);
            dgate[c] = dy * a[c] * derivative(Activation::Gelu, gate[c]);
        }
    }
    Ok(dx)
}
