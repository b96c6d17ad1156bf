//! AdamW over a tape's parameters, with its learning-rate schedule and gradient clipping.

use calotype_tensor::{
    AdamW, Backend, Differentiable, ParamKind,
    tape::{Gradients, Parameter},
};

use crate::{Decay, Error, Result, TrainConfig};

/// AdamW's moments, in the order of the parameters.
pub(crate) struct Optimiser<B: Differentiable> {
    pub(crate) m: Vec<B::Tensor>,
    pub(crate) v: Vec<B::Tensor>,
}

impl<B: Differentiable> Optimiser<B> {
    pub(crate) fn new(inner: &B, parameters: &[Parameter<B>]) -> Result<Self> {
        Ok(Self { m: zeros(inner, parameters)?, v: zeros(inner, parameters)? })
    }

    /// Step `step` (from 1) on the sum of the gradients of `batches` batches. Gives the norm of their mean, before clipping.
    pub(crate) fn step(
        &mut self,
        inner: &B,
        parameters: &[Parameter<B>],
        gradients: &Gradients<B>,
        batches: usize,
        step: u64,
        config: &TrainConfig,
    ) -> Result<f64> {
        let squares =
            gradients.iter().map(|(_, gradient)| inner.sum_squares(gradient)).sum::<calotype_tensor::Result<f64>>()?;
        let norm = squares.sqrt() / batches as f64;
        if !norm.is_finite() {
            return Err(Error::NotFinite { step, what: "the gradient", checkpoint: None });
        }
        // As torch.nn.utils.clip_grad_norm_.
        let clip = if config.gradient_clip > 0.0 { (config.gradient_clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        for ((parameter, m), v) in parameters.iter().zip(&mut self.m).zip(&mut self.v) {
            let Some(gradient) = gradients.get(parameter) else { continue };
            let decays = matches!(parameter.kind(), ParamKind::Conv | ParamKind::UpsampledConv | ParamKind::Linear);
            let options = AdamW {
                learning_rate: learning_rate(config, step),
                beta1: config.betas[0],
                beta2: config.betas[1],
                eps: config.eps,
                weight_decay: if decays { config.weight_decay } else { 0.0 },
                gradient_scale: clip / batches as f64,
                step,
            };
            parameter.update(|value| inner.adamw(value, m, v, gradient, &options))?;
        }
        Ok(norm)
    }
}

fn zeros<B: Backend + Differentiable>(inner: &B, parameters: &[Parameter<B>]) -> Result<Vec<B::Tensor>> {
    let zero = |p: &Parameter<B>| Ok(inner.from_f32(p.shape(), vec![0.0; p.shape().count()])?);
    parameters.iter().map(zero).collect()
}

/// The learning rate of step `step`, from 1: a line up to the full rate at `warmup_steps`, then [`Decay`] towards `final_ratio` of
/// it. As in diffusers' and transformers' schedules the step after the warm-up has the full rate and the last one learns still:
/// the end of the curve is the step after it. Unlike there the first step of a warm-up learns too.
pub(crate) fn learning_rate(config: &TrainConfig, step: u64) -> f64 {
    if step < config.warmup_steps {
        return config.learning_rate * step as f64 / config.warmup_steps as f64;
    }
    let length = config.steps.saturating_sub(config.warmup_steps).max(1);
    let done = (step.saturating_sub(config.warmup_steps + 1) as f64 / length as f64).min(1.0);
    let left = match config.decay {
        Decay::Constant => return config.learning_rate,
        Decay::Linear => 1.0 - done,
        Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
    };
    config.learning_rate * (config.final_ratio + (1.0 - config.final_ratio) * left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(decay: &str) -> TrainConfig {
        toml::from_str(&format!(
            "batch_size = 1\nsteps = 110\nlearning_rate = 2.0\nwarmup_steps = 10\nfinal_ratio = 0.5\ndecay = {decay:?}"
        ))
        .unwrap()
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let rates = |decay| [1, 5, 10, 11, 36, 61, 111, 200].map(|step| learning_rate(&config(decay), step));
        assert_eq!(rates("constant"), [0.2, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(rates("linear"), [0.2, 1.0, 2.0, 2.0, 1.75, 1.5, 1.0, 1.0]);
        let cosine = rates("cosine");
        for (got, expected) in cosine.into_iter().zip([0.2, 1.0, 2.0, 2.0, 1.0 + 0.5 + 0.125f64.sqrt(), 1.5, 1.0, 1.0])
        {
            assert!((got - expected).abs() < 1e-12, "{cosine:?}");
        }
    }

    /// What `get_cosine_schedule_with_warmup` and `get_linear_schedule_with_warmup` of diffusers 0.42.1 give after the warm-up:
    /// 2 steps of it, 8 in all, full rate 1.
    #[test]
    fn rates_are_those_of_diffusers() {
        let rates = |decay: &str| {
            let text = format!("batch_size = 1\nsteps = 8\nlearning_rate = 1.0\nwarmup_steps = 2\ndecay = {decay:?}");
            let config: TrainConfig = toml::from_str(&text).unwrap();
            [3, 4, 5, 6, 7, 8].map(|step| learning_rate(&config, step))
        };
        let near = |got: [f64; 6], expected: [f64; 6]| {
            assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-9), "{got:?}");
        };
        near(rates("cosine"), [1.0, 0.933_012_702, 0.75, 0.5, 0.25, 0.066_987_298]);
        near(rates("linear"), [1.0, 0.833333333, 0.666666667, 0.5, 0.333333333, 0.166666667]);
    }

    #[test]
    fn every_step_learns() {
        for decay in ["constant", "linear", "cosine"] {
            for (steps, warmup) in [(1, 0), (2, 0), (5, 1), (5, 5), (5, 9)] {
                let text = format!(
                    "batch_size = 1\nsteps = {steps}\nlearning_rate = 1.0\nwarmup_steps = {warmup}\ndecay = {decay:?}"
                );
                let config: TrainConfig = toml::from_str(&text).unwrap();
                assert!((1..=steps).all(|step| learning_rate(&config, step) > 0.0), "{text}");
                assert_eq!(learning_rate(&config, 1), if warmup == 0 { 1.0 } else { 1.0 / f64::from(warmup) });
            }
        }
    }
}
