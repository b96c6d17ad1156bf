//! The networks one by one: the UNet's prediction, the VAE's two halves.

use calotype_diffusion::Latents;
use calotype_image::{RgbImage, Rounding};
use calotype_models::{Wrap, posterior};
use calotype_tensor::{
    Backend,
    cpu::{Cpu, Tensor},
    infer,
};

use crate::{Error, Pipeline, Result, adapters::Active, memory::reserve_decoder, resident::Resident};

impl Pipeline<'_> {
    /// The UNet's prediction for latents at one timestep, each with its context `(77, hidden_size)`.
    ///
    /// # Errors
    /// The shapes don't fit the model.
    pub fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents> {
        let Resident { backend, network } = self.unet(&Active::default())?;
        let batch = latents.batch();
        let width = self.model.text_config().hidden_size;
        let length = context.len() / (batch * width).max(1);
        let context = backend.from_f32([batch, length, width].into(), context.to_vec())?;
        let time = network.time_embedding(&backend, &vec![timestep as f32; batch])?;
        let context = network.prepare(&backend, &context)?;
        let x = upload(&backend, latents)?;
        download(&backend, &network.forward(&backend, &x, &time, &context)?)
    }

    /// Final latents to pictures, one after the other to bound memory: divided by the scaling factor and decoded.
    ///
    /// # Errors
    /// The latents have other channels than the VAE.
    pub fn decode(&self, latents: &Latents) -> Result<Vec<RgbImage>> {
        self.decode_as(latents, Wrap::default(), Rounding::Nearest)
    }

    /// [`Self::decode`] of pictures that may go on at their other edge.
    pub(super) fn decode_as(&self, latents: &Latents, wrap: Wrap, rounding: Rounding) -> Result<Vec<RgbImage>> {
        let Resident { backend, mut network } = self.vae_decoder()?;
        network.set_wrap(wrap);
        let [batch, h, w, c] = latents.shape();
        let config = self.model.vae_config();
        reserve_decoder(&backend, config, [h, w], self.options.vae_tiling)?;
        let scaling_factor = config.scaling_factor;
        let mut pictures = Vec::with_capacity(batch);
        for data in latents.images() {
            let scaled = data.iter().map(|x| x / scaling_factor).collect();
            let scaled = backend.from_f32([1, h, w, c].into(), scaled)?;
            let decoded = match self.options.vae_tiling {
                true => network.forward_tiled(&backend, &scaled)?,
                false => network.forward(&backend, &scaled, false)?,
            };
            let [_, height, width, _] = infer::picture("decode", "the picture", backend.shape(&decoded))?;
            let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let values = backend.to_f32(&decoded)?;
            pictures.push(RgbImage::from_unit_f32_with(&values, side(width), side(height), rounding)?);
        }
        Ok(pictures)
    }

    /// The VAE's decoder alone: latents, not scaled, to values of pictures `(B, H, W, 3)`, about `-1..1`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_unscaled(&self, latents: &Latents) -> Result<Latents> {
        let Resident { backend, network } = self.vae_decoder()?;
        let x = upload(&backend, latents)?;
        download(&backend, &network.forward(&backend, &x, false)?)
    }

    /// The VAE's encoder alone: values of pictures `(B, H, W, 3)` in `-1..1` to means and log-variances `(B, h, w, 2C)`.
    /// The log-variances are held within `-30..20`, as diffusers' posterior does.
    ///
    /// # Errors
    /// The pictures have other channels than the VAE, or are too small.
    pub fn encode_unscaled(&self, pictures: &Latents) -> Result<Latents> {
        let Resident { backend, network } = self.vae_encoder()?;
        let moments = network.forward(&backend, &upload(&backend, pictures)?, false)?;
        let (mean, logvar) = posterior(&backend, &moments)?;
        download(&backend, &backend.concat(&mean, &logvar)?)
    }
}

fn upload(backend: &Cpu, latents: &Latents) -> Result<Tensor> {
    Ok(backend.from_f32(latents.shape().into(), latents.data().to_vec())?)
}

fn download(backend: &Cpu, x: &Tensor) -> Result<Latents> {
    let shape = infer::picture("pipeline", "the output", backend.shape(x))?;
    let latents = Latents::new(shape, backend.to_f32(x)?)?;
    if latents.is_finite() { Ok(latents) } else { Err(Error::NotFinite) }
}
