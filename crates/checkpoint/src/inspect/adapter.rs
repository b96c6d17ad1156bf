//! What an adapter is, and whether it fits a model.

use std::{collections::BTreeMap, path::Path};

use calotype_formats::{Checkpoint, TorchFile};
use calotype_models::{
    Family, FileKind, ModelConfig,
    adapters::{Adapter, AdapterSummary, AdapterWeights, Embedding, Hypernetwork},
};
use serde::Serialize;

use crate::{Model, Result, error::brief};

/// Keys that are named of those that a model has no place for.
const NAMED: usize = 20;
/// Of tags, those that were seen most.
const TAGS: usize = 10;
/// The number of digits of A1111's hash of a LoRA.
const LORA_HASH: usize = 12;

/// What an adapter is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdapterInspection {
    /// LoRA or LyCORIS.
    Lora(Box<LoraInspection>),
    /// Textual inversion.
    Embedding(EmbeddingInspection),
    /// A1111's hypernetwork.
    Hypernetwork(HypernetworkInspection),
}

/// What a file of LoRA or LyCORIS is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoraInspection {
    /// The family of models it is for, if that can be told.
    pub family: Option<&'static str>,
    /// LyCORIS' names of how changes are kept, and of how many layers.
    pub algorithms: BTreeMap<&'static str, usize>,
    /// Whether it has DoRA's lengths.
    pub dora: bool,
    /// Ranks, and of how many layers.
    pub ranks: BTreeMap<usize, usize>,
    /// Alphas.
    pub alphas: Vec<Alpha>,
    /// How many layers of each kind it changes, by network.
    pub layers: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
    /// The width of the contexts that it was trained with.
    pub context_width: Option<usize>,
    /// The width of the text encoder that it was trained with.
    pub text_width: Option<usize>,
    /// The names of embeddings in it.
    pub embeddings: Vec<String>,
    /// Tensors that belong to no layer.
    pub unknown: usize,
    /// The first of these.
    pub first_unknown: Option<String>,
    /// A1111's hash of it, as in "Lora hashes": that of a safetensors file's data alone.
    pub lora_hash: String,
    /// What its trainer says of it.
    pub training: Training,
}

/// An alpha, and of how many layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alpha {
    /// By which changes are multiplied, after they are divided by the rank.
    pub alpha: f32,
    /// How many layers have it.
    pub layers: usize,
}

/// What the metadata of an adapter say of its training: kohya's (`ss_…`) and those of Stability AI (`modelspec.…`).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Training {
    /// Its name or title.
    pub name: Option<String>,
    /// The words that call for what it learnt.
    pub trigger: Option<String>,
    /// The kind of model it was trained on.
    pub base_model: Option<String>,
    /// The file of that model.
    pub base_file: Option<String>,
    /// Rank and alpha that were asked for.
    pub network: Option<String>,
    /// Steps.
    pub steps: Option<String>,
    /// Pictures.
    pub pictures: Option<String>,
    /// The size of the pictures.
    pub resolution: Option<String>,
    /// The tags that were seen most, and how often.
    pub tags: Vec<(String, u64)>,
}

/// What an embedding is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmbeddingInspection {
    /// The family of models it is for, if that can be told.
    pub family: Option<&'static str>,
    /// How many tokens of a prompt it takes.
    pub tokens: usize,
    /// The width of its vectors.
    pub width: usize,
    /// The token or the name that the file has.
    pub name: Option<String>,
    /// The steps that it was trained for.
    pub step: Option<String>,
    /// The model that it was trained on.
    pub base_file: Option<String>,
}

/// What a hypernetwork is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HypernetworkInspection {
    /// The family of models it is for, if that can be told.
    pub family: Option<&'static str>,
    /// The widths of contexts that it has networks for.
    pub widths: Vec<usize>,
    /// The widths after each linear map, in widths of the context.
    pub layer_structure: Vec<f64>,
    /// The curve after the linear maps.
    pub activation: Option<String>,
    /// Whether the curve follows the last one, too.
    pub activate_output: bool,
    /// Whether norms follow the linear maps.
    pub layer_norm: bool,
    /// The name that the file has.
    pub name: Option<String>,
    /// The steps that it was trained for.
    pub step: Option<String>,
    /// The model that it was trained on.
    pub base_file: Option<String>,
}

