//! What a model, or a file of weights, is.

mod adapter;
mod soundness;
mod weights;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use calotype_diffusion::{PredictionType, SamplerKind};
use calotype_formats::{Checkpoint, FileFormat};
use calotype_models::{
    Component, FileKind, Layout, ModelConfig, Stored, TextConfig, UNetConfig, UpscalerFile, VaeConfig, WeightSet,
    adapters::{AdapterWeights, network_of},
};
use serde::Serialize;
use serde_json::Value;

pub use adapter::{
    AdapterFit, AdapterInspection, Alpha, EmbeddingInspection, HypernetworkInspection, LoraInspection, Training,
};

pub use weights::WeightSets;

use crate::{
    Error, Model, ModelOptions, NetworkFiles, Result, SavedScheduler, Vocabulary,
    error::{brief, show},
    files::open_weights,
    hash::{self, AdapterHashes, WeightFile},
    license::License,
    open,
};

/// How many digits of a file's SHA-256 A1111 calls a model by.
const SHORT_HASH: usize = 10;
/// A file may have any number of groups of tensors.
const MOST_COMPONENTS: usize = 40;
/// What is said of weights that end in zeros.
const ZEROS: &str =
    "its last 64 KiB are zeros, as of a download that was cut off: compare its SHA-256 with the publisher's";

/// What there is at a path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Inspection {
    /// A model that can make pictures, whole and sound.
    Model(Box<ModelInspection>),
    /// A file that is none by itself: one network, an adapter, or anything else of tensors.
    File(Box<FileInspection>),
}

/// What a whole model is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelInspection {
    /// The folder or file.
    pub path: String,
    /// The model's name.
    pub name: String,
    /// `diffusers` or `compvis`.
    pub layout: &'static str,
    /// The format of its files.
    pub format: &'static str,
    /// `Stable Diffusion 1` or `Stable Diffusion 2`.
    pub family: &'static str,
    /// Its licence, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<License>,
    /// Whether its UNet takes a mask.
    pub inpainting: bool,
    /// Its hash ([`Model::hash`]).
    pub model_hash: String,
    /// The first ten digits of it: A1111's of a single file.
    pub short_hash: String,
    /// What the UNet predicts.
    pub prediction_type: &'static str,
    /// How that was told.
    pub prediction_source: &'static str,
    /// How the betas are spaced, and between what.
    pub beta_schedule: String,
    /// The first beta.
    pub beta_start: f64,
    /// The last beta.
    pub beta_end: f64,
    /// What its noise is called, if the betas don't say it: "Zero Terminal SNR", or `trained` of a table in its file.
    pub noise_schedule: Option<&'static str>,
    /// Timesteps it was trained with.
    pub num_train_timesteps: usize,
    /// The scheduler that it was saved with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerInspection>,
    /// Width and height of the pictures it was trained on.
    pub default_size: (usize, usize),
    /// What width and height must be a multiple of.
    pub size_multiple: usize,
    /// Which sets of the UNet's weights there are.
    pub weights: WeightSets,
    /// What its user should know.
    pub warnings: Vec<String>,
    /// What it was trained to draw, where its folder says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vocabulary>,
    /// Its networks.
    pub components: Vec<TensorGroup>,
    /// Tensors that no network asks for, by the first part of their names.
    pub extra: Vec<TensorGroup>,
}

/// The scheduler that a model was saved with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SchedulerInspection {
    /// diffusers' class.
    pub class: Option<String>,
    /// The sampler that it is here.
    pub sampler: Option<&'static str>,
    /// What it says otherwise than its class by default, by diffusers' names; heeded with the schedule `default`.
    pub settings: BTreeMap<&'static str, String>,
    /// What it says that is not heeded.
    pub unheeded: Vec<String>,
}

