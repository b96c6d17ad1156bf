//! What a model, or a file of weights, is.

use std::{collections::BTreeMap, path::Path};

use calotype_formats::Checkpoint;
use calotype_models::ModelConfig;
use serde::Serialize;
use serde_json::Value;

use crate::{Model, Result, error::show, hash, model::Network, scheduler::prediction_id};

/// What there is at a path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Inspection {
    /// A diffusers folder, whole and sound.
    Diffusers {
        /// The folder.
        path: String,
        /// The model's name.
        name: String,
        /// Its hash ([`Model::hash`]).
        model_hash: String,
        /// What the UNet predicts.
        prediction_type: &'static str,
        /// How the betas are spaced, and between what.
        beta_schedule: String,
        /// The first beta.
        beta_start: f64,
        /// The last beta.
        beta_end: f64,
        /// Timesteps it was trained with.
        num_train_timesteps: usize,
        /// Width and height of the pictures it was trained on.
        default_size: (usize, usize),
        /// What width and height must be a multiple of.
        size_multiple: usize,
        /// Its networks.
        components: Vec<Component>,
    },
    /// A single safetensors file.
    Safetensors {
        /// The file.
        path: String,
        /// The SHA-256 of the file.
        sha256: String,
        /// The file's free text.
        metadata: BTreeMap<String, String>,
        /// Its tensors by the first part of their names.
        components: Vec<Component>,
    },
}

/// A network, or tensors that belong together by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them all.
    pub parameters: usize,
    /// Bytes of data.
    pub bytes: u64,
    /// Parameters by dtype, as safetensors spells it.
    pub dtypes: BTreeMap<String, usize>,
    /// Its `config.json`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// Says what is at `path`: a diffusers folder, or a safetensors file.
///
/// # Errors
/// It is neither, or not a sound one.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
    let path = path.as_ref();
    if path.is_file() { file(path) } else { folder(&Model::open(path)?, show(path)) }
}

impl Model {
    /// Says what this model is; `path` is what to call it.
    ///
    /// # Errors
    /// Its weights can't be read to hash them.
    pub fn inspect(&self, path: &str) -> Result<Inspection> {
        folder(self, path.to_owned())
    }
}

fn folder(model: &Model, path: String) -> Result<Inspection> {
    Ok(Inspection::Diffusers {
        path,
        name: model.name().to_owned(),
        model_hash: model.hash()?.to_owned(),
        prediction_type: prediction_id(model.prediction_type()),
        beta_schedule: model.scheduler.beta_schedule.clone(),
        beta_start: model.scheduler.beta_start,
        beta_end: model.scheduler.beta_end,
        num_train_timesteps: model.noise_schedule().num_train_timesteps(),
        default_size: model.default_size(),
        size_multiple: model.size_multiple(),
        components: vec![
            network("text_encoder", &model.text_encoder),
            network("unet", &model.unet),
            network("vae", &model.vae),
        ],
    })
}

fn network<C: ModelConfig>(name: &str, network: &Network<C>) -> Component {
    // By way of text, which has the shortest digits of an f32.
    let config = serde_json::from_str(&network.config.to_json()).ok();
    Component { config, ..components(&network.weights, |_| name.to_owned()).pop().unwrap_or_else(|| empty(name)) }
}

fn file(path: &Path) -> Result<Inspection> {
    let weights = Checkpoint::open(path, "")?;
    let read = |e| crate::Error::io(path, "read the file", e);
    let sha256 = std::fs::File::open(path).and_then(hash::of_stream).map_err(read)?;
    let first_part = |name: &str| name.split('.').next().unwrap_or(name).escape_debug().take(60).collect();
    Ok(Inspection::Safetensors {
        path: show(path),
        sha256,
        metadata: weights.metadata().clone(),
        components: components(&weights, first_part),
    })
}

/// The tensors of a file, put together by what `group` makes of their names.
fn components(weights: &Checkpoint, group: impl Fn(&str) -> String) -> Vec<Component> {
    let mut groups: BTreeMap<String, Component> = BTreeMap::new();
    for tensor in weights.tensors() {
        let name = group(&tensor.name);
        let component = groups.entry(name.clone()).or_insert_with(|| empty(&name));
        component.tensors += 1;
        component.parameters += tensor.element_count();
        component.bytes += tensor.byte_count();
        *component.dtypes.entry(tensor.dtype.name().to_owned()).or_insert(0) += tensor.element_count();
    }
    groups.into_values().collect()
}

fn empty(name: &str) -> Component {
    Component { name: name.to_owned(), tensors: 0, parameters: 0, bytes: 0, dtypes: BTreeMap::new(), config: None }
}
