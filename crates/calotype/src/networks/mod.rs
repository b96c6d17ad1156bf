//! The networks of a model, as a pipeline uses them: what goes in and comes out is on the host, so that nothing above knows devices.

mod lease;
mod on_device;
mod resident;

use std::sync::Arc;

use calotype_diffusion::{Latents, Predictor};
use calotype_models::CircularPadding;
use calotype_tensor::Precision;

pub(crate) use lease::Lease;
pub(crate) use on_device::OnDevice;
pub use resident::Keep;

use crate::{
    Error, Result,
    adapters::LoadedAdapters,
    error::NotFinite,
    memory::{PassNeed, PassSize},
    sampling::Conditioning,
    tiles::Windows,
};

/// The networks of a model on a device. Each is read when it is asked for, unless it is kept in memory, and stays there as long
/// as the caller holds it.
pub(crate) trait Networks: Send + Sync {
    /// The name of the device.
    fn device(&self) -> String;

    /// Bytes that the device takes beside what the networks need.
    fn overhead(&self) -> u64;

    /// What a pass needs of memory.
    ///
    /// # Errors
    /// The networks can't make images of that size.
    fn need(&self, pass: &PassSize) -> Result<PassNeed>;

    /// Whether the UNet is in memory, as it is without adapters.
    fn holds_unet(&self) -> bool;

    /// Reads the text encoder with its adapters.
    ///
    /// # Errors
    /// A file can't be read, or there is not enough memory.
    fn text_encoder(&self, adapters: &LoadedAdapters, lease: &mut Lease) -> Result<Box<dyn EncodeText>>;

    /// Reads the UNet with its adapters.
    ///
    /// # Errors
    /// As [`Self::text_encoder`].
    fn unet(&self, adapters: &LoadedAdapters, lease: &mut Lease) -> Result<Box<dyn PredictNoise>>;

    /// Reads the VAE's encoder.
    ///
    /// # Errors
    /// As [`Self::text_encoder`].
    fn vae_encoder(&self, lease: &mut Lease) -> Result<Box<dyn EncodeImage>>;

    /// Reads the VAE's decoder.
    ///
    /// # Errors
    /// As [`Self::text_encoder`].
    fn vae_decoder(&self, lease: &mut Lease) -> Result<Box<dyn DecodeLatents>>;

    /// Reads the VAE's decoder in f32, whatever the pipeline computes in; it is not kept.
    ///
    /// # Errors
    /// As [`Self::text_encoder`].
    fn vae_decoder_f32(&self, lease: &Lease) -> Result<Box<dyn DecodeLatents>>;
}

/// A text encoder.
pub(crate) trait EncodeText: Send {
    /// The output for `batch` sequences of 77 ids, `(B, 77, hidden_size)`, without the last `clip_skip - 1` layers.
    ///
    /// # Errors
    /// It fails, or its output is not finite.
    fn encode(&self, ids: &[u32], batch: usize, clip_skip: usize) -> Result<Vec<f32>>;
}

/// A UNet.
pub(crate) trait PredictNoise: Send {
    /// The prediction with guidance for latents of one shape.
    ///
    /// # Errors
    /// The contexts don't fit the UNet, or there is not enough memory.
    fn guided(self: Box<Self>, pass: GuidedPass) -> Result<BoxPredictor>;

    /// The prediction for latents at one timestep, each with its context.
    ///
    /// # Errors
    /// The shapes don't fit the UNet, or its output is not finite.
    fn predict(&self, latents: &Latents, timestep: f64, context: &[f32]) -> Result<Latents>;
}

/// A prediction of any kind.
pub(crate) type BoxPredictor = Box<dyn Predictor<Error = Error> + Send>;

/// What a UNet predicts in one pass of the sampler.
pub(crate) struct GuidedPass {
    pub(crate) conditioning: Arc<Conditioning>,
    pub(crate) guidance_scale: f32,
    /// Of the latents, `[B, h, w, C]`.
    pub(crate) shape: [usize; 4],
    /// What an inpainting model takes beside the latents, `(B, h, w, 1 + C)`.
    pub(crate) extra_channels: Option<Vec<f32>>,
    pub(crate) wrap: CircularPadding,
    /// The parts of the latents that the UNet sees, if not all at once.
    pub(crate) windows: Option<Windows>,
    /// Bytes of its tensors.
    pub(crate) arena: u64,
}

/// The encoder of a VAE.
pub(crate) trait EncodeImage: Send {
    /// Means and log-variances `(B, h, w, 2C)` of images `(B, H, W, 3)` in `-1..1`.
    ///
    /// # Errors
    /// The shapes don't fit the VAE, or its output is not finite.
    fn encode(&self, images: &Latents, wrap: CircularPadding) -> Result<Latents>;
}

/// The decoder of a VAE.
pub(crate) trait DecodeLatents: Send {
    /// What it computes in.
    fn precision(&self) -> Precision;

    /// Takes the memory for the latents of one image `[h, w]`.
    ///
    /// # Errors
    /// There is not enough.
    fn reserve(&mut self, size: [usize; 2]) -> Result<()>;

    /// Values of images `(B, H, W, 3)`, about `-1..1`, of latents that are not scaled.
    ///
    /// # Errors
    /// The shapes don't fit the VAE, or its output is not finite ([`NotFinite::VaeDecoder`]).
    fn decode(&self, latents: &Latents, wrap: CircularPadding) -> Result<Latents>;
}

/// Numbers that came out of a network, if all of them are finite.
fn finite(values: Vec<f32>, network: NotFinite) -> Result<Vec<f32>> {
    if values.iter().all(|x| x.is_finite()) { Ok(values) } else { Err(Error::NotFinite(network)) }
}