/// Whether an adapter fits a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterFit {
    /// The model's name.
    pub model: String,
    /// Whether it can be used with the model.
    pub fits: bool,
    /// Why not.
    pub problem: Option<String>,
    /// Tensors of the adapter.
    pub tensors: usize,
    /// Tensors that the model has a place for.
    pub used: usize,
    /// Layers of the UNet that it changes.
    pub unet: usize,
    /// Layers of the text encoder that it changes.
    pub text_encoder: usize,
    /// The first tensors that the model has no place for.
    pub unused: Vec<String>,
}

impl AdapterInspection {
    /// What the adapter at `path` is, a file or a folder; none if it is no adapter, or a damaged one.
    pub(super) fn of(path: &Path, file: &Checkpoint, data_hash: &str) -> Option<Self> {
        Some(match FileKind::of(file) {
            FileKind::Adapter(_) => Self::Lora(Box::new(lora(&AdapterWeights::open(path).ok()?, data_hash))),
            FileKind::TextualInversion => Self::Embedding(embedding(file)?),
            FileKind::Hypernetwork => Self::Hypernetwork(hypernetwork(path, file)?),
            _ => return None,
        })
    }
}

/// A text of the metadata, cut; none if it is empty or Python's `None`.
fn text(file: &Checkpoint, keys: &[&str]) -> Option<String> {
    let found = keys.iter().find_map(|key| file.metadata().get(*key))?;
    (!matches!(found.trim(), "" | "None" | "null")).then(|| brief(found.trim()))
}

fn lora(weights: &AdapterWeights, data_hash: &str) -> LoraInspection {
    let (file, found) = (weights.file(), AdapterSummary::of(weights));
    let mut layers: BTreeMap<&'static str, BTreeMap<&'static str, usize>> = BTreeMap::new();
    for ((network, kind), count) in &found.layers {
        layers.entry(network.id()).or_default().insert(kind.id(), *count);
    }
    let text = |keys: &[&str]| text(file, keys);
    let network = text(&["ss_network_dim"]).map(|dim| {
        let alpha = text(&["ss_network_alpha"]).map_or(String::new(), |alpha| format!(", alpha {alpha}"));
        let module = text(&["ss_network_module"]).map_or(String::new(), |module| format!("{module}, "));
        format!("{module}rank {dim}{alpha}")
    });
    LoraInspection {
        family: found.family,
        algorithms: found.algorithms.iter().map(|(algorithm, count)| (algorithm.name(), *count)).collect(),
        dora: found.dora,
        ranks: found.ranks,
        alphas: found.alphas.iter().map(|&(alpha, layers)| Alpha { alpha, layers }).collect(),
        layers,
        context_width: found.context_width,
        text_width: found.text_width,
        embeddings: found.embeddings.iter().map(|name| brief(name)).collect(),
        unknown: found.unknown,
        first_unknown: found.first_unknown.map(|key| brief(&key)),
        lora_hash: data_hash.chars().take(LORA_HASH).collect(),
        training: Training {
            name: text(&["modelspec.title", "ss_output_name"]),
            trigger: text(&["modelspec.trigger_phrase", "trigger_phrase"]),
            base_model: text(&["modelspec.architecture", "ss_base_model_version"]),
            base_file: text(&["ss_sd_model_name"]),
            network,
            steps: text(&["ss_steps", "ss_max_train_steps"]),
            pictures: text(&["ss_num_train_images"]),
            resolution: text(&["modelspec.resolution", "ss_resolution"]),
            tags: tags(file),
        },
    }
}

