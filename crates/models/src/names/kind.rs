//! What a file is at all.

use std::fmt;

use calotype_formats::Checkpoint;

use super::{Layout, TaesdHalf, UpscalerKind, WeightSet, find_unwrapped, unwrapped_name, upscaler};
use crate::{Component, family};

/// What the tensors of a file make together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// Networks of Stable Diffusion 1 or 2: in the order of [`Component::ALL`].
    Networks(Vec<Component>),
    /// What changes a model's weights a little.
    Adapter(AdapterForm),
    /// Vectors for new words (Gal et al. 2022).
    TextualInversion,
    /// Small networks before the keys and values of a UNet's attention.
    Hypernetwork,
    /// A network for super-resolution.
    Upscaler(UpscalerKind),
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
    /// `base_model.model.….lora_A.weight`.
    Peft,
    /// Products of Hadamard: `….hada_w1_a`.
    LoHa,
    /// Products of Kronecker: `….lokr_w1`.
    LoKr,
    /// Whole differences: `….diff`.
    Full,
    /// Factors of rows or columns: `….on_input` beside `….weight`.
    Ia3,
    /// Rotations (OFT, BOFT), which are not supported: `….oft_blocks`.
    Oft,
    /// GLoRA, which is not supported: `….a1.weight`.
    GLora,
}

impl fmt::Display for AdapterForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KohyaLora => "LoRA (kohya)",
            Self::DiffusersLora => "LoRA (diffusers)",
            Self::Peft => "PEFT",
            Self::LoHa => "LyCORIS LoHa",
            Self::LoKr => "LyCORIS LoKr",
            Self::Full => "LyCORIS full",
            Self::Ia3 => "LyCORIS (IA)^3",
            Self::Oft => "LyCORIS OFT or BOFT, which is not supported",
            Self::GLora => "LyCORIS GLoRA, which is not supported",
        })
    }
}

/// A tensor that only models of another family have, and the family's name.
const OTHERS: &[(&str, &str)] = &[
    ("conditioner.embedders.1.model.ln_final.weight", family::XL),
    ("conditioner.embedders.0.model.ln_final.weight", family::XL_REFINER.1),
    ("model.diffusion_model.x_embedder.proj.weight", "Stable Diffusion 3"),
    ("joint_blocks.0.context_block.attn.qkv.weight", "Stable Diffusion 3"),
    ("transformer_blocks.0.attn.add_k_proj.weight", "a transformer of Stable Diffusion 3 or Flux"),
    ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux"),
    ("double_blocks.0.img_attn.qkv.weight", "Flux"),
    ("model.diffusion_model.blocks.0.cross_attn.k.weight", "Wan"),
    ("blocks.0.cross_attn.k.weight", "Wan"),
    ("model.diffusion_model.clip_txt_mapper.weight", "Stable Cascade"),
    ("adaln_single.linear.weight", "PixArt"),
    ("cond_stage_model.roberta.embeddings.word_embeddings.weight", "AltDiffusion"),
    ("controlnet_cond_embedding.conv_in.weight", "a ControlNet"),
    ("lllite_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.down.0.weight", "a ControlLLLite"),
    ("adapter.body.0.block1.weight", "a T2I-Adapter"),
    ("body.0.block1.weight", "a T2I-Adapter"),
    ("ip_adapter.1.to_k_ip.weight", "an IP-Adapter"),
    ("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight", "a motion module of AnimateDiff"),
    ("encoder.block.0.layer.0.SelfAttention.q.weight", "a T5 text encoder"),
    ("vision_model.embeddings.patch_embedding.weight", "a CLIP vision encoder"),
];

/// Tensors of networks that a whole checkpoint may have beside its own, and what a file is that has no others.
const BESIDE_A_MODEL: [(&str, &str); 2] = [
    ("control_model.input_blocks.0.0.weight", "a ControlNet"),
    ("depth_model.model.pretrained.act_postprocess3.0.project.0.bias", "a depth estimator"),
];

/// Ends of the weights that take what a UNet is told beside timestep and text: sizes, a pooled text, a picture, a class.
const ADDED: [&str; 4] = [
    "label_emb.0.0.weight",
    "add_embedding.linear_1.weight",
    "class_embedding.linear_1.weight",
    "class_embedding.weight",
];
/// Ends a weight whose inputs are the contexts.
const CONTEXT: &str = ".attn2.to_k.weight";
/// What PEFT calls the layer around which it puts an adapter.
pub(super) const BASE_LAYER: &str = ".base_layer.";

/// The family of a UNet that takes more than Stable Diffusion's, by the width of its contexts and of what it takes.
fn added(file: &Checkpoint) -> Option<&'static str> {
    let weight = file.tensors().find(|tensor| {
        let is_last =
            |end: &str| tensor.name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        ADDED.iter().any(|end| is_last(end))
    })?;
    let context = file.tensors().find(|tensor| tensor.name.ends_with(CONTEXT)).and_then(|t| t.shape.get(1).copied());
    Some(match (context, weight.shape.get(1)) {
        (Some(2048), _) | (None, Some(2816)) => "a UNet of Stable Diffusion XL",
        (Some(1280), Some(2560)) | (None, Some(2560)) => "a UNet of the Stable Diffusion XL refiner",
        (Some(768 | 1024), _) => "a UNet with class or image embeddings (unCLIP)",
        _ => "a UNet that is told more than Stable Diffusion's is",
    })
}

