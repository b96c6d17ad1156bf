//! The networks one by one: the UNet's prediction, the VAE's two halves.

use calotype_diffusion::Latents;
use calotype_image::RgbImage;
use calotype_models::CircularPadding;

use super::{Pipeline, start::Posterior};
use crate::{Result, adapters::LoadedAdapters, networks::EncodeImage};

impl Pipeline {
    /// The UNet's prediction for latents at one timestep, each with its context `(77, hidden_size)`.
    ///
    /// # Errors
    /// The shapes don't fit the model.
    pub fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents> {
        let unet = self.networks().unet(&LoadedAdapters::default(), &mut self.no_lease()?)?;
        unet.predict(latents, timestep, context)
    }

    /// The VAE's decoder alone: latents, not scaled, to values of images `(B, H, W, 3)`, about `-1..1`.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_unscaled(&self, latents: &Latents) -> Result<Latents> {
        self.networks().vae_decoder(&mut self.no_lease()?)?.decode(latents, CircularPadding::default())
    }

    /// The VAE's encoder alone: values of images `(B, H, W, 3)` in `-1..1` to means and log-variances `(B, h, w, 2C)`.
    /// The log-variances are held within `-30..20`, as diffusers' posterior does.
    ///
    /// # Errors
    /// The images have other channels than the VAE, or are too small.
    pub fn encode_unscaled(&self, images: &Latents) -> Result<Latents> {
        self.networks().vae_encoder(&mut self.no_lease()?)?.encode(images, CircularPadding::default())
    }
}

/// The posterior of an image's latents.
pub(super) fn encode_image(encoder: &dyn EncodeImage, image: &RgbImage, wrap: CircularPadding) -> Result<Posterior> {
    encode_values(encoder, image.to_unit_f32(), [image.height() as usize, image.width() as usize], wrap)
}

/// [`encode_image`] of values `(H, W, 3)` in `-1..1`.
pub(super) fn encode_values(
    encoder: &dyn EncodeImage,
    values: Vec<f32>,
    [height, width]: [usize; 2],
    wrap: CircularPadding,
) -> Result<Posterior> {
    let moments = encoder.encode(&Latents::new([1, height, width, 3], values)?, wrap)?;
    Ok(Posterior::new(&moments))
}
