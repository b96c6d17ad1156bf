use std::sync::Arc;

use super::sum;
use crate::{Denoiser, Error, NoiseLevel, NoiseSchedule, NoiseSource};

/// The model and the noise a solver may ask for.
pub(in super::super) struct Model<D, N> {
    pub(in super::super) denoiser: D,
    pub(in super::super) noise: N,
    pub(in super::super) noise_schedule: Arc<NoiseSchedule>,
}

impl<D: Denoiser, N: NoiseSource> Model<D, N> {
    /// The denoised sample, of the length of `x`.
    pub(super) fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, D::Error> {
        let denoised = self.denoiser.denoise(x, level)?;
        Ok(checked("the denoised sample", denoised, x.len())?)
    }

    /// The guided and the unconditional denoised sample.
    pub(super) fn denoise_with_uncond(&mut self, x: &[f32], level: NoiseLevel) -> Result<[Vec<f32>; 2], D::Error> {
        let [guided, uncond] = self.denoiser.denoise_with_uncond(x, level)?;
        let guided = checked("the denoised sample", guided, x.len())?;
        Ok([guided, checked("the unconditional denoised sample", uncond, x.len())?])
    }

    /// The denoised samples of pictures that each have a level of their own.
    pub(super) fn denoise_each(&mut self, x: &[f32], levels: &[NoiseLevel]) -> Result<Vec<f32>, D::Error> {
        let denoised = self.denoiser.denoise_each(x, levels)?;
        Ok(checked("the denoised sample", denoised, x.len())?)
    }

    /// Fresh noise, of the length of `x`.
    pub(super) fn noise(&mut self, x: &[f32]) -> Result<Vec<f32>, D::Error> {
        Ok(checked("the noise of a step", self.noise.noise(), x.len())?)
    }

    /// Fresh noise for the way between two sigmas.
    pub(super) fn noise_between(&mut self, x: &[f32], from: f64, to: f64) -> Result<Vec<f32>, D::Error> {
        Ok(checked("the noise of a step", self.noise.noise_between(from, to), x.len())?)
    }

    /// A sample with so much fresh noise that it belongs to the second, noisier level.
    pub(in super::super) fn raise(
        &mut self,
        x: &[f32],
        levels: &[NoiseLevel],
        s_noise: f64,
    ) -> Result<Vec<f32>, D::Error> {
        let [from, to] = levels else { return Ok(x.to_vec()) };
        let noise = self.noise(x)?;
        let sigma = (to.sigma.powi(2) - from.sigma.powi(2)).max(0.0).sqrt();
        Ok(sum(&[(1.0, x), (s_noise * sigma, &noise)]))
    }

    /// The level of a sigma between those of the schedule.
    pub(super) fn level(&self, sigma: f64) -> NoiseLevel {
        self.noise_schedule.level(sigma)
    }
}

fn checked(what: &'static str, buffer: Vec<f32>, expected: usize) -> Result<Vec<f32>, Error> {
    if buffer.len() == expected { Ok(buffer) } else { Err(Error::Length { what, got: buffer.len(), expected }) }
}
