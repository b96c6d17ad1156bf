//! The model inside the program: `models/emoji` of the repository (feature `builtin`).

use crate::{Model, Result};

/// How image metadata call it.
const NAME: &str = "emoji";
/// Its licence is that of the program.
const LICENSE: &str = env!("CARGO_PKG_LICENSE");
/// Where that is said.
const LICENSE_PAGE: &str = "https://spdx.org/licenses/";

macro_rules! embed {
    ($($path:literal,)*) => {
        &[$(($path, include_bytes!(concat!("../../../models/emoji/", $path)).as_slice()),)*]
    };
}

/// Its files. The tokenizer is CLIP's, which `calotype-text` has.
const FILES: &[(&str, &[u8])] = embed![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "latent_rgb.json",
    "vocabulary.json",
];

impl Model {
    /// The small model that this project trained, which is part of the program: it needs no file.
    ///
    /// # Errors
    /// It was damaged when the program was built.
    pub fn built_in() -> Result<Self> {
        Ok(Self::from_files(NAME, FILES.iter().copied())?.licensed(LICENSE, LICENSE_PAGE))
    }
}
