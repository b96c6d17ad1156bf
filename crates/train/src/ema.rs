//! The moving average of the weights: what a run ends in.

use calotype_tensor::{Differentiable, tape::Parameter};

use crate::Result;

/// An exponential moving average of every parameter, in their order.
pub(crate) struct Ema<B: Differentiable> {
    pub(crate) average: Vec<B::Tensor>,
}

impl<B: Differentiable> Ema<B> {
    /// Starts as a copy of the parameters.
    pub(crate) fn new(inner: &B, parameters: &[Parameter<B>]) -> Result<Self> {
        // Not the parameters' own storage: both change in place from here on.
        let copy = |p: &Parameter<B>| Ok(inner.from_f32(p.shape(), inner.to_f32(&p.value())?)?);
        Ok(Self { average: parameters.iter().map(copy).collect::<Result<_>>()? })
    }

    /// After step `step`, from 1: `average += (value − average) · (1 − min(decay, (1 + step) / (10 + step)))`
    /// (`LitEma` in CompVis' `ldm/modules/ema.py`).
    pub(crate) fn update(&mut self, inner: &B, parameters: &[Parameter<B>], step: u64, decay: f64) -> Result<()> {
        let decay = decay.min((1 + step) as f64 / (10 + step) as f64);
        for (average, parameter) in self.average.iter_mut().zip(parameters) {
            inner.lerp(average, &parameter.value(), (1.0 - decay) as f32)?;
        }
        Ok(())
    }
}
