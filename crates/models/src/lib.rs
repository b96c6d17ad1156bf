//! The networks of Stable Diffusion: CLIP's text encoder, the UNet, the autoencoder, and the names of their weights; and networks for
//! super-resolution ([`UpscalerFile`]).
//!
//! Each network is made from its config, which is diffusers' or transformers' `config.json`:
//! [`TextConfig`] makes a [`ClipTextEncoder`], [`UNetConfig`] a [`UNet`], [`VaeConfig`] an [`AutoencoderKl`].
//! [`ModelConfig`] says how: [`load`](ModelConfig::load) takes the parameters from a checkpoint,
//! [`init`](ModelConfig::init) from any [`ParamSource`], [`specs`](ModelConfig::specs) lists them and computes nothing.
//!
//! A network is generic over the form `P` of its parameters, and its `forward` over every
//! [`Backend`](calotype_tensor::Backend) with that form, so the same code infers, trains and counts.
//! Activations are channels-last.

pub mod adapters;
mod bands;
mod clip;
mod component;
mod config;
mod curve;
mod encoder_layer;
mod error;
mod family;
mod layers;
mod names;
mod open_nsfw;
mod padding;
mod padding_mask;
mod params;
mod perceptual;
mod resnet;
mod rivagan;
mod timestep;
mod transformer;
mod unet;
mod upsample_odd;
mod upscaler;
mod vae;
mod vision;

pub use clip::{ClipTextEncoder, TextFeatures};
pub use component::Component;
pub use config::{
    CompVisConfig, DownBlockType, HiddenAct, MidBlockType, ModelConfig, PerBlock, TextConfig, TinyBlocks, UNetConfig,
    UpBlockType, VaeConfig,
};
pub use error::{Error, Result};
pub use family::{Family, Heads, SD1, SD2};
pub use names::{
    AdapterForm, AuxiliaryKind, FileKind, LayerKind, Layout, Place, TaesdHalf, UNetLevel, UpscalerKind, WeightSet,
    find_unwrapped, has_ema, has_optimizer, has_raw, is_pruned_to_ema, unwrapped_name,
};
pub use open_nsfw::OpenNsfw;
pub use padding::CircularPadding;
pub use params::{InMemory, Init, ParamSource, ParamSpec, Random, Scope, Stored};
pub use perceptual::{DiscriminatorConfig, EfficientNetLite0, PatchDiscriminator, PerceptualDistance};
pub use rivagan::{BITS as RIVAGAN_BITS, RivaGanDecoder};
pub use timestep::timestep_embedding;
pub use unet::{Context, Residuals, TimeEmbedding, UNet, UNetInputs};
pub use upscaler::{
    CompactConfig, HatConfig, RrdbConfig, SpanConfig, SwinIrConfig, SwinUpsampler, Upscaler, UpscalerConfig,
    UpscalerFile,
};
pub use vae::{AutoencoderKl, VaeDecoder, VaeEncoder, posterior};
pub use vision::{VisionConfig, VisionTransformer};
