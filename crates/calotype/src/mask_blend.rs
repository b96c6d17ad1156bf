//! Latents of an image that stay while the rest is generated.

use std::sync::{Arc, Mutex, PoisonError};

use calotype_diffusion::{Denoiser, Latents, NoiseLevel};

/// The latents of an image, and a mask, both `(B, h, w, C)`.
#[derive(Clone)]
pub(crate) struct MaskBlend {
    pub(crate) init_latents: Latents,
    /// 1 where the latents are generated.
    pub(crate) mask: Vec<f32>,
}

impl MaskBlend {
    /// `mask · latents + (1 - mask) · init_latents`.
    pub(crate) fn apply(&self, latents: &mut Latents) {
        for ((x, init), mask) in latents.data_mut().iter_mut().zip(self.init_latents.data()).zip(&self.mask) {
            *x = *x * mask + init * (1.0 - mask);
        }
    }
}

/// The last prediction of a denoiser, for previews: `x0` as the model sees it.
pub(crate) type Predicted = Arc<Mutex<Option<Latents>>>;

/// Blends each prediction with what stays, as A1111 does it (no sampler knows of it), and remembers it.
pub(crate) struct BlendedDenoiser<D> {
    pub(crate) inner: D,
    pub(crate) blend: Option<MaskBlend>,
    pub(crate) predicted: Predicted,
}

impl<D: Denoiser> Denoiser for BlendedDenoiser<D> {
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

impl<D> BlendedDenoiser<D> {
    fn blended(&self, mut denoised: Latents) -> Latents {
        if let Some(blend) = &self.blend {
            blend.apply(&mut denoised);
        }
        *self.predicted.lock().unwrap_or_else(PoisonError::into_inner) = Some(denoised.clone());
        denoised
    }
}
