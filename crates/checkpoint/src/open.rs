//! Opening a model: which of its parts is where, told by content.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use calotype_diffusion::PredictionType;
use calotype_files::json;
use calotype_formats::Checkpoint;
use calotype_models::{
    CompVisConfig, Component, FileKind, Layout, ModelConfig, PerBlock, Stored, TaesdHalf, TextConfig, UNetConfig,
    UpscalerFile, VaeConfig, WeightSet,
};
use calotype_text::Tokenizer;

use crate::{
    Error, ModelOptions, NetworkFiles, Result, Vocabulary,
    error::{brief, show},
    files::{self, Files, UNET_EMA, Weights},
    hash::{WeightFile, WeightSource},
    license::License,
    model::{ModelTokenizer, Parts},
    scheduler::{Prediction, SchedulerConfig},
};

/// What a model folder has at its root.
const INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
/// How latents are shown without the VAE, beside a model of this project.
const LATENT_RGB: &str = "latent_rgb.json";
/// The words that a model of few was trained on.
const VOCABULARY: &str = "vocabulary.json";

/// Opens the model at `path`.
pub(crate) fn parts(path: &Path, options: &ModelOptions) -> Result<Parts> {
    if !path.exists() {
        let problem = "there is no such file or folder: give a checkpoint, or the folder of a diffusers model";
        return Err(Error::file(show(path), problem));
    }
    if !path.is_dir() {
        return single_file(path, options);
    }
    let name = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    folder(name.unwrap_or_else(|| "model".to_owned()), &Files::Folder(path.to_owned()), options)
}

/// Opens a diffusers folder.
pub(crate) fn folder(name: String, files: &Files, options: &ModelOptions) -> Result<Parts> {
    check_index(files)?;
    let for_a_part = Component::ALL.into_iter().filter_map(|component| options.part(component)).any(Path::is_file);
    if let Some(config) = options.config.as_ref().filter(|_| !for_a_part) {
        let problem = "a YAML config is for a checkpoint in one file, a diffusers folder has its own: leave it out";
        return Err(Error::file(show(config), problem));
    }
    let scheduler_label = files.label(SCHEDULER);
    let mut scheduler = SchedulerConfig::from_json(&files.read_text(SCHEDULER)?, &scheduler_label)?;
    scheduler.rescale_betas_zero_snr |= options.zero_terminal_snr;
    let mut prediction_source = "scheduler_config.json";
    if let Some(prediction) = options.prediction_type {
        scheduler.set_prediction(prediction);
        prediction_source = ASKED_FOR;
    }
    let mut weight_files = Vec::new();
    let text_encoder = network(files, None, options, &mut weight_files)?;
    let tokenizer = match files.open_tokenizer()? {
        Some(own) if options.text_encoder.is_none() => ModelTokenizer::Own(Box::new(own), files.clone()),
        _ => built_in_tokenizer(&text_encoder),
    };
    let own = options.unet.is_none() && options.weights != WeightSet::Raw;
    let average = own && files.exists(&format!("{UNET_EMA}/config.json"));
    let unet_folder = average.then_some(UNET_EMA);
    Ok(Parts {
        name,
        text_encoder,
        unet: network(files, unet_folder, options, &mut weight_files)?,
        vae: network(files, None, options, &mut weight_files)?,
        scheduler,
        scheduler_label,
        prediction_source,
        tokenizer,
        weight_files,
        use_ema: false,
        vocabulary: files.exists(VOCABULARY).then(|| vocabulary(files)).transpose()?,
        latent_rgb: files.exists(LATENT_RGB).then(|| files.read_text(LATENT_RGB)).transpose()?,
        license: License::of_folder(files),
    })
}

fn vocabulary(files: &Files) -> Result<Vocabulary> {
    serde_json::from_str(&files.read_text(VOCABULARY)?)
        .map_err(|error| Error::file(files.label(VOCABULARY), format!("{error}: mend it, or remove it")))
}

/// How a prediction type was told that the options name.
const ASKED_FOR: &str = "as asked for";

/// Opens a checkpoint in one file.
fn single_file(path: &Path, options: &ModelOptions) -> Result<Parts> {
    let file = Arc::new(Checkpoint::open(path, "")?);
    check_kind(&file, &show(path), options)?;
    let compvis = compvis_config(path, options)?;
    let stem = path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let weights = WeightFile { name: file_name(path), source: WeightSource::Disk(path.to_owned()) };
    let parts = SingleFile { label: &show(path), file: &file, compvis: &compvis, options }.parts(stem, weights)?;
    Ok(Parts { license: License::of_file(path, &file), ..parts })
}

