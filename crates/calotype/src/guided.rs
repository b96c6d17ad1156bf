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
    /// The last timesteps, one for each picture, and what comes of them.
    time: Option<(Vec<f32>, TimeEmbedding<B::Tensor>)>,
    guidance_scale: f32,
    /// Predictions for each picture: 2, the unconditional ones first, or 1.
    halves: usize,
    /// `[B, h, w, C]` of the latents.
    shape: [usize; 4],
}

impl<B: Backend> Guided<B> {
    /// For latents of `shape`, `[B, h, w, C]`. `context` is the text encoder's, `(B, L, cross_attention_dim)`; with
    /// guidance it is `(2B, L, cross_attention_dim)`, the unconditional texts first.
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
        let texts = backend.shape(context).first().copied().unwrap_or_default();
        let halves = if texts > shape[0] { 2 } else { 1 };
        let context = unet.prepare(&backend, context)?;
        Ok(Self { backend, unet, context, time: None, guidance_scale, halves, shape })
    }

    /// Both predictions for `x` at a timestep for each picture, the unconditional ones first; without guidance only one.
    fn halves(&mut self, x: &[f32], timesteps: Vec<f32>) -> Result<Vec<f32>> {
        let [batch, h, w, c] = self.shape;
        let time = match self.time.take() {
            Some((of, time)) if of == timesteps => time,
            _ => self.unet.time_embedding(&self.backend, &timesteps.repeat(self.halves))?,
        };
        let latents = self.backend.from_f32([self.halves * batch, h, w, c].into(), x.repeat(self.halves))?;
        let predicted = self.unet.forward(&self.backend, &latents, &time, &self.context)?;
        self.time = Some((timesteps, time));
        Ok(self.backend.to_f32(&predicted))
    }

    /// The guided prediction.
    fn guided(&self, predicted: Vec<f32>) -> Result<Vec<f32>> {
        if self.halves == 1 {
            return Ok(predicted);
        }
        let (uncond, cond) = predicted.split_at(predicted.len() / 2);
        Ok(guide(uncond, cond, self.guidance_scale)?)
    }
}

impl<B: Backend> Predictor for Guided<B> {
    type Error = Error;

    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>> {
        let predicted = self.halves(x, vec![timestep as f32; self.shape[0]])?;
        self.guided(predicted)
    }

    fn predict_with_uncond(&mut self, x: &[f32], timestep: f64) -> Result<[Vec<f32>; 2]> {
        let predicted = self.halves(x, vec![timestep as f32; self.shape[0]])?;
        let uncond = predicted.get(..predicted.len() / self.halves).unwrap_or_default().to_vec();
        Ok([self.guided(predicted)?, uncond])
    }

    fn batch_size(&self) -> usize {
        self.shape[0]
    }

    fn predict_each(&mut self, x: &[f32], timesteps: &[f64]) -> Result<Vec<f32>> {
        let predicted = self.halves(x, timesteps.iter().map(|&timestep| timestep as f32).collect())?;
        self.guided(predicted)
    }
}
