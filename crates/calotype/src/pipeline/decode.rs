//! From latents to images.

use calotype_diffusion::Latents;
use calotype_image::{RgbImage, Rounding};
use calotype_models::{VaeDecoder, Wrap};
use calotype_tensor::{Backend, Device, Memory, Precision, infer};

use super::{Lease, Pipeline, VaeDecoderOf};
use crate::{Error, Result, Warning, error::NotFinite, memory::NetworkNeed, resident::Resident};

/// A decoder for latents of one size.
pub(super) struct Decoder<D: Device> {
    resident: VaeDecoderOf<D>,
    precision: Precision,
    wrap: Wrap,
    rounding: Rounding,
    /// `[h, w, C]`.
    size: [usize; 3],
}

impl<D: Device> Decoder<D> {
    /// Reads the weights, if they are not in memory.
    pub(super) fn new(
        pipeline: &Pipeline<D>,
        [_, h, w, c]: [usize; 4],
        wrap: Wrap,
        rounding: Rounding,
        lease: &mut Lease,
    ) -> Result<Self> {
        let resident = pipeline.vae_decoder(lease)?;
        let precision = pipeline.auxiliary_precision();
        let mut decoder = Self { resident, precision, wrap, rounding, size: [h, w, c] };
        decoder.prepare(pipeline)?;
        Ok(decoder)
    }

    /// Takes the memory of the tensors. Bands have no arena: what they need is joined from parts outside of it.
    fn prepare(&mut self, pipeline: &Pipeline<D>) -> Result<()> {
        let Resident { backend, network } = &mut self.resident;
        network.set_wrap(self.wrap);
        if !pipeline.options().vae_tiling {
            let [h, w, _] = self.size;
            let need = NetworkNeed::decoder(backend, pipeline.model().vae_config(), [h, w])?;
            backend.reserve(usize::try_from(need.arena).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    /// The image of latents `(h, w, C)`. Where 16 bits overflow it is decoded again in f32, as A1111 does.
    pub(super) fn decode(
        &mut self,
        pipeline: &Pipeline<D>,
        latents: &[f32],
        lease: &Lease,
    ) -> Result<(RgbImage, Option<Warning>)> {
        if let Some(image) = self.finite(pipeline, latents)? {
            return Ok((image, None));
        }
        if self.precision != Precision::F32 {
            let precision = std::mem::replace(&mut self.precision, Precision::F32);
            // The weights in f32 are not part of what the run reserved.
            let _more = pipeline.options().memory.reserve(2 * lease.need.decoder.weights)?;
            self.resident = pipeline.decoder_in(Precision::F32, &lease.cancel)?;
            self.prepare(pipeline)?;
            if let Some(image) = self.finite(pipeline, latents)? {
                return Ok((image, Some(Warning::DecodedInF32 { precision })));
            }
        }
        Err(Error::NotFinite(NotFinite::VaeDecoder))
    }

    /// The image, if all its numbers are finite.
    fn finite(&self, pipeline: &Pipeline<D>, latents: &[f32]) -> Result<Option<RgbImage>> {
        let Resident { backend, network } = &self.resident;
        let scaling_factor = pipeline.model().vae_config().scaling_factor;
        let [h, w, c] = self.size;
        let scaled = backend.from_f32([1, h, w, c].into(), latents.iter().map(|x| x / scaling_factor).collect())?;
        let decoded = forward(backend, network, &scaled, pipeline.options().vae_tiling)?;
        let [_, height, width, _] = infer::picture("decode", "the image", backend.shape(&decoded))?;
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let values = backend.to_f32(&decoded)?;
        if !values.iter().all(|x| x.is_finite()) {
            return Ok(None);
        }
        Ok(Some(RgbImage::from_unit_f32_with(&values, side(width), side(height), self.rounding)?))
    }
}

fn forward<B: Backend>(
    backend: &B,
    network: &VaeDecoder<B::Param>,
    latents: &B::Tensor,
    tiled: bool,
) -> Result<B::Tensor> {
    Ok(match tiled {
        true => network.forward_tiled(backend, latents)?,
        false => network.forward(backend, latents, false)?,
    })
}

impl<D: Device> Pipeline<D> {
    /// Final latents to images, one after the other to bound memory: divided by the scaling factor and decoded.
    ///
    /// # Errors
    /// The latents have other channels than the VAE, or no finite image comes of them.
    pub fn decode(&self, latents: &Latents) -> Result<Vec<RgbImage>> {
        self.decode_images(latents, Wrap::default(), Rounding::Nearest, &mut self.no_lease()?)
    }

    /// [`Self::decode`] of images that may continue at their opposite edge.
    pub(super) fn decode_images(
        &self,
        latents: &Latents,
        wrap: Wrap,
        rounding: Rounding,
        lease: &mut Lease,
    ) -> Result<Vec<RgbImage>> {
        let mut decoder = Decoder::new(self, latents.shape(), wrap, rounding, lease)?;
        latents.images().map(|latents| Ok(decoder.decode(self, latents, lease)?.0)).collect()
    }
}