/// Opens a checkpoint of one file in memory.
pub(crate) fn in_memory(name: &str, bytes: Bytes, options: &ModelOptions) -> Result<Parts> {
    let file = Arc::new(Checkpoint::from_bytes(name, bytes.clone())?);
    check_kind(&file, name, options)?;
    let compvis = match &options.config {
        Some(config) => read_compvis_config(config)?,
        None => CompVisConfig::default(),
    };
    let weights = WeightFile { name: name.to_owned(), source: WeightSource::Memory(bytes) };
    SingleFile { label: name, file: &file, compvis: &compvis, options }.parts(name.to_owned(), weights)
}
fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| show(path), |name| name.to_string_lossy().into_owned())
}

/// OpenCLIP pads with 0; CLIP with the end of the text.
fn built_in_tokenizer(text_encoder: &NetworkFiles<TextConfig>) -> ModelTokenizer {
    ModelTokenizer::BuiltIn(match text_encoder.config.is_open_clip() {
        true => Tokenizer::open_clip(),
        false => Tokenizer::clip(),
    })
}

/// Refuses a file that makes no model, with what it is.
fn check_kind(file: &Checkpoint, label: &str, options: &ModelOptions) -> Result<()> {
    let refuse = |problem: String| Err(Error::file(label, problem));
    match FileKind::of(file) {
        FileKind::Networks(networks) => {
            let is_lacking =
                |component: &Component| !networks.contains(component) && options.part(*component).is_none();
            let lacking: Vec<Component> = Component::ALL.into_iter().filter(is_lacking).collect();
            if lacking.is_empty() {
                return Ok(());
            }
            let list = |of: Vec<String>| of.join(" and ");
            let names = |of: &[Component]| list(of.iter().map(|component| component.name().to_owned()).collect());
            let flags =
                list(lacking.iter().map(|component| format!("--{}", component.id().replace('_', "-"))).collect());
            let (has, lacking) = (names(&networks), names(&lacking));
            refuse(format!("has {has} but no {lacking}: give the missing by {flags}, or a whole checkpoint"))
        }
        kind => refuse(format!("this is {}, not a Stable Diffusion 1 or 2 checkpoint: give one", describe(kind, file))),
    }
}

/// What a file is, for messages.
pub(crate) fn describe(kind: FileKind, file: &Checkpoint) -> String {
    match kind {
        FileKind::Networks(networks) if networks == [Component::Vae] && is_tiny_vae(file) => {
            "a tiny VAE (AutoencoderTiny, TAESD)".to_owned()
        }
        FileKind::Networks(_) => "networks of Stable Diffusion".to_owned(),
        FileKind::Adapter(form) => format!("an adapter ({form})"),
        FileKind::TextualInversion => "a textual inversion embedding".to_owned(),
        FileKind::Hypernetwork => "a hypernetwork".to_owned(),
        FileKind::Upscaler(kind) => {
            let described = UpscalerFile::of(file).map(|found| found.config().describe());
            format!("an upscaler ({})", described.unwrap_or_else(|_| kind.name().to_owned()))
        }
        FileKind::Other(family) => family.to_owned(),
        _ => "a file of tensors of unknown use".to_owned(),
    }
}

fn is_tiny_vae(file: &Checkpoint) -> bool {
    Layout::detect(file, Component::Vae, WeightSet::Auto).is_some_and(|layout| layout.is_tiny_vae(file))
}

/// The config given, or the one beside the checkpoint.
pub(crate) fn compvis_config(path: &Path, options: &ModelOptions) -> Result<CompVisConfig> {
    let beside = path.with_extension("yaml");
    match &options.config {
        Some(config) => read_compvis_config(config),
        None if beside.is_file() => read_compvis_config(&beside),
        None => Ok(CompVisConfig::default()),
    }
}

fn read_compvis_config(config: &Path) -> Result<CompVisConfig> {
    let text = String::from_utf8(files::read_small(config)?)
        .map_err(|_| Error::file(show(config), "not UTF-8 text: give a YAML config such as v1-inference.yaml"))?;
    Ok(CompVisConfig::from_yaml(&text, &show(config))?)
}

/// A checkpoint in one file, from which networks are taken.
struct SingleFile<'a> {
    label: &'a str,
    file: &'a Arc<Checkpoint>,
    compvis: &'a CompVisConfig,
    options: &'a ModelOptions,
}

