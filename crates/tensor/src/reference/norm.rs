//! Group and layer normalisation, which normalise sets of elements and differ in which, and rows of length 1.

use super::{activation, array::Wide};
use crate::{Activation, Result, Shape, op_shapes};

/// The elements that are normalised together, as indices into the data.
type Set = Vec<usize>;

/// One set for every sample and group of `x (B, H, W, C)`.
pub(super) fn groups(x: Shape, gamma: Shape, beta: Shape, groups: usize, activation: Activation) -> Result<Vec<Set>> {
    let [batch, pixels, channels] = op_shapes::group_norm(x, gamma, beta, groups, activation)?;
    let width = channels / groups;
    let set = |b: usize, group: usize| {
        (0..pixels)
            .flat_map(|pixel| (0..width).map(move |c| (b * pixels + pixel) * channels + group * width + c))
            .collect()
    };
    Ok((0..batch).flat_map(|b| (0..groups).map(move |group| set(b, group))).collect())
}

/// One set for every row of `x (rows, C)`.
pub(super) fn rows(x: Shape, gamma: Shape, beta: Shape) -> Result<Vec<Set>> {
    op_shapes::vector("layer_norm", "gamma", x.last(), gamma)?;
    op_shapes::vector("layer_norm", "beta", x.last(), beta)?;
    Ok((0..x.rows()).map(|row| (row * x.last()..(row + 1) * x.last()).collect()).collect())
}

fn mean(set: &Set, of: impl Fn(usize) -> f64) -> f64 {
    set.iter().map(|&i| of(i)).sum::<f64>() / set.len() as f64
}

/// The mean of a set, and 1 over the root of its (biased) variance plus `eps`.
fn moments(x: &[f64], set: &Set, eps: f64) -> (f64, f64) {
    let center = mean(set, |i| x[i]);
    let variance = mean(set, |i| (x[i] - center).powi(2));
    (center, 1.0 / (variance + eps).sqrt())
}

/// `activation((x - mean) / √(variance + eps) · gamma + beta)`.
pub(super) fn forward(x: &Wide, gamma: &Wide, beta: &Wide, sets: &[Set], eps: f32, activation: Activation) -> Wide {
    let (x, gamma, beta, shape) = (x.data(), gamma.data(), beta.data(), x.shape());
    let mut y = Wide::filled(shape, 0.0);
    let out = y.data_mut();
    for set in sets {
        let (center, scale) = moments(x, set, eps.into());
        for &i in set {
            let c = i % shape.last();
            out[i] = activation::value(activation, (x[i] - center) * scale * gamma[c] + beta[c]);
        }
    }
    y
}

/// The gradients of `x`, `gamma` and `beta`.
pub(super) fn backward(
    x: &Wide,
    gamma: &Wide,
    beta: &Wide,
    dy: &Wide,
    sets: &[Set],
    eps: f32,
    activation: Activation,
) -> Result<[Wide; 3]> {
    op_shapes::same("norm_backward", "dy", x.shape(), dy.shape())?;
    let [mut dx, mut dgamma, mut dbeta] = [x, gamma, beta].map(|a| Wide::filled(a.shape(), 0.0));
    let channels = x.shape().last();
    let (x, gamma, beta, dy) = (x.data(), gamma.data(), beta.data(), dy.data());
    for set in sets {
        let (center, scale) = moments(x, set, eps.into());
        let normal = |i: usize| (x[i] - center) * scale;
        let before_activation = |i: usize| {
            let c = i % channels;
            dy[i] * activation::derivative(activation, normal(i) * gamma[c] + beta[c])
        };
        let dnormal = |i: usize| before_activation(i) * gamma[i % channels];
        // Both the mean and the variance depend on every element of the set.
        let through_mean = mean(set, dnormal);
        let through_variance = mean(set, |i| dnormal(i) * normal(i));
        for &i in set {
            dx.data_mut()[i] = scale * (dnormal(i) - through_mean - normal(i) * through_variance);
            dgamma.data_mut()[i % channels] += before_activation(i) * normal(i);
            dbeta.data_mut()[i % channels] += before_activation(i);
        }
    }
    Ok([dx, dgamma, dbeta])
}

/// `x / (‖x‖ + eps)` of each row.
pub(super) fn unit_rows(x: &Wide, eps: f32) -> Wide {
    let mut y = x.clone();
    for row in 0..x.shape().rows() {
        let length = x.row(row).iter().map(|x| x * x).sum::<f64>().sqrt() + f64::from(eps);
        y.row_mut(row).iter_mut().for_each(|y| *y /= length);
    }
    y
}

/// `(dy - x (x · dy) / (‖x‖ (‖x‖ + eps))) / (‖x‖ + eps)` of each row.
pub(super) fn unit_rows_backward(x: &Wide, dy: &Wide, eps: f32) -> Result<Wide> {
    op_shapes::same("unit_rows_backward", "dy", x.shape(), dy.shape())?;
    let mut dx = dy.clone();
    for row in 0..x.shape().rows() {
        let (x, dy) = (x.row(row), dy.row(row));
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let length = norm + f64::from(eps);
        let along = x.iter().zip(dy).map(|(x, dy)| x * dy).sum::<f64>();
        let back = if norm > 0.0 { along / (norm * length) } else { 0.0 };
        dx.row_mut(row).iter_mut().zip(x).for_each(|(dx, x)| *dx = (*dx - x * back) / length);
    }
    Ok(dx)
}
