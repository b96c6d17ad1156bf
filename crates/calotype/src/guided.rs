//! Classifier-free guidance (Ho & Salimans 2022): the UNet as samplers see it.

use calotype_diffusion::{Predictor, guide};
use calotype_models::{Context, TimeEmbedding, UNet};
use calotype_tensor::Backend;

use crate::{Error, Result};

/// Whether a guidance scale asks for a second, unconditional prediction.
#[must_use]
pub fn guides(guidance_scale: f32) -> bool {
    guidance_scale != 1.0
}

/// A UNet, a batch of texts and a guidance scale. With guidance both predictions are made in one batch, the
/// unconditional ones first.
///
/// What does not depend on the latents is computed once: keys and values of the texts for the whole run, and what comes
/// of a timestep for all the predictions in a row that are made at it.
pub struct Guided<B: Backend> {
    backend: B,
    unet: UNet<B::Param>,
    context: Context<B::Tensor>,
    /// The last timestep, and what comes of it.
    time: Option<(f32, TimeEmbedding<B::Tensor>)>,
    guidance_scale: f32,
    /// `[B, h, w, C]` of the latents.
    shape: [usize; 4],
    /// More channels that the UNet sees beside them, for each prediction.
    beside: Option<B::Tensor>,
}

impl<B: Backend> Guided<B> {
    /// For latents of `shape`, `[B, h, w, C]`. `context` is the text encoder's, `(B, L, cross_attention_dim)`; where
    /// the scale [`guides`] it is `(2B, L, cross_attention_dim)`, the unconditional texts first.
    ///
    /// # Errors
    /// The context has another width than the UNet's.
    pub fn new(
        backend: B,
        unet: UNet<B::Param>,
        context: &B::Tensor,
        guidance_scale: f32,
        shape: [usize; 4],
    ) -> Result<Self> {
        let context = unet.prepare(&backend, context)?;
        Ok(Self { backend, unet, context, time: None, guidance_scale, shape, beside: None })
    }

    /// The same for a UNet that sees more than the latents: `beside (B, h, w, E)`.
    ///
    /// # Errors
    /// It has not that many numbers.
    pub fn beside(self, channels: Vec<f32>, count: usize) -> Result<Self> {
        let [batch, h, w, _] = self.shape;
        let halves = self.halves();
        let beside = self.backend.from_f32([halves * batch, h, w, count].into(), channels.repeat(halves))?;
        Ok(Self { beside: Some(beside), ..self })
    }

    /// Predictions for each picture.
    fn halves(&self) -> usize {
        if guides(self.guidance_scale) { 2 } else { 1 }
    }
}

impl<B: Backend> Predictor for Guided<B> {
    type Error = Error;

    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>> {
        let [batch, h, w, c] = self.shape;
        let halves = self.halves();
        let timestep = timestep as f32;
        let time = match self.time.take() {
            Some((of, time)) if of == timestep => time,
            _ => self.unet.time_embedding(&self.backend, &vec![timestep; halves * batch])?,
        };
        let mut latents = self.backend.from_f32([halves * batch, h, w, c].into(), x.repeat(halves))?;
        if let Some(beside) = &self.beside {
            latents = self.backend.concat(&latents, beside)?;
        }
        let predicted = self.unet.forward(&self.backend, &latents, &time, &self.context)?;
        self.time = Some((timestep, time));
        let predicted = self.backend.to_f32(&predicted);
        if halves == 1 {
            return Ok(predicted);
        }
        let (uncond, cond) = predicted.split_at(predicted.len() / 2);
        Ok(guide(uncond, cond, self.guidance_scale)?)
    }
}
