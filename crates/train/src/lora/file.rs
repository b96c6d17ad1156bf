//! The files of a LoRA: kohya's, which most programs read, and diffusers'.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_formats::{DType, encode_f32, to_bytes as safetensors, write_safetensors};
use calotype_models::Component;
use sha2::{Digest, Sha256};

use super::{DOWN, Module, UP};
use crate::{Result, weights::Weights};

/// How tensors are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `lora_unet_…_to_q.lora_down.weight`, with the alpha of each module.
    Kohya,
    /// `unet.….to_q.lora.down.weight`; without alphas, the second factor has the scale in it.
    Diffusers,
}

type Tensor = (String, DType, Vec<usize>, Cow<'static, [u8]>);

/// The tensors of a file.
fn tensors(modules: &[Module], weights: &Weights, form: Form, dtype: DType) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for module in modules {
        let [down, up] = module.factors();
        let scale = if form == Form::Diffusers { module.scale() } else { 1.0 };
        for (part, spec, scale) in [(DOWN, down, 1.0), (UP, up, scale)] {
            let values: Vec<f32> = weights.get(&spec)?.iter().map(|value| value * scale).collect();
            tensors.push((module.key(form, part), dtype, spec.shape, Cow::from(encode_f32(&values, dtype)?)));
        }
        if form == Form::Kohya {
            let alpha = Cow::from(encode_f32(&[module.alpha], dtype)?);
            tensors.push((format!("{}.alpha", module.flat()), dtype, Vec::new(), alpha));
        }
    }
    Ok(tensors)
}

/// A file in memory, without metadata.
pub(crate) fn to_bytes(modules: &[Module], weights: &Weights, form: Form, dtype: DType) -> Result<Vec<u8>> {
    Ok(safetensors(tensors(modules, weights, form, dtype)?, &BTreeMap::new())?)
}

impl Module {
    fn flat(&self) -> String {
        let network = if self.component == Component::UNet { "unet" } else { "te" };
        format!("lora_{network}_{}", self.path.replace('.', "_"))
    }

    fn key(&self, form: Form, part: &str) -> String {
        let side = if part == DOWN { "down" } else { "up" };
        match (form, self.component) {
            (Form::Kohya, _) => format!("{}.{part}", self.flat()),
            (Form::Diffusers, Component::UNet) => format!("{}.lora.{side}.weight", self.name()),
            (Form::Diffusers, _) => format!("{}.lora_linear_layer.{side}.weight", self.name()),
        }
    }
}

/// What kohya's metadata say of a run beside its settings.
pub(crate) struct About {
    /// The name of the run.
    pub(crate) name: String,
    /// `ss_…` of the run.
    pub(crate) settings: BTreeMap<String, String>,
    /// Whether the model is of Stable Diffusion 2.
    pub(crate) is_sd2: bool,
    /// Side of the pictures.
    pub(crate) size: u32,
    /// Whether the model predicts v.
    pub(crate) is_v: bool,
}

/// What is written at the end of a run.
pub(crate) struct Files<'a> {
    pub(crate) modules: &'a [Module],
    pub(crate) weights: &'a Weights,
    pub(crate) dtype: DType,
    pub(crate) about: About,
}

/// What diffusers looks for in a folder.
const DIFFUSERS: &str = "pytorch_lora_weights.safetensors";

impl Files<'_> {
    /// Writes both files into a folder that is there.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let kohya = tensors(self.modules, self.weights, Form::Kohya, self.dtype)?;
        let metadata = self.metadata(&kohya)?;
        write_safetensors(folder.join(format!("{}.safetensors", self.about.name)), kohya, &metadata)?;
        let diffusers = tensors(self.modules, self.weights, Form::Diffusers, self.dtype)?;
        let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(write_safetensors(folder.join(DIFFUSERS), diffusers, &format)?)
    }

    /// `ss_*`, `sshs_*` and `modelspec.*` as sd-scripts writes them.
    fn metadata(&self, tensors: &[Tensor]) -> Result<BTreeMap<String, String>> {
        let About { name, settings, is_sd2, size, is_v } = &self.about;
        let mut metadata = settings.clone();
        let bytes = safetensors(tensors.to_vec(), &metadata)?;
        let (model, legacy) = hashes(&bytes);
        let architecture = if *is_sd2 { "stable-diffusion-v2-768-v/lora" } else { "stable-diffusion-v1/lora" };
        let prediction = if *is_v { "v" } else { "epsilon" };
        for (key, value) in [
            ("sshs_model_hash", model.clone()),
            ("sshs_legacy_hash", legacy),
            ("modelspec.sai_model_spec", "1.0.0".to_owned()),
            ("modelspec.architecture", architecture.to_owned()),
            ("modelspec.implementation", "https://github.com/CompVis/stable-diffusion".to_owned()),
            ("modelspec.title", name.clone()),
            ("modelspec.resolution", format!("{size}x{size}")),
            ("modelspec.prediction_type", prediction.to_owned()),
            ("modelspec.hash_sha256", format!("0x{model}")),
        ] {
            metadata.insert(key.to_owned(), value);
        }
        Ok(metadata)
    }
}

/// The SHA-256 of what stands behind the header of a file, and the first digits of that of 64 KiB at the first mebibyte, as A1111's
/// network of additions had it.
fn hashes(file: &[u8]) -> (String, String) {
    const LENGTH: usize = 8;
    const LEGACY: usize = 0x10_0000;
    const PART: usize = 0x1_0000;
    let header = file.first_chunk::<LENGTH>().map_or(0, |length| u64::from_le_bytes(*length) as usize);
    let data = file.get(LENGTH.saturating_add(header)..).unwrap_or(&[]);
    let legacy = file.get(LEGACY..file.len().min(LEGACY + PART)).unwrap_or(&[]);
    (sha256_hex(data), sha256_hex(legacy).chars().take(8).collect())
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
