use super::threshold::Threshold;
use crate::{Denoiser, Error, Latents, NoiseLevel, NoiseSchedule, NoiseSource};

/// Where a step begins and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Levels {
    /// The level of the sample.
    pub from: NoiseLevel,
    /// The level it is brought to, a less noisy one.
    pub to: NoiseLevel,
    /// The level before `from`, if the run did not begin there.
    pub before: Option<NoiseLevel>,
    /// How many levels are before `from`.
    pub index: usize,
    /// How many levels come after `to`.
    pub left: usize,
}

/// What a step may ask for: the model and fresh noise.
pub struct Context<'a, E> {
    denoiser: &'a mut dyn Denoiser<Error = E>,
    noise: &'a mut dyn NoiseSource,
    noise_schedule: &'a NoiseSchedule,
    threshold: Option<Threshold>,
    /// That of the samples, `[B, h, w, C]`.
    shape: [usize; 4],
}

impl<'a, E: From<Error>> Context<'a, E> {
    pub(in super::super) fn new(
        denoiser: &'a mut dyn Denoiser<Error = E>,
        noise: &'a mut dyn NoiseSource,
        noise_schedule: &'a NoiseSchedule,
        threshold: Option<Threshold>,
        shape: [usize; 4],
    ) -> Self {
        Self { denoiser, noise, noise_schedule, threshold, shape }
    }

    /// The denoised sample: the model's estimate of `x0` given `x` at a level, thresholded where that is asked for.
    ///
    /// # Errors
    /// Those of the denoiser, and [`Error::Shape`].
    pub fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, E> {
        let denoised = self.denoise_as_is(x, level)?;
        Ok(self.thresholded(denoised))
    }

    /// The same without a threshold.
    pub(super) fn denoise_as_is(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, E> {
        let denoised = self.denoiser.denoise(x, level)?;
        self.checked(denoised, DENOISED)
    }

    /// A denoised sample within the threshold, if there is one.
    pub(super) fn thresholded(&self, denoised: Latents) -> Latents {
        match self.threshold {
            Some(threshold) => threshold.apply(&denoised),
            None => denoised,
        }
    }

    /// The noise that the model was trained with.
    pub(super) fn noise_schedule(&self) -> &NoiseSchedule {
        self.noise_schedule
    }

    /// `dx/dσ = (x − D(x, σ)) / σ` at a level above 0, D being the denoised sample (Karras et al. 2022, eq. 1 with
    /// σ(t) = t): the noise ε that the model predicts.
    ///
    /// # Errors
    /// As [`Context::denoise`].
    pub fn derivative(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, E> {
        Ok(derivative(x, &self.denoise(x, level)?, level))
    }

    /// The guided denoised sample and the one without the prompt ([`Denoiser::denoise_with_uncond`]).
    ///
    /// # Errors
    /// As [`Context::denoise`].
    pub fn denoise_with_uncond(&mut self, x: &Latents, level: NoiseLevel) -> Result<[Latents; 2], E> {
        let [guided, uncond] = self.denoiser.denoise_with_uncond(x, level)?;
        Ok([self.checked(guided, DENOISED)?, self.checked(uncond, "the unconditional denoised sample")?])
    }

    /// The denoised samples of images that each have a level of their own ([`Denoiser::denoise_each`]).
    ///
    /// # Errors
    /// As [`Context::denoise`].
    pub fn denoise_each(&mut self, x: &Latents, levels: &[NoiseLevel]) -> Result<Latents, E> {
        let denoised = self.denoiser.denoise_each(x, levels)?;
        self.checked(denoised, DENOISED)
    }

    /// Fresh noise of unit variance, in the shape of the sample ([`NoiseSource::noise`]).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn noise(&mut self) -> Result<Latents, E> {
        let noise = self.noise.noise();
        self.checked(noise, NOISE)
    }

    /// Fresh noise for the way between two sigmas ([`NoiseSource::noise_between`]).
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn noise_between(&mut self, from: f64, to: f64) -> Result<Latents, E> {
        let noise = self.noise.noise_between(from, to);
        self.checked(noise, NOISE)
    }

    /// A sample with so much fresh noise that it belongs to the second, noisier level.
    pub(in super::super) fn raise(
        &mut self,
        x: &Latents,
        [from, to]: [NoiseLevel; 2],
        s_noise: f64,
    ) -> Result<Latents, E> {
        let noise = self.noise()?;
        let sigma = (to.sigma.powi(2) - from.sigma.powi(2)).max(0.0).sqrt();
        Ok(Latents::sum([(1.0, x), (s_noise * sigma, &noise)]))
    }

    /// The level of a sigma between those of the schedule.
    #[must_use]
    pub fn level(&self, sigma: f64) -> NoiseLevel {
        self.noise_schedule.level(sigma)
    }

    fn checked(&self, latents: Latents, what: &'static str) -> Result<Latents, E> {
        Ok(latents.of_shape(self.shape, what)?)
    }
}

/// What a solver is given, in errors.
const DENOISED: &str = "the denoised sample";
const NOISE: &str = "the noise of a step";

/// `dx/dσ` at a sample and its denoised form.
pub(super) fn derivative(x: &Latents, denoised: &Latents, level: NoiseLevel) -> Latents {
    Latents::sum([(1.0 / level.sigma, x), (-1.0 / level.sigma, denoised)])
}