impl SingleFile<'_> {
    /// The parts of the model; `weights` is the file, for the model's hash.
    fn parts(&self, stem: String, weights: WeightFile) -> Result<Parts> {
        let Self { label, file, compvis, options } = *self;
        let mut weight_files = Vec::new();
        let text_encoder: NetworkFiles<TextConfig> = self.network(&mut weight_files)?;
        let mut unet: NetworkFiles<UNetConfig> = self.network(&mut weight_files)?;
        let vae: NetworkFiles<VaeConfig> = self.network(&mut weight_files)?;
        if weight_files.len() < 3 {
            weight_files.push(weights);
        }
        let Prediction { prediction_type, source } = match options.prediction_type {
            Some(prediction_type) => Prediction { prediction_type, source: ASKED_FOR },
            None => Prediction::of(compvis, label, &unet.weights, &unet.layout, &unet.config)?,
        };
        let mut scheduler = SchedulerConfig::of_single_file(compvis, label, file, prediction_type)?;
        scheduler.rescale_betas_zero_snr |= options.zero_terminal_snr;
        if unet.config.sample_size.is_none() {
            let (of_epsilon, of_v) = unet.config.family().latent_side;
            let predicts_v = prediction_type == PredictionType::VPrediction;
            unet.config.sample_size = Some(PerBlock::All(if predicts_v { of_v } else { of_epsilon }));
        }
        Ok(Parts {
            name: stem,
            tokenizer: built_in_tokenizer(&text_encoder),
            text_encoder,
            unet,
            vae,
            scheduler,
            scheduler_label: label.to_owned(),
            prediction_source: source,
            weight_files,
            use_ema: compvis.use_ema,
            latent_rgb: None,
            vocabulary: None,
            license: None,
        })
    }

    /// A network: the one given instead, or this file's.
    fn network<C: ModelConfig>(&self, weight_files: &mut Vec<WeightFile>) -> Result<NetworkFiles<C>> {
        match self.options.part(C::COMPONENT) {
            Some(other) => part(other, self.options, WeightSet::Auto, weight_files),
            None => in_file(self.label, self.file, self.compvis, self.options.weights),
        }
    }
}

/// A network of a diffusers folder, in `folder` if not in its own, or the one given instead.
fn network<C: ModelConfig>(
    files: &Files,
    folder: Option<&str>,
    options: &ModelOptions,
    weight_files: &mut Vec<WeightFile>,
) -> Result<NetworkFiles<C>> {
    if let Some(other) = options.part(C::COMPONENT) {
        return part(other, options, WeightSet::Auto, weight_files);
    }
    let folder = folder.unwrap_or(C::COMPONENT.id());
    let path = format!("{folder}/config.json");
    let weights = || files.open_weights(folder, C::COMPONENT, options.weights);
    with_config(files.read_text(&path), files.label(&path), weights, weight_files)
}

/// A network with a `config.json`.
fn with_config<C: ModelConfig>(
    config: Result<String>,
    label: String,
    weights: impl FnOnce() -> Result<Weights>,
    weight_files: &mut Vec<WeightFile>,
) -> Result<NetworkFiles<C>> {
    let config = C::from_json(&config?).map_err(|error| Error::file(&label, error.to_string()))?;
    let Weights { checkpoint, files } = weights()?;
    Stored::new(&checkpoint, C::COMPONENT, &config.specs()?)?;
    let layout = Layout::of_folder(&checkpoint, C::COMPONENT);
    weight_files.extend(files);
    Ok(NetworkFiles { config, label, weights: Arc::new(checkpoint), layout })
}

/// A network of its own: the folder or file of it alone, or a whole model that has it. Of the options only the YAML config
/// counts, for what a file leaves open.
pub(crate) fn part<C: ModelConfig>(
    path: &Path,
    options: &ModelOptions,
    set: WeightSet,
    weight_files: &mut Vec<WeightFile>,
) -> Result<NetworkFiles<C>> {
    if !path.exists() {
        let problem = format!("there is no such file or folder: give a {}", C::COMPONENT.name());
        return Err(Error::file(show(path), problem));
    }
    if path.is_dir() {
        let within = path.join(C::COMPONENT.id());
        let folder = if within.join("config.json").exists() { within } else { path.to_owned() };
        let config = folder.join("config.json");
        let text = files::read_small(&config).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let mut found = Vec::new();
        let network = with_config(text, show(&config), || files::open_weights(&folder, C::COMPONENT, set), &mut found)?;
        weight_files.extend(
            found.into_iter().map(|file| WeightFile { name: format!("{}/{}", C::COMPONENT.id(), file.name), ..file }),
        );
        return Ok(network);
    }
    let (file, names) = with_other_half(path, C::COMPONENT, Checkpoint::open(path, "")?)?;
    let file = Arc::new(file);
    let mut network: NetworkFiles<C> = in_file(&show(path), &file, &compvis_config(path, options)?, set)?;
    // A file out of a diffusers folder has its config beside it.
    let beside = path.with_file_name("config.json");
    if network.layout == Layout::of_folder(&file, C::COMPONENT) && beside.is_file() {
        let text = String::from_utf8_lossy(&files::read_small(&beside)?).into_owned();
        if let Ok(config) = C::from_json(&text)
            && Stored::new(&file, C::COMPONENT, &config.specs()?).is_ok()
        {
            (network.config, network.label) = (config, show(&beside));
        }
    }
    weight_files.extend(names.into_iter().map(|path| {
        let name = format!("{}/{}", C::COMPONENT.id(), file_name(&path));
        WeightFile { name, source: WeightSource::Disk(path) }
    }));
    Ok(network)
}