/// What a file of tensors is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileInspection {
    /// The file.
    pub path: String,
    /// What it is, in words.
    pub what: String,
    /// Its format.
    pub format: &'static str,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// The first ten digits of it: A1111's short hash.
    pub short_hash: String,
    /// Why it is no whole model, if it has networks: what is missing or wrong.
    pub problems: Vec<String>,
    /// The file's free text, and a torch file's texts and numbers.
    pub metadata: BTreeMap<String, String>,
    /// What it is as an adapter, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterInspection>,
    /// Whether it fits the model that it was to be tried with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<AdapterFit>,
    /// Its tensors by network, or else by the first part of their names.
    pub components: Vec<TensorGroup>,
}

/// A network, or tensors that belong together by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorGroup {
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
    /// Its `config.json`, if it is a network of a whole model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// Says what is at `path`: a model, or a file of weights (or the folder of an adapter or of one network).
///
/// # Errors
/// It is neither, or a file that can't be read.
pub fn inspect(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Inspection> {
    let path = path.as_ref();
    if path.is_dir() {
        return match folder(path)? {
            Some(opened) => Ok(Inspection::File(Box::new(of_file(path, &opened, Vec::new())?))),
            None => Model::open_any(path, options)?.inspect(&show(path)),
        };
    }
    if !path.is_file() {
        return Model::open_any(path, options)?.inspect(&show(path));
    }
    let opened = Opened::file(path)?;
    match Model::open_any(path, options) {
        Ok(model) => model.inspect(&show(path)),
        // What the caller asks for can't be had: that is no property of the file.
        Err(error) if options.asks_for_parts() => Err(error),
        Err(error) => {
            open::compvis_config(path, options)?;
            let is_networks = matches!(FileKind::of(&opened.weights), FileKind::Networks { .. });
            let problems = if is_networks { vec![error.to_string()] } else { Vec::new() };
            Ok(Inspection::File(Box::new(of_file(path, &opened, problems)?)))
        }
    }
}

/// Says what the adapter at `path` is, and how much of it `model` has a place for.
///
/// # Errors
/// It is no adapter, or a file that can't be read.
pub fn inspect_for(path: impl AsRef<Path>, model: &Model) -> Result<Inspection> {
    let path = path.as_ref();
    let opened = if path.is_dir() { folder(path)? } else { Some(Opened::file(path)?) };
    let fit = match &opened {
        Some(opened) => AdapterFit::new(path, &opened.weights, model)?,
        None => None,
    };
    let Some((opened, fit)) = opened.zip(fit) else {
        let problem =
            "this is no LoRA, embedding or hypernetwork, which alone are tried with a model: leave the model out";
        return Err(Error::file(show(path), problem));
    };
    Ok(Inspection::File(Box::new(FileInspection { fit: Some(fit), ..of_file(path, &opened, Vec::new())? })))
}

/// Weights that are no whole model, and their files.
struct Opened {
    weights: Checkpoint,
    files: Vec<WeightFile>,
}

impl Opened {
    fn file(path: &Path) -> Result<Self> {
        Ok(Self { weights: Checkpoint::open(path, "")?, files: WeightFile::of_files(path, vec![path.to_owned()]) })
    }
}

/// The weights of a folder that has an adapter or one network; none if it is a whole model, or nothing that is known.
fn folder(path: &Path) -> Result<Option<Opened>> {
    if path.join("model_index.json").exists() {
        return Ok(None);
    }
    let files = AdapterWeights::files(path);
    if !files.is_empty() {
        let weights = AdapterWeights::open(path)?.into_file();
        return Ok(Some(Opened { weights, files: WeightFile::of_files(path, files) }));
    }
    if path.join("config.json").is_file() {
        let open = |component| open_weights(path, component, WeightSet::Auto).ok();
        let found = [Component::TextEncoder, Component::UNet].into_iter().find_map(open);
        return Ok(found.map(|found| Opened { weights: found.checkpoint, files: found.files }));
    }
    Ok(None)
}

impl SchedulerInspection {
    fn of(saved: &SavedScheduler) -> Self {
        Self {
            class: saved.class().map(brief),
            sampler: saved.sampler().map(SamplerKind::id),
            settings: saved.said().into_iter().collect(),
            unheeded: saved.all_unheeded().into_iter().map(str::to_owned).collect(),
        }
    }
}

impl Model {
    /// Says what this model is; `path` is what to call it.
    ///
    /// # Errors
    /// Its weights can't be read to hash them.
    pub fn inspect(&self, path: &str) -> Result<Inspection> {
        // Both read all of the weights.
        let (hash, unsound) = std::thread::scope(|scope| {
            let hash = scope.spawn(|| self.hash());
            let unsound = soundness::warnings(self);
            let lost = || Err(Error::file(path, "the thread that computes its hash stopped"));
            (hash.join().unwrap_or_else(|_| lost()), unsound)
        });
        let hash = hash?;
        let single = std::sync::Arc::ptr_eq(&self.unet.weights, &self.vae.weights);
        let file = &self.unet.weights;
        let (weights, mut warnings) = weights::sets(self);
        warnings.extend(unsound?);
        if [file, &self.text_encoder.weights, &self.vae.weights].iter().any(|file| file.ends_in_zeros()) {
            warnings.push(ZEROS.to_owned());
        }
        if self.noise_schedule().is_zero_terminal_snr() && self.prediction_type() == PredictionType::Epsilon {
            warnings.push(
                "its last timestep has no signal, of which an ε-prediction tells nothing: perhaps it is --prediction-type v_prediction"
                    .to_owned(),
            );
        }
        let unheeded = self.saved_scheduler().map(SavedScheduler::all_unheeded).unwrap_or_default();
        if !unheeded.is_empty() {
            warnings.push(format!("its scheduler's {} is not heeded", unheeded.join(", ")));
        }
        Ok(Inspection::Model(Box::new(ModelInspection {
            path: path.to_owned(),
            name: self.name().to_owned(),
            layout: if single { "compvis" } else { self.unet.layout.id() },
            format: format(file.format()),
            family: self.unet_config().family().name,
            license: self.license()?,
            inpainting: self.is_inpainting(),
            model_hash: hash.to_owned(),
            short_hash: hash.get(..SHORT_HASH).unwrap_or(hash).to_owned(),
            prediction_type: self.prediction_type().id(),
            prediction_source: self.prediction_source,
            beta_schedule: self.scheduler.beta_schedule.clone(),
            beta_start: self.scheduler.beta_start,
            beta_end: self.scheduler.beta_end,
            noise_schedule: self.noise_schedule_name(),
            num_train_timesteps: self.noise_schedule().num_train_timesteps(),
            scheduler: self.saved_scheduler().map(SchedulerInspection::of),
            default_size: self.default_size(),
            size_multiple: self.size_multiple(),
            warnings,
            vocabulary: self.vocabulary().cloned(),
            weights,
            components: vec![
                network("text_encoder", &self.text_encoder)?,
                network("unet", &self.unet)?,
                network("vae", &self.vae)?,
            ],
            extra: if single { self.extra()? } else { Vec::new() },
        })))
    }

    /// The tensors of a checkpoint in one file that no network asks for.
    fn extra(&self) -> Result<Vec<TensorGroup>> {
        let stored = [self.text_encoder.stored()?, self.unet.stored()?, self.vae.stored()?];
        let used: HashSet<&str> = stored.iter().flat_map(Stored::keys).collect();
        Ok(components(&self.unet.weights, |name| (!used.contains(name)).then(|| first_part(name))))
    }
}

fn network<C: ModelConfig>(name: &str, network: &NetworkFiles<C>) -> Result<TensorGroup> {
    // By way of text, which has the shortest digits of an f32.
    let config = serde_json::from_str(&network.config.to_json()).ok();
    let stored = network.stored()?;
    let keys = stored.keys();
    let mut of_network = components(&network.weights, |key| keys.contains(key).then(|| name.to_owned()));
    let mut component = of_network.pop().unwrap_or_else(|| empty(name));
    // A fused tensor, or one of which a part is used, counts as what the network has.
    component.parameters = network.config.specs()?.iter().map(|spec| spec.count()).sum();
    Ok(TensorGroup { config, ..component })
}

fn of_file(path: &Path, Opened { weights: file, files }: &Opened, mut problems: Vec<String>) -> Result<FileInspection> {
    if file.ends_in_zeros() {
        problems.push(ZEROS.to_owned());
    }
    if matches!(FileKind::of(file), FileKind::Networks { .. }) && !problems.is_empty() {
        let more = [missing::<TextConfig>(file), missing::<UNetConfig>(file), missing::<VaeConfig>(file)];
        problems.extend(more.into_iter().flatten());
        problems.dedup();
    }
    let kind = FileKind::of(file);
    if matches!(kind, FileKind::Upscaler(_)) {
        problems.extend(UpscalerFile::of(file).err().map(|error| error.to_string()));
    }
    let is_adapter = matches!(kind, FileKind::Adapter(_));
    let (sha256, data_hash) = if is_adapter {
        let AdapterHashes { sha256, of_data } = AdapterHashes::of_files(files)?;
        (sha256, of_data)
    } else {
        let sha256 = hash::of_weights(files)?;
        (sha256.clone(), sha256)
    };
    let group = |name: &str| match is_adapter {
        true => Some(network_of(name).map_or_else(|| first_part(name), str::to_owned)),
        false => Some(first_part(name)),
    };
    Ok(FileInspection {
        path: show(path),
        what: open::describe(kind, file),
        format: format(file.format()),
        short_hash: sha256.get(..SHORT_HASH).unwrap_or(&sha256).to_owned(),
        sha256,
        problems,
        metadata: file.metadata().clone(),
        adapter: AdapterInspection::of(path, file, &data_hash),
        fit: None,
        components: components(file, group),
    })
}

/// What is wrong with a network that a file has.
fn missing<C: ModelConfig>(file: &Checkpoint) -> Option<String> {
    let layout = Layout::detect(file, C::COMPONENT, WeightSet::Auto)?;
    let checked = C::infer(file, &layout, &calotype_models::CompVisConfig::default())
        .and_then(|config| Stored::in_layout(file, &layout, &config.specs()?).map(drop));
    checked.err().map(|error| error.to_string())
}

/// The name of a file format, for people.
fn format(format: FileFormat) -> &'static str {
    match format {
        FileFormat::SafeTensors => "safetensors",
        FileFormat::TorchZip => "PyTorch",
        FileFormat::TorchLegacy => "PyTorch before 1.6",
        _ => "unknown",
    }
}

