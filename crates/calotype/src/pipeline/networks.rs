//! The networks one by one: the UNet's prediction, the VAE's two halves.

use calotype_diffusion::Latents;
use calotype_image::RgbImage;
use calotype_models::{UNetInputs, Wrap, posterior};
use calotype_tensor::{Backend, Device, infer};

use super::{Pipeline, VaeEncoderOf, start::Posterior};
use crate::{Error, Result, adapters::LoadedAdapters, error::NotFinite, resident::Resident};

impl<D: Device> Pipeline<D> {
    /// The UNet's prediction for latents at one timestep, each with its context `(77, hidden_size)`.
    ///
    /// # Errors
    /// The shapes don't fit the model.
    pub fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents> {
        let Resident { backend, network } = self.unet(&LoadedAdapters::default(), &mut self.no_lease()?)?;
        let batch = latents.batch();
        let width = self.model().text_config().hidden_size;
        let length = context.len() / (batch * width).max(1);
        let context = backend.from_f32([batch, length, width].into(), context.to_vec())?;
        let time = network.time_embedding(&backend, &vec![timestep as f32; batch], None)?;
        let context = network.prepare(&backend, &context)?;
        let x = upload(&backend, latents)?;
        download(&backend, &network.forward(&backend, &UNetInputs::new(&x, &time, &context))?, NotFinite::Latents)
    }

    /// The VAE's decoder alone: latents, not scaled, to values of images `(B, H, W, 3)`, about `-1..1`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_unscaled(&self, latents: &Latents) -> Result<Latents> {
        let Resident { backend, network } = self.vae_decoder(&mut self.no_lease()?)?;
        let x = upload(&backend, latents)?;
        download(&backend, &network.forward(&backend, &x, false)?, NotFinite::VaeDecoder)
    }

    /// The VAE's encoder alone: values of images `(B, H, W, 3)` in `-1..1` to means and log-variances `(B, h, w, 2C)`.
    /// The log-variances are held within `-30..20`, as diffusers' posterior does.
    ///
    /// # Errors
    /// The images have other channels than the VAE, or are too small.
    pub fn encode_unscaled(&self, images: &Latents) -> Result<Latents> {
        let Resident { backend, network } = self.vae_encoder(&mut self.no_lease()?)?;
        let moments = network.forward(&backend, &upload(&backend, images)?, false)?;
        let (mean, logvar) = posterior(&backend, &moments)?;
        download(&backend, &backend.concat(&mean, &logvar)?, NotFinite::VaeEncoder)
    }

    /// The posterior of an image's latents.
    pub(super) fn encode_image(&self, encoder: &VaeEncoderOf<D>, image: &RgbImage, wrap: Wrap) -> Result<Posterior> {
        let size = [image.height() as usize, image.width() as usize];
        self.encode_values(encoder, image.to_unit_f32(), size, wrap)
    }

    /// [`Self::encode_image`] of values `(H, W, 3)` in `-1..1`.
    pub(super) fn encode_values(
        &self,
        encoder: &VaeEncoderOf<D>,
        values: Vec<f32>,
        [height, width]: [usize; 2],
        wrap: Wrap,
    ) -> Result<Posterior> {
        let Resident { backend, mut network } = encoder.clone();
        network.set_wrap(wrap);
        let pixels = backend.from_f32([1, height, width, 3].into(), values)?;
        let (mean, logvar) = posterior(&backend, &network.forward(&backend, &pixels, false)?)?;
        let shape = backend.shape(&mean);
        let mean = backend.to_f32(&mean)?;
        let deviation: Vec<f32> = backend.to_f32(&logvar)?.into_iter().map(|logvar| (0.5 * logvar).exp()).collect();
        if !mean.iter().chain(&deviation).all(|x| x.is_finite()) {
            return Err(Error::NotFinite(NotFinite::VaeEncoder));
        }
        Ok(Posterior { size: [shape[1], shape[2]], mean, deviation })
    }
}

fn upload<B: Backend>(backend: &B, latents: &Latents) -> Result<B::Tensor> {
    Ok(backend.from_f32(latents.shape().into(), latents.data().to_vec())?)
}

fn download<B: Backend>(backend: &B, x: &B::Tensor, stage: NotFinite) -> Result<Latents> {
    let shape = infer::picture("pipeline", "the output", backend.shape(x))?;
    let latents = Latents::new(shape, backend.to_f32(x)?)?;
    if latents.is_finite() { Ok(latents) } else { Err(Error::NotFinite(stage)) }
}
