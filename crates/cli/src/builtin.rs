//! The model inside this program: `models/emoji` of the repository.

use calotype::EmbeddedFile;

/// How pictures' files call it.
pub(crate) const NAME: &str = "emoji";

macro_rules! embed {
    ($($path:literal,)*) => {
        &[$(($path, include_bytes!(concat!("../../../models/emoji/", $path)).as_slice()),)*]
    };
}

/// Its files. The tokenizer is CLIP's, which the library has.
pub(crate) const FILES: &[EmbeddedFile] = embed![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];
