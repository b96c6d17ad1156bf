//! From any layout to any other.

mod auxiliary;
mod compvis;
mod diffusers;
mod stage;
mod tensors;
mod upscaler;

use std::path::Path;

use calotype_formats::{Checkpoint, DType};
use calotype_models::{
    Component, FileKind, Layout, ModelConfig, TaesdHalf, TextConfig, UNetConfig, VaeConfig, WeightSet,
};

pub use diffusers::model_index;

use crate::{Error, Model, ModelOptions, NetworkFiles, Result, error::show, files::read_small, open};

/// A layout to convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvertTo {
    /// A diffusers folder.
    Diffusers,
    /// A checkpoint in one safetensors file, with its YAML config beside it.
    CompVis,
}

/// How to convert.
#[derive(Clone, Copy, Debug)]
pub struct ConvertOptions {
    /// The layout to write.
    pub to: ConvertTo,
    /// The number type to write: f32, f16 or bf16; that of each tensor if not given, so that all bits stay.
    pub dtype: Option<DType>,
}

/// The networks to write, and what a whole model has beside them.
struct Source<'a> {
    text_encoder: Option<&'a NetworkFiles<TextConfig>>,
    unet: Option<&'a NetworkFiles<UNetConfig>>,
    vae: Option<&'a NetworkFiles<VaeConfig>>,
    model: Option<&'a Model>,
}

/// Is told how far the work is, in bytes done and bytes in all, and says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Writes the model or the single network at `path` in another layout to `output`, whole or not at all.
///
/// What is written is what would be computed with: one set of the UNet's weights, no optimiser, always safetensors. No more
/// than one tensor at a time is in memory. Without a dtype to convert to, every bit stays as it is. Gives a line for each kind
/// of tensors that the layout has no place for.
///
/// # Errors
/// There is no model at `path`, it can't be said in that layout, `output` is there already, it can't be written, or
/// `progress` said to stop. Then nothing is left of it.
pub fn convert(
    path: &Path,
    options: &ModelOptions,
    output: &Path,
    how: ConvertOptions,
    progress: Progress<'_>,
) -> Result<Vec<String>> {
    if output.symlink_metadata().is_ok() {
        return Err(Error::file(show(output), "is there already, and would be replaced: give another path"));
    }
    if let Some((file, found)) = upscaler::open(path)? {
        return upscaler::write(&file, &found, output, how, progress);
    }
    if let Some(single) = single_network(path)? {
        let mut found = Vec::new();
        return match single {
            Component::TextEncoder | Component::TextEncoder2 => {
                let network = open::part(path, options, options.weights, &mut found)?;
                write(&Source { text_encoder: Some(&network), ..Source::NONE }, output, how, progress)
            }
            Component::UNet => {
                let network = open::part(path, options, options.weights, &mut found)?;
                write(&Source { unet: Some(&network), ..Source::NONE }, output, how, progress)
            }
            Component::Vae => {
                let network = open::part(path, options, WeightSet::Auto, &mut found)?;
                write(&Source { vae: Some(&network), ..Source::NONE }, output, how, progress)
            }
        };
    }
    let model = Model::open_any(path, options)?;
    let source = Source {
        text_encoder: Some(&model.text_encoder),
        unet: Some(&model.unet),
        vae: Some(&model.vae),
        model: Some(&model),
    };
    write(&source, output, how, progress)
}

impl Source<'_> {
    const NONE: Self = Self { text_encoder: None, unet: None, vae: None, model: None };
}

/// The only network at `path`, if there is but one.
fn single_network(path: &Path) -> Result<Option<Component>> {
    if path.is_dir() {
        let config = read_small(&path.join("config.json")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let config = config.unwrap_or_default();
        let is = |class: &str| config.contains(&format!("\"{class}\""));
        return Ok(match () {
            () if path.join("model_index.json").exists() => None,
            () if is("UNet2DConditionModel") => Some(Component::UNet),
            () if is("AutoencoderKL") || is("AutoencoderTiny") => Some(Component::Vae),
            () if is("clip_text_model") => Some(Component::TextEncoder),
            () => None,
        });
    }
    if !path.exists() {
        return Ok(None);
    }
    let file = Checkpoint::open(path, "")?;
    Ok(match FileKind::of(&file) {
        FileKind::Networks(networks) if networks.len() == 1 => networks.first().copied(),
        _ if TaesdHalf::of(&file).is_some() => Some(Component::Vae),
        _ => None,
    })
}

fn write(source: &Source<'_>, output: &Path, how: ConvertOptions, progress: Progress<'_>) -> Result<Vec<String>> {
    match how.to {
        ConvertTo::Diffusers => diffusers::write(source, output, how.dtype, progress),
        ConvertTo::CompVis => compvis::write(source, output, how.dtype, progress),
    }
}

/// The layout of a network in a diffusers folder.
fn folder_layout<C: ModelConfig>() -> Layout {
    Layout::folder(C::COMPONENT)
}
