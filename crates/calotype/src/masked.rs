//! What stays of a picture while the rest of it is made.

use calotype_diffusion::{Denoiser, Latents, NoiseLevel};

/// Latents that stay where they are, as A1111 does it: after each prediction the denoised latents are those of the
/// picture, save where the mask is 1. No sampler knows of it.
pub(crate) struct Masked<D> {
    pub(crate) inner: D,
    pub(crate) kept: Option<Kept>,
}

/// A picture's latents, and the mask.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) latents: Latents,
    /// 1 where they are made anew, of the length of the latents.
    pub(crate) mask: Vec<f32>,
}

impl Kept {
    /// `(1 - mask) · kept + mask · fresh`: what is masked starts from something else.
    pub(crate) fn fill(&self, mut fresh: Latents) -> Latents {
        self.blend(&mut fresh);
        fresh
    }

    /// `mask · new + (1 - mask) · kept`.
    pub(crate) fn blend(&self, new: &mut Latents) {
        for ((new, kept), mask) in new.data_mut().iter_mut().zip(self.latents.data()).zip(&self.mask) {
            *new = *new * mask + kept * (1.0 - mask);
        }
    }
}

impl<D: Denoiser> Denoiser for Masked<D> {
    type Error = D::Error;

    fn denoise(&mut self, x: &Latents, level: NoiseLevel) -> Result<Latents, D::Error> {
        let denoised = self.inner.denoise(x, level)?;
        Ok(self.blended(denoised))
    }

    fn denoise_with_uncond(&mut self, x: &Latents, level: NoiseLevel) -> Result<[Latents; 2], D::Error> {
        let [denoised, uncond] = self.inner.denoise_with_uncond(x, level)?;
        Ok([self.blended(denoised), uncond])
    }

    fn denoise_each(&mut self, x: &Latents, levels: &[NoiseLevel]) -> Result<Latents, D::Error> {
        let denoised = self.inner.denoise_each(x, levels)?;
        Ok(self.blended(denoised))
    }
}

impl<D> Masked<D> {
    fn blended(&self, mut denoised: Latents) -> Latents {
        if let Some(kept) = &self.kept {
            kept.blend(&mut denoised);
        }
        denoised
    }
}