/// Whether a network of `file` has an adapter in it that PEFT put there: layers inside of others, beside layers as they are.
fn is_injected(file: &Checkpoint) -> bool {
    let is_of_adapter = |name: &str| name.contains(BASE_LAYER) || name.contains(".lora_");
    file.tensors().any(|tensor| tensor.name.contains(BASE_LAYER))
        && file.tensors().any(|tensor| tensor.name.contains("norm") && !is_of_adapter(&tensor.name))
}

/// Ends of adapters' keys.
const ADAPTERS: [(&[&str], AdapterForm); 8] = [
    (&[".hada_w1_a"], AdapterForm::LoHa),
    (&[".lokr_w1", ".lokr_w1_a"], AdapterForm::LoKr),
    (&[".oft_blocks", ".oft_diag"], AdapterForm::Oft),
    (&[".a1.weight"], AdapterForm::GLora),
    (
        &[".lora_A.weight", ".lora_A.default.weight", ".lora.down.weight", "_lora.down.weight"],
        AdapterForm::DiffusersLora,
    ),
    (&[".lora_down.weight"], AdapterForm::KohyaLora),
    (&[".diff", ".diff_b", ".w_norm", ".b_norm"], AdapterForm::Full),
    (&[".on_input"], AdapterForm::Ia3),
];
/// What PEFT wraps around a network's names.
pub(super) const PEFT: &str = "base_model.model.";

/// Keys that hold the vectors of a textual inversion: A1111's, and what Stable Diffusion 2's have.
const INVERSIONS: [&str; 3] = ["emb_params", "string_to_param.*", "clip_l"];
/// A file of vectors has no more tensors than tokens in a prompt.
const MAX_INVERSION_TENSORS: usize = 75;
/// Nor more vectors than anybody trained.
const MAX_INVERSION_VECTORS: usize = 256;

impl FileKind {
    /// Tells what `file` is by its keys and shapes.
    #[must_use]
    pub fn of(file: &Checkpoint) -> Self {
        let wrapped = file.tensors().any(|tensor| unwrapped_name(&tensor.name) != tensor.name);
        let get = |key: &str| if wrapped { find_unwrapped(file, key).is_some() } else { file.get(key).is_some() };
        let family = |families: &[(&str, &'static str)]| families.iter().find(|(key, _)| get(key)).map(|of| of.1);
        if let Some(family) = family(OTHERS).or_else(|| added(file)) {
            return Self::Other(family);
        }
        if let Some((kind, _)) = Layout::of_upscaler(file) {
            return Self::Upscaler(kind);
        }
        if let Some(name) = upscaler::not_run(file) {
            return Self::Other(name);
        }
        match TaesdHalf::of(file) {
            Some(TaesdHalf::Encoder) => return Self::Other("the encoder of a tiny VAE (TAESD) without its decoder"),
            Some(TaesdHalf::Decoder) => return Self::Other("the decoder of a tiny VAE (TAESD) without its encoder"),
            None => {}
        }
        if is_injected(file) {
            return Self::Other("a network with an adapter of PEFT in it, which was not merged");
        }
        let mut networks = Component::ALL.to_vec();
        networks.retain(|&component| Layout::detect(file, component, WeightSet::Auto).is_some());
        // A ControlNet's file may have the model's networks too, and a part of a model be a ControlNet's.
        if let Some(family) = family(&BESIDE_A_MODEL)
            .filter(|_| ![Component::UNet, Component::Vae].iter().all(|needed| networks.contains(needed)))
        {
            return Self::Other(family);
        }
        if !networks.is_empty() {
            return Self::Networks(networks);
        }
        let ends = |ends: &[&str]| file.tensors().any(|tensor| ends.iter().any(|end| tensor.name.ends_with(end)));
        if let Some((_, form)) = ADAPTERS.iter().find(|(keys, _)| ends(keys)) {
            let is_peft = file.tensors().all(|tensor| tensor.name.starts_with(PEFT));
            return Self::Adapter(if is_peft { AdapterForm::Peft } else { *form });
        }
        if ends(&[".linear.0.weight"]) {
            return Self::Hypernetwork;
        }
        let named = INVERSIONS.iter().any(|key| file.get(key).is_some());
        // diffusers' has one tensor for each new word, by which it is named.
        let vectors = || {
            let count = file.tensors().len();
            let flat = |shape: &[usize]| shape.len() <= 2 && matches!(shape.last(), Some(768 | 1024 | 1280));
            let is_word = |name: &str| count == 1 || (name.starts_with('<') && name.ends_with('>'));
            let few =
                |shape: &[usize]| shape.len() < 2 || shape.first().is_some_and(|&rows| rows <= MAX_INVERSION_VECTORS);
            (1..=MAX_INVERSION_TENSORS).contains(&count)
                && file.tensors().all(|t| flat(&t.shape) && few(&t.shape) && is_word(&t.name))
        };
        if named || vectors() { Self::TextualInversion } else { Self::Unknown }
    }
}
