//! What an optimiser does to a parameter.

use super::array::Wide;
use crate::{AdamW, Result, op_shapes};

/// `[value, m, v]` after one step.
///
/// Loshchilov & Hutter 2019, algorithm 2, with the learning rate also before the weight decay and with `eps` added
/// after the bias correction, as `torch.optim.AdamW` does.
pub(super) fn adamw(value: &Wide, m: &Wide, v: &Wide, gradient: &Wide, step: &AdamW) -> Result<[Wide; 3]> {
    for (what, x) in [("m", m), ("v", v), ("gradient", gradient)] {
        op_shapes::same("adamw", what, value.shape(), x.shape())?;
    }
    let AdamW { learning_rate, beta1, beta2, eps, weight_decay, gradient_scale, .. } = *step;
    let [correction1, correction2] = [beta1, beta2].map(|beta| 1.0 - beta.powf(step.step as f64));
    let (mut value, mut m, mut v) = (value.clone(), m.clone(), v.clone());
    let moments = m.data_mut().iter_mut().zip(v.data_mut());
    for ((value, (m, v)), gradient) in value.data_mut().iter_mut().zip(moments).zip(gradient.data()) {
        let gradient = gradient * gradient_scale;
        *value -= learning_rate * weight_decay * *value;
        *m = beta1 * *m + (1.0 - beta1) * gradient;
        *v = beta2 * *v + (1.0 - beta2) * gradient * gradient;
        *value -= learning_rate * (*m / correction1) / ((*v / correction2).sqrt() + eps);
    }
    Ok([value, m, v])
}
