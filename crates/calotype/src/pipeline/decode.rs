//! From latents to images.

use calotype_diffusion::Latents;
use calotype_image::{RgbImage, Rounding};
use calotype_models::CircularPadding;
use calotype_tensor::Precision;

use super::Pipeline;
use crate::{
    Error, Result, Warning,
    error::NotFinite,
    networks::{DecodeLatents, Lease},
};

/// The VAE's decoder for latents of one size.
pub(super) struct ImageDecoder {
    network: Box<dyn DecodeLatents>,
    wrap: CircularPadding,
    rounding: Rounding,
    /// `[h, w, C]`.
    size: [usize; 3],
}

impl ImageDecoder {
    /// Reads the weights, if they are not in memory.
    pub(super) fn new(
        pipeline: &Pipeline,
        [_, h, w, c]: [usize; 4],
        wrap: CircularPadding,
        rounding: Rounding,
        lease: &mut Lease,
    ) -> Result<Self> {
        let mut network = pipeline.networks().vae_decoder(lease)?;
        network.reserve([h, w])?;
        Ok(Self { network, wrap, rounding, size: [h, w, c] })
    }

    /// The image of latents `(h, w, C)`. Where 16 bits overflow it is decoded again in f32, as A1111 does.
    pub(super) fn decode(
        &mut self,
        pipeline: &Pipeline,
        latents: &[f32],
        lease: &Lease,
    ) -> Result<(RgbImage, Option<Warning>)> {
        let precision = self.network.precision();
        match self.image(pipeline, latents) {
            Err(Error::NotFinite(NotFinite::VaeDecoder)) if precision != Precision::F32 => {
                // The weights in f32 are not part of what the run reserved.
                let _more = pipeline.options().memory.reserve(2 * lease.need.decoder.weights)?;
                self.network = pipeline.networks().vae_decoder_f32(lease)?;
                let [h, w, _] = self.size;
                self.network.reserve([h, w])?;
                Ok((self.image(pipeline, latents)?, Some(Warning::DecodedInF32 { precision })))
            }
            image => Ok((image?, None)),
        }
    }

    fn image(&self, pipeline: &Pipeline, latents: &[f32]) -> Result<RgbImage> {
        let scaling_factor = pipeline.model().vae_config().scaling_factor;
        let [h, w, c] = self.size;
        let scaled = Latents::new([1, h, w, c], latents.iter().map(|x| x / scaling_factor).collect())?;
        let values = self.network.decode(&scaled, self.wrap)?;
        let [_, height, width, _] = values.shape();
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(RgbImage::from_unit_f32_with(values.data(), side(width), side(height), self.rounding)?)
    }
}

impl Pipeline {
    /// Final latents to images, one after the other to bound memory: divided by the scaling factor and decoded.
    ///
    /// # Errors
    /// The latents have other channels than the VAE, or no finite image comes of them.
    pub fn decode(&self, latents: &Latents) -> Result<Vec<RgbImage>> {
        self.decode_images(latents, CircularPadding::default(), Rounding::Nearest, &mut self.no_lease()?)
    }

    /// [`Self::decode`] of images that may continue at their opposite edge.
    pub(super) fn decode_images(
        &self,
        latents: &Latents,
        wrap: CircularPadding,
        rounding: Rounding,
        lease: &mut Lease,
    ) -> Result<Vec<RgbImage>> {
        let mut decoder = ImageDecoder::new(self, latents.shape(), wrap, rounding, lease)?;
        latents.images().map(|latents| Ok(decoder.decode(self, latents, lease)?.0)).collect()
    }
}
