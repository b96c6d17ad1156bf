//! Every checkpoint key map.
//!
//! A network asks for its parameters by the names of today's diffusers folders (`text_model.…` for the text encoder,
//! which all versions of transformers read). This module knows what the same tensors are called elsewhere.

pub(crate) mod adapter;
mod folder;

/// How the tensors of a file are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `unet/diffusion_pytorch_model.safetensors` of a diffusers folder.
    UNet,
    /// `vae/diffusion_pytorch_model.safetensors` of a diffusers folder, of any age.
    Vae,
    /// `text_encoder/model.safetensors` of a diffusers folder, with or without the prefix `text_model.`.
    TextEncoder,
}

impl Names {
    /// The keys under which a file may have the parameter `name`, the likeliest first.
    pub(crate) fn candidates(self, name: &str) -> Vec<String> {
        match self {
            Self::UNet => vec![name.to_owned()],
            Self::Vae => folder::vae(name),
            Self::TextEncoder => folder::text_encoder(name),
        }
    }

    /// Whether `key` may be in the file though no network asks for it.
    pub(crate) fn ignores(self, key: &str) -> bool {
        match self {
            Self::UNet | Self::Vae => false,
            Self::TextEncoder => folder::text_encoder_ignores(key),
        }
    }
}
