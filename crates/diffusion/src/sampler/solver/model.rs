use std::sync::Arc;

use super::sum;
use crate::{Denoiser, Error, Latents, NoiseLevel, NoiseSchedule, NoiseSource};

/// The model and the noise a solver may ask for.
pub(in super::super) struct Model<D, N> {
    pub(in super::super) denoiser: D,
    pub(in super::super) noise: N,
    pub(in super::super) noise_schedule: Arc<NoiseSchedule>,
    /// That of the samples, `[B, h, w, C]`.
    pub(in super::super) shape: [usize; 4],
}

impl<D: Denoiser, N: NoiseSource> Model<D, N> {
    /// The denoised sample.
    pub(super) fn denoise(&mut self, x: &[f32], level: NoiseLevel) -> Result<Vec<f32>, D::Error> {
        let denoised = self.denoiser.denoise(&self.sample(x.to_vec())?, level)?;
        Ok(self.checked(denoised, DENOISED)?)
    }

    /// The guided and the unconditional denoised sample.
    pub(super) fn denoise_with_uncond(&mut self, x: &[f32], level: NoiseLevel) -> Result<[Vec<f32>; 2], D::Error> {
        let [guided, uncond] = self.denoiser.denoise_with_uncond(&self.sample(x.to_vec())?, level)?;
        Ok([self.checked(guided, DENOISED)?, self.checked(uncond, "the unconditional denoised sample")?])
    }

    /// The denoised samples of images that each have a level of their own.
    pub(super) fn denoise_each(&mut self, x: &[f32], levels: &[NoiseLevel]) -> Result<Vec<f32>, D::Error> {
        let denoised = self.denoiser.denoise_each(&self.sample(x.to_vec())?, levels)?;
        Ok(self.checked(denoised, DENOISED)?)
    }

    /// Fresh noise.
    pub(super) fn noise(&mut self) -> Result<Vec<f32>, D::Error> {
        let noise = self.noise.noise();
        Ok(self.checked(noise, NOISE)?)
    }

    /// Fresh noise for the way between two sigmas.
    pub(super) fn noise_between(&mut self, from: f64, to: f64) -> Result<Vec<f32>, D::Error> {
        let noise = self.noise.noise_between(from, to);
        Ok(self.checked(noise, NOISE)?)
    }

    /// A sample with so much fresh noise that it belongs to the second, noisier level.
    pub(in super::super) fn raise(
        &mut self,
        x: &[f32],
        levels: &[NoiseLevel],
        s_noise: f64,
    ) -> Result<Vec<f32>, D::Error> {
        let [from, to] = levels else { return Ok(x.to_vec()) };
        let noise = self.noise()?;
        let sigma = (to.sigma.powi(2) - from.sigma.powi(2)).max(0.0).sqrt();
        Ok(sum(&[(1.0, x), (s_noise * sigma, &noise)]))
    }

    /// The level of a sigma between those of the schedule.
    pub(super) fn level(&self, sigma: f64) -> NoiseLevel {
        self.noise_schedule.level(sigma)
    }

    pub(in super::super) fn sample(&self, x: Vec<f32>) -> Result<Latents, Error> {
        Latents::new(self.shape, x)
    }

    fn checked(&self, latents: Latents, what: &'static str) -> Result<Vec<f32>, Error> {
        Ok(latents.of_shape(self.shape, what)?.into_data())
    }
}

/// What a solver is given, in errors.
const DENOISED: &str = "the denoised sample";
const NOISE: &str = "the noise of a step";
