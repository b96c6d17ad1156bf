use calotype_tensor::{Backend, Result as Computed, op_shapes};

use super::{
    coder::{KlDecoder, KlEncoder},
    tiny::{TinyDecoder, TinyEncoder},
};
use crate::{CircularPadding, Result, Scope, VaeConfig};

/// Picture to moments: the autoencoder's first half.
#[derive(Clone, Debug)]
pub struct VaeEncoder<P>(Encoder<P>);

#[derive(Clone, Debug)]
enum Encoder<P> {
    Kl(Box<KlEncoder<P>>),
    Tiny(TinyEncoder<P>),
}

impl<P> VaeEncoder<P> {
    /// Makes it at `scope`, the root of an autoencoder's names.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn new(config: &VaeConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        Ok(Self(match &config.tiny {
            Some(tiny) => Encoder::Tiny(TinyEncoder::new(config, tiny, scope)?),
            None => Encoder::Kl(Box::new(KlEncoder::new(config, scope)?)),
        }))
    }

    /// As [`UNet::set_wrap`](crate::UNet::set_wrap); what halves the picture keeps its zeros, as CompVis pads there apart
    /// from the convolution.
    pub fn set_wrap(&mut self, wrap: CircularPadding) {
        match &mut self.0 {
            Encoder::Kl(encoder) => encoder.set_wrap(wrap),
            Encoder::Tiny(encoder) => encoder.set_wrap(wrap),
        }
    }

    /// [`AutoencoderKl::encode`](super::AutoencoderKl::encode), each residual block and the attention through
    /// [`Backend::checkpoint`] if `checkpointing`.
    ///
    /// # Errors
    /// The picture has other channels, or is too small.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, pixels: &B::Tensor, checkpointing: bool) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        match &self.0 {
            Encoder::Kl(encoder) => encoder.forward(b, pixels, checkpointing),
            Encoder::Tiny(encoder) => encoder.forward(b, pixels, checkpointing),
        }
    }
}

/// Latents to picture: the autoencoder's second half.
#[derive(Clone, Debug)]
pub struct VaeDecoder<P>(Decoder<P>);

#[derive(Clone, Debug)]
enum Decoder<P> {
    Kl(Box<KlDecoder<P>>),
    Tiny(TinyDecoder<P>),
}

impl<P> VaeDecoder<P> {
    /// Makes it at `scope`, the root of an autoencoder's names.
    ///
    /// # Errors
    /// A parameter can't be had.
    pub fn new(config: &VaeConfig, scope: &mut Scope<'_, P>) -> Result<Self> {
        Ok(Self(match &config.tiny {
            Some(tiny) => Decoder::Tiny(TinyDecoder::new(config, tiny, scope)?),
            None => Decoder::Kl(Box::new(KlDecoder::new(config, scope)?)),
        }))
    }

    /// As [`UNet::set_wrap`](crate::UNet::set_wrap).
    pub fn set_wrap(&mut self, wrap: CircularPadding) {
        match &mut self.0 {
            Decoder::Kl(decoder) => decoder.set_wrap(wrap),
            Decoder::Tiny(decoder) => decoder.set_wrap(wrap),
        }
    }

    /// [`AutoencoderKl::decode`](super::AutoencoderKl::decode), each residual block and the attention through
    /// [`Backend::checkpoint`] if `checkpointing`.
    ///
    /// # Errors
    /// The latents have other channels.
    pub fn forward<B: Backend<Param = P>>(&self, b: &B, latents: &B::Tensor, checkpointing: bool) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        self.picture(b, &self.last_features(b, latents, checkpointing)?)
    }

    /// Everything but the last convolution, 3×3 with one zero around: `(B, f·h, f·w, C)`.
    ///
    /// # Errors
    /// The latents have other channels.
    pub fn last_features<B: Backend<Param = P>>(
        &self,
        b: &B,
        latents: &B::Tensor,
        checkpointing: bool,
    ) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        match &self.0 {
            Decoder::Kl(decoder) => decoder.last_features(b, latents, checkpointing),
            Decoder::Tiny(decoder) => decoder.last_features(b, latents, checkpointing),
        }
    }

    /// What [`last_features`](Self::last_features) gives, as a picture: the last convolution.
    ///
    /// # Errors
    /// `features` is not what it was made from.
    pub fn picture<B: Backend<Param = P>>(&self, b: &B, features: &B::Tensor) -> Computed<B::Tensor> {
        match &self.0 {
            Decoder::Kl(decoder) => decoder.picture(b, features),
            Decoder::Tiny(decoder) => decoder.picture(b, features),
        }
    }

    /// [`Self::forward`] of one picture's latents `(1, h, w, latent_channels)` in about half of the memory: what comes
    /// after the lowest resolution is computed in bands of rows. The result is the same up to rounding, for convolutions
    /// see the rows of their neighbours and norms have the statistics of the whole picture. For inference only.
    ///
    /// # Errors
    /// The latents have other channels, or are of more than one picture.
    pub fn forward_tiled<B: Backend<Param = P>>(&self, b: &B, latents: &B::Tensor) -> Computed<B::Tensor>
    where
        P: Clone + 'static,
    {
        let [_, height, width, channels] = op_shapes::picture("decode", "latents", b.shape(latents))?;
        op_shapes::same("decode", "latents", [1, height, width, channels].into(), b.shape(latents))?;
        match &self.0 {
            Decoder::Kl(decoder) => decoder.forward_tiled(b, latents),
            Decoder::Tiny(decoder) => decoder.forward_tiled(b, latents),
        }
    }
}
