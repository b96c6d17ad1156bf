//! What a file is at all.

use std::fmt;

use calotype_formats::Checkpoint;

use super::{Layout, Names, WeightSet};

/// What the tensors of a file make together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// Networks of Stable Diffusion 1 or 2: those that are true.
    Networks {
        /// The text encoder.
        text_encoder: bool,
        /// The UNet.
        unet: bool,
        /// The autoencoder.
        vae: bool,
    },
    /// What changes a model's weights a little.
    Adapter(AdapterForm),
    /// Vectors for new words (Gal et al. 2022).
    TextualInversion,
    /// Small networks before the keys and values of a UNet's attention.
    Hypernetwork,
    /// A model of another family, by its name.
    Other(&'static str),
    /// Tensors of unknown use.
    Unknown,
}

/// How an adapter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterForm {
    /// `lora_unet_….lora_down.weight`.
    KohyaLora,
    /// `unet.….lora_A.weight`, `unet.….lora.down.weight`.
    DiffusersLora,
    /// Products of Hadamard: `….hada_w1_a`.
    LoHa,
    /// Products of Kronecker: `….lokr_w1`.
    LoKr,
    /// Whole differences: `….diff`.
    Full,
}

impl fmt::Display for AdapterForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KohyaLora => "LoRA (kohya)",
            Self::DiffusersLora => "LoRA (diffusers)",
            Self::LoHa => "LyCORIS LoHa",
            Self::LoKr => "LyCORIS LoKr",
            Self::Full => "LyCORIS full",
        })
    }
}

/// A tensor that only models of another family have, and the family's name.
const OTHERS: [(&str, &str); 9] = [
    ("conditioner.embedders.1.model.ln_final.weight", "Stable Diffusion XL"),
    ("conditioner.embedders.0.model.ln_final.weight", "the Stable Diffusion XL refiner"),
    ("model.diffusion_model.x_embedder.proj.weight", "Stable Diffusion 3"),
    ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux"),
    ("model.diffusion_model.label_emb.0.0.weight", "a UNet with class or image embeddings (unCLIP)"),
    ("depth_model.model.pretrained.act_postprocess3.0.project.0.bias", "Stable Diffusion 2 with depth"),
    ("cond_stage_model.roberta.embeddings.word_embeddings.weight", "AltDiffusion"),
    ("control_model.input_blocks.0.0.weight", "a ControlNet"),
    ("controlnet_cond_embedding.conv_in.weight", "a ControlNet"),
];

/// Ends of adapters' keys.
const ADAPTERS: [(&[&str], AdapterForm); 5] = [
    (&[".hada_w1_a"], AdapterForm::LoHa),
    (&[".lokr_w1", ".lokr_w1_a"], AdapterForm::LoKr),
    (&[".diff"], AdapterForm::Full),
    (
        &[".lora_A.weight", ".lora_A.default.weight", ".lora.down.weight", "_lora.down.weight"],
        AdapterForm::DiffusersLora,
    ),
    (&[".lora_down.weight"], AdapterForm::KohyaLora),
];

/// Keys that hold the vectors of a textual inversion: A1111's, and what Stable Diffusion 2's have.
const INVERSIONS: [&str; 3] = ["emb_params", "string_to_param.*", "clip_l"];
/// A file of vectors has no more tensors than tokens in a prompt.
const MAX_INVERSION_TENSORS: usize = 75;

impl FileKind {
    /// Tells what `file` is by its keys and shapes.
    #[must_use]
    pub fn of(file: &Checkpoint) -> Self {
        if let Some((_, family)) = OTHERS.iter().find(|(key, _)| file.get(key).is_some()) {
            return Self::Other(family);
        }
        let has = |names| Layout::detect(file, names, WeightSet::Auto).is_some();
        let (text_encoder, unet, vae) = (has(Names::TextEncoder), has(Names::UNet), has(Names::Vae));
        if text_encoder || unet || vae {
            return Self::Networks { text_encoder, unet, vae };
        }
        let ends = |ends: &[&str]| file.tensors().any(|tensor| ends.iter().any(|end| tensor.name.ends_with(end)));
        if let Some((_, form)) = ADAPTERS.iter().find(|(keys, _)| ends(keys)) {
            return Self::Adapter(*form);
        }
        if ends(&[".linear.0.weight"]) {
            return Self::Hypernetwork;
        }
        let named = INVERSIONS.iter().any(|key| file.get(key).is_some());
        // diffusers' has one tensor, named by the new word.
        let vectors = || {
            let count = file.tensors().len();
            let flat = |shape: &[usize]| shape.len() <= 2 && matches!(shape.last(), Some(768 | 1024 | 1280));
            (1..=MAX_INVERSION_TENSORS).contains(&count)
                && file.tensors().all(|t| flat(&t.shape) && t.name.starts_with('<') && t.name.ends_with('>'))
        };
        if named || vectors() { Self::TextualInversion } else { Self::Unknown }
    }
}