/// The file, and that of TAESD's other half beside it if it has only one: `taesd_encoder.pth` beside `taesd_decoder.pth`.
fn with_other_half(path: &Path, component: Component, file: Checkpoint) -> Result<(Checkpoint, Vec<PathBuf>)> {
    let alone = vec![path.to_owned()];
    let Some(half) = TaesdHalf::of(&file).filter(|_| component == Component::Vae) else { return Ok((file, alone)) };
    let other = half.other();
    let name = file_name(path).replace(half.name(), other.name());
    let beside = path.with_file_name(&name);
    if beside == path || !beside.is_file() {
        let expected = if beside == path { format!("taesd_{}", other.name()) } else { name };
        let problem = format!(
            "this is the {} of a tiny VAE (TAESD) alone: put its {} beside it, as {expected}",
            half.name(),
            other.name()
        );
        return Err(Error::file(show(path), problem));
    }
    let second = Checkpoint::open(&beside, "")?;
    if TaesdHalf::of(&second) != Some(other) {
        return Err(Error::file(show(&beside), format!("this is not the {} of TAESD: give it", other.name())));
    }
    let halves = vec![file.prefixed(half.prefix()), second.prefixed(other.prefix())];
    let mut files = vec![path.to_owned(), beside];
    files.sort();
    Ok((Checkpoint::join(path, halves)?, files))
}

/// The network that a file has, alone or among others.
fn in_file<C: ModelConfig>(
    label: &str,
    file: &Arc<Checkpoint>,
    compvis: &CompVisConfig,
    set: WeightSet,
) -> Result<NetworkFiles<C>> {
    let Some(layout) = Layout::detect(file, C::COMPONENT, set) else {
        let problem = match set {
            WeightSet::Ema if C::COMPONENT == Component::UNet => {
                "there are no EMA weights in this file: leave out --weights ema".to_owned()
            }
            WeightSet::Raw if C::COMPONENT == Component::UNet && calotype_models::has_ema(file) => {
                "there are only EMA weights in this file: leave out --weights raw".to_owned()
            }
            _ => format!(
                "this is {}, and has no {}: give another file",
                describe(FileKind::of(file), file),
                C::COMPONENT.name()
            ),
        };
        return Err(Error::file(label, problem));
    };
    let config = C::infer(file, &layout, compvis).map_err(|error| match error {
        // The file that the config is inferred from.
        calotype_models::Error::Config { .. } => Error::file(label, error.to_string()),
        other => other.into(),
    })?;
    Stored::in_layout(file, &layout, &config.specs()?)?;
    Ok(NetworkFiles { config, label: label.to_owned(), weights: Arc::clone(file), layout })
}

/// Checks that the folder says it is a model of this kind.
fn check_index(files: &Files) -> Result<()> {
    if !files.exists(INDEX) {
        let problem = "there is no such file, so the folder is no diffusers model: give the folder that has one, or a checkpoint file";
        return Err(Error::file(files.label(INDEX), problem));
    }
    let index: serde_json::Value = json::from_str(&files.read_text(INDEX)?)
        .map_err(|e| Error::file(files.label(INDEX), format!("not valid JSON: {}", brief(&e.to_string()))))?;
    if !index.is_object() {
        return Err(Error::file(files.label(INDEX), "not a JSON object: download the model again"));
    }
    // Without a class, the parts that it lists tell.
    let Some(class) = index.get("_class_name").and_then(|class| class.as_str()) else { return Ok(()) };
    if class.starts_with("StableDiffusion") && !class.contains("XL") && !class.contains('3') {
        return Ok(());
    }
    let problem = format!("_class_name is {:?}, expected \"StableDiffusionPipeline\"", brief(class));
    Err(Error::file(files.label(INDEX), problem))
}