/// What stands before the first dot of a tensor's name.
fn first_part(name: &str) -> String {
    name.split('.').next().unwrap_or(name).escape_debug().take(60).collect()
}

/// The tensors of a file, put together by what `group` makes of their names: the largest groups, and the rest as one.
fn components(weights: &Checkpoint, group: impl Fn(&str) -> Option<String>) -> Vec<TensorGroup> {
    let mut groups: BTreeMap<String, TensorGroup> = BTreeMap::new();
    for tensor in weights.tensors() {
        let Some(name) = group(&tensor.name) else { continue };
        let component = groups.entry(name.clone()).or_insert_with(|| empty(&name));
        component.tensors += 1;
        component.parameters += tensor.element_count();
        component.bytes += tensor.byte_count();
        *component.dtypes.entry(tensor.dtype.name().to_owned()).or_insert(0) += tensor.element_count();
    }
    let mut all: Vec<TensorGroup> = groups.into_values().collect();
    if all.len() > MOST_COMPONENTS {
        all.sort_by_key(|component| std::cmp::Reverse(component.bytes));
        let rest = all.split_off(MOST_COMPONENTS - 1);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let mut sum = empty(&format!("{} more", rest.len()));
        for component in rest {
            sum.tensors += component.tensors;
            sum.parameters += component.parameters;
            sum.bytes += component.bytes;
            for (dtype, count) in component.dtypes {
                *sum.dtypes.entry(dtype).or_insert(0) += count;
            }
        }
        all.push(sum);
    }
    all
}

fn empty(name: &str) -> TensorGroup {
    TensorGroup { name: name.to_owned(), tensors: 0, parameters: 0, bytes: 0, dtypes: BTreeMap::new(), config: None }
}