/// The tags that were seen most, of all folders: kohya's `ss_tag_frequency`, `{folder: {tag: count}}`.
fn tags(file: &Checkpoint) -> Vec<(String, u64)> {
    let Some(text) = file.metadata().get("ss_tag_frequency") else { return Vec::new() };
    let folders: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_str(text).unwrap_or_default();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (tag, count) in folders.into_values().flatten() {
        let sum = counts.entry(tag.trim().to_owned()).or_insert(0);
        *sum = sum.saturating_add(count);
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().take(TAGS).map(|(tag, count)| (brief(&tag), count)).collect()
}

fn embedding(file: &Checkpoint) -> Option<EmbeddingInspection> {
    let text = |keys: &[&str]| text(file, keys);
    let base_file = text(&["sd_checkpoint_name", "modelspec.implementation"]);
    let common = |tokens, width, family, token| EmbeddingInspection {
        family,
        tokens,
        width,
        name: token,
        step: text(&["step", "ss_steps"]),
        base_file: base_file.clone(),
    };
    // Vectors for both text encoders of Stable Diffusion XL.
    if let Some(second) = file.get("clip_g") {
        let &[tokens, width] = second.shape.as_slice() else { return None };
        return Some(common(tokens, width, Some("Stable Diffusion XL"), text(&["name"])));
    }
    let read = Embedding::read(file).ok()?;
    let token = read.token.as_deref().map(brief).or_else(|| text(&["name"]));
    Some(common(read.count(), read.width(), Family::name_of_width(read.width()), token))
}

fn hypernetwork(path: &Path, file: &Checkpoint) -> Option<HypernetworkInspection> {
    let read = Hypernetwork::new(TorchFile::open(path).ok()?).ok()?;
    let text = |keys: &[&str]| text(file, keys);
    let (activation, activate_output) = read.activation();
    let widths = read.widths().to_vec();
    Some(HypernetworkInspection {
        // For the text's contexts; beside them are networks for the picture's own attention.
        family: widths.iter().find_map(|&width| Family::name_of_width(width)),
        widths,
        layer_structure: read.layer_structure().to_vec(),
        activation,
        activate_output,
        layer_norm: read.has_norms(),
        name: text(&["name"]),
        step: text(&["step"]),
        base_file: text(&["sd_checkpoint_name"]),
    })
}

impl AdapterFit {
    /// Whether the adapter at `path`, which is told by `file`, fits `model`.
    pub(super) fn new(path: &Path, file: &Checkpoint, model: &Model) -> Result<Option<Self>> {
        let tensors = file.tensors().len();
        let none = Self {
            model: model.name().to_owned(),
            fits: false,
            problem: None,
            tensors,
            used: 0,
            unet: 0,
            text_encoder: 0,
            unused: Vec::new(),
        };
        let refused = |error: calotype_models::Error| Self { problem: Some(error.to_string()), ..none.clone() };
        let whole = || Self { fits: true, used: tensors, ..none.clone() };
        Ok(Some(match FileKind::of(file) {
            FileKind::Adapter(_) => {
                let (unet, text_encoder) = (model.unet_config().specs()?, model.text_config().specs()?);
                match AdapterWeights::open(path).and_then(|weights| Adapter::new(weights, &unet, &text_encoder)) {
                    Err(error) => refused(error),
                    Ok(adapter) => {
                        let matched = adapter.matched();
                        Self {
                            fits: true,
                            used: tensors - matched.unused.len().min(tensors),
                            unet: matched.unet,
                            text_encoder: matched.text_encoder,
                            unused: matched.unused.iter().take(NAMED).map(|key| brief(key)).collect(),
                            ..none
                        }
                    }
                }
            }
            FileKind::TextualInversion => {
                match Embedding::read(file).and_then(|embedding| embedding.check(model.text_config())) {
                    Err(error) => refused(error),
                    Ok(()) => whole(),
                }
            }
            FileKind::Hypernetwork => match TorchFile::open(path).map_err(Into::into).and_then(Hypernetwork::new) {
                Err(error) => refused(error),
                Ok(read) if read.widths().contains(&model.text_config().hidden_size) => whole(),
                Ok(read) => {
                    let width = model.text_config().hidden_size;
                    let problem = format!(
                        "it has networks for contexts of widths {:?}, but the model's are {width} wide: use a hypernetwork of a model of its family",
                        read.widths()
                    );
                    Self { problem: Some(problem), ..none }
                }
            },
            _ => return Ok(None),
        }))
    }
}
