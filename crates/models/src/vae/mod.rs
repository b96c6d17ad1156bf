mod attention;
mod coder;
mod halves;
mod tiny;

use calotype_tensor::{Backend, Result as Computed};

pub use halves::{VaeDecoder, VaeEncoder};

use crate::{Result, Scope, VaeConfig};

/// Bounds of a posterior's log-variance.
const LOGVAR: (f32, f32) = (-30.0, 20.0);

/// The autoencoder with a KL-regularised latent (Rombach et al. 2022; diffusers `AutoencoderKL`), or a small one that takes its
/// place (TAESD; diffusers `AutoencoderTiny`), whose posterior has no variance.
///
/// [`VaeConfig::scaling_factor`] is not applied here.
#[derive(Clone, Debug)]
pub struct AutoencoderKl<P> {
    /// Whether each residual block and each attention goes through [`Backend::checkpoint`].
    pub checkpointing: bool,
    config: VaeConfig,
    encoder: VaeEncoder<P>,
    decoder: VaeDecoder<P>,
}

impl<P> AutoencoderKl<P> {
    /// Makes it at `scope`, the root of an autoencoder's names.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn new(config: &VaeConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        Ok(Self {
            checkpointing: false,
            config: config.clone(),
            encoder: VaeEncoder::new(config, scope)?,
            decoder: VaeDecoder::new(config, scope)?,
        })
    }

    /// The config it was made from.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// A picture `(B, H, W, in_channels)` in `-1..1` to the moments of its posterior,
    /// `(B, H/f, W/f, 2·latent_channels)`: means, then log-variances. [`posterior`] takes them apart.
    ///
    /// # Errors
    /// The picture has other channels, or is too small.
    pub fn encode<B: Backend<Param = P>>(&self, b: &B, pixels: &B::Tensor) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        self.encoder.forward(b, pixels, self.checkpointing)
    }

    /// Latents `(B, h, w, latent_channels)` to a picture `(B, f·h, f·w, out_channels)`, about `-1..1`, not clamped.
    ///
    /// # Errors
    /// The latents have other channels.
    pub fn decode<B: Backend<Param = P>>(&self, b: &B, latents: &B::Tensor) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        self.decoder.forward(b, latents, self.checkpointing)
    }

    /// [`decode`](Self::decode), with what its last convolution, 3×3 with one zero around, is made from: `(B, f·h, f·w, C)`.
    ///
    /// # Errors
    /// As there.
    pub fn decode_with_features<B: Backend<Param = P>>(
        &self,
        b: &B,
        latents: &B::Tensor,
    ) -> Computed<(B::Tensor, B::Tensor)>
    where
        P: Clone + 'static,
    {
        let features = self.decoder.last_features(b, latents, self.checkpointing)?;
        Ok((self.decoder.picture(b, &features)?, features))
    }
}

/// Mean and log-variance, each `(B, h, w, C)`, of moments `(B, h, w, 2C)`; the log-variance within `-30..20`.
///
/// # Errors
/// `moments` is not a picture's.
pub fn posterior<B: Backend>(b: &B, moments: &B::Tensor) -> Computed<(B::Tensor, B::Tensor)> {
    let channels = b.shape(moments).last() / 2;
    let logvar = b.clamp(&b.narrow(moments, channels, channels)?, LOGVAR.0, LOGVAR.1)?;
    Ok((b.narrow(moments, 0, channels)?, logvar))
}
