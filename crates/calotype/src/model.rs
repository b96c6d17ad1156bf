//! A model: a diffusers folder, read and checked whole before anything is computed.

use std::{
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use calotype_diffusion::{NoiseSchedule, PredictionType};
use calotype_formats::Checkpoint;
use calotype_models::{ModelConfig, Stored, TextConfig, UNetConfig, VaeConfig};
use calotype_tensor::Backend;
use calotype_text::{MAX_LENGTH, Tokenizer};

use crate::{
    Error, Result,
    error::{brief, show},
    files::{EmbeddedFile, Files},
    hash,
    request::{MAX_SIDE, seamless_multiple},
    scheduler::SchedulerConfig,
};

/// What a model folder has at its root.
const INDEX: &str = "model_index.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A network's place in the folder: the folder, and the name of its weights without `.safetensors`.
pub(crate) const TEXT_ENCODER: (&str, &str) = ("text_encoder", "model");
pub(crate) const UNET: (&str, &str) = ("unet", "diffusion_pytorch_model");
pub(crate) const VAE: (&str, &str) = ("vae", "diffusion_pytorch_model");

/// A Stable Diffusion model, its configs read, its weights opened and every tensor checked by name and shape.
///
/// No weights are in memory yet: [`Pipeline::load`](crate::Pipeline::load) reads them.
pub struct Model {
    name: String,
    pub(crate) files: Files,
    pub(crate) text_encoder: Network<TextConfig>,
    pub(crate) unet: Network<UNetConfig>,
    pub(crate) vae: Network<VaeConfig>,
    pub(crate) scheduler: SchedulerConfig,
    noise_schedule: NoiseSchedule,
    prediction_type: PredictionType,
    tokenizer: Option<Tokenizer>,
    hash: OnceLock<String>,
    /// Held while the hash is computed, so that it is computed once.
    hashing: Mutex<()>,
}

impl Model {
    /// Opens a diffusers folder: `model_index.json`, and in `text_encoder`, `unet` and `vae` a `config.json` and
    /// safetensors weights (f32, f16 or bf16); `scheduler/scheduler_config.json`; and, if it has one, `tokenizer`
    /// (else CLIP's own, which is built in).
    ///
    /// # Errors
    /// The folder is no model, or a file is missing, damaged or does not fit the others. The message names it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.exists() {
            return Err(Error::file(show(folder), "there is no such folder: give the folder of a diffusers model"));
        }
        if !folder.is_dir() {
            let problem = "this is a file: give the folder of a diffusers model (one that has a model_index.json)";
            return Err(Error::file(show(folder), problem));
        }
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Self::new(name.unwrap_or_else(|| "model".to_owned()), Files::Folder(folder.to_owned()))
    }

    /// Opens a model held in memory, such as one embedded with `include_bytes!`: the files of [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_embedded(name: &str, files: &'static [EmbeddedFile]) -> Result<Self> {
        Self::new(name.to_owned(), Files::Embedded(files))
    }

    fn new(name: String, files: Files) -> Result<Self> {
        check_index(&files)?;
        let label = files.label(SCHEDULER);
        let scheduler = SchedulerConfig::from_json(&files.read_text(SCHEDULER)?, &label)?;
        let model = Self {
            name,
            noise_schedule: scheduler.noise_schedule(&label)?,
            prediction_type: scheduler.prediction(&label)?,
            scheduler,
            text_encoder: Network::open(&files, TEXT_ENCODER)?,
            unet: Network::open(&files, UNET)?,
            vae: Network::open(&files, VAE)?,
            tokenizer: files.open_tokenizer()?,
            files,
            hash: OnceLock::new(),
            hashing: Mutex::new(()),
        };
        model.check_fit()?;
        Ok(model)
    }

    /// Its name: that of its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same model by another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The SHA-256 of its weights, 64 hexadecimal digits: that of what `sha256sum` prints for the weight files, given
    /// as paths from the folder, in order. `text_encoder/…`, `unet/…`, `vae/…`. Computed at the first call, about a
    /// second for each gigabyte; call it in a thread beside the run when that matters.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn hash(&self) -> Result<&str> {
        let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = self.hash.get() {
            return Ok(hash);
        }
        let hash = hash::of_weights(&self.files, &[TEXT_ENCODER, UNET, VAE])?;
        Ok(self.hash.get_or_init(|| hash))
    }

    /// The noise it was trained with.
    #[must_use]
    pub fn noise_schedule(&self) -> &NoiseSchedule {
        &self.noise_schedule
    }

    /// What its UNet predicts.
    #[must_use]
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    /// Its tokenizer: the folder's, or CLIP's.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        self.tokenizer.as_ref().unwrap_or_else(|| Tokenizer::clip())
    }

    /// The config of its text encoder.
    #[must_use]
    pub fn text_config(&self) -> &TextConfig {
        &self.text_encoder.config
    }

    /// The config of its UNet.
    #[must_use]
    pub fn unet_config(&self) -> &UNetConfig {
        &self.unet.config
    }

    /// The config of its autoencoder.
    #[must_use]
    pub fn vae_config(&self) -> &VaeConfig {
        &self.vae.config
    }

    /// Whether its UNet sees a mask and what is left of a masked picture beside the latents: it was trained to inpaint.
    #[must_use]
    pub fn is_for_inpainting(&self) -> bool {
        self.unet_config().in_channels > self.vae_config().latent_channels
    }

    /// What pictures' width and height must be a multiple of.
    #[must_use]
    pub fn size_multiple(&self) -> usize {
        self.vae_config().downscale()
    }

    /// Width and height of the pictures it was trained on.
    #[must_use]
    pub fn default_size(&self) -> (usize, usize) {
        let side = |n: usize| self.unet.config.sample_size.as_ref().map_or(0, |size| size.get(n));
        let pixels = |latent: usize| match latent {
            0 => seamless_multiple(self.unet_config(), self.vae_config()),
            _ => latent.saturating_mul(self.vae.config.downscale()),
        };
        // A list is (height, width), as diffusers has it.
        (pixels(side(1)), pixels(side(0)))
    }

    /// The parts have to fit each other.
    fn check_fit(&self) -> Result<()> {
        let (text, unet, vae) = (self.text_config(), self.unet_config(), self.vae_config());
        let refuse = |part: &str, problem: String| Err(Error::file(self.files.label(part), problem));
        let channels = vae.latent_channels;
        let (inputs, outputs, with_mask) = (unet.in_channels, unet.out_channels, 2 * channels + 1);
        if ![channels, with_mask].contains(&inputs) || outputs != channels {
            let problem = format!(
                "in_channels = {inputs} and out_channels = {outputs}, but the VAE has {channels}: expected {channels} for both, or {with_mask} in for inpainting"
            );
            return refuse("unet/config.json", problem);
        }
        if vae.out_channels != 3 {
            return refuse("vae/config.json", format!("out_channels = {}, expected 3 (RGB)", vae.out_channels));
        }
        let width = text.hidden_size;
        let blocks = 0..unet.block_out_channels.len();
        if let Some(got) = blocks.map(|n| unet.cross_attention_dim.get(n)).find(|&got| got != width) {
            let problem = format!("cross_attention_dim = {got}, but the text encoder's hidden_size is {width}");
            return refuse("unet/config.json", problem);
        }
        let positions = text.max_position_embeddings;
        if positions < MAX_LENGTH {
            let problem = format!("max_position_embeddings = {positions}, but prompts have {MAX_LENGTH} tokens");
            return refuse("text_encoder/config.json", problem);
        }
        let (words, rows) = (self.tokenizer().vocab_size(), text.vocab_size);
        if words > rows {
            let problem = format!("vocab_size = {rows}, but the tokenizer has {words} tokens");
            return refuse("text_encoder/config.json", problem);
        }
        let side = self.default_size();
        if side.0 > MAX_SIDE || side.1 > MAX_SIDE {
            return refuse(
                "unet/config.json",
                format!("sample_size asks for pictures of {} x {} pixels", side.0, side.1),
            );
        }
        Ok(())
    }
}

/// Checks that the folder says it is a model of this kind.
fn check_index(files: &Files) -> Result<()> {
    if !files.exists(INDEX) {
        let problem = "there is no such file, so the folder is no diffusers model: give the folder that has one";
        return Err(Error::file(files.label(INDEX), problem));
    }
    let index: serde_json::Value = serde_json::from_str(&files.read_text(INDEX)?)
        .map_err(|e| Error::file(files.label(INDEX), format!("not valid JSON: {}", brief(&e.to_string()))))?;
    let class = index.get("_class_name").and_then(|class| class.as_str()).unwrap_or("");
    if class.starts_with("StableDiffusion") && !class.contains("XL") && !class.contains('3') {
        return Ok(());
    }
    let problem = format!("_class_name is {:?}, expected \"StableDiffusionPipeline\"", brief(class));
    Err(Error::file(files.label(INDEX), problem))
}

/// One network of the model: its config, and its weights on disk.
pub(crate) struct Network<C> {
    pub(crate) config: C,
    pub(crate) weights: Checkpoint,
}

impl<C: ModelConfig> Network<C> {
    fn open(files: &Files, (folder, basename): (&str, &str)) -> Result<Self> {
        let path = format!("{folder}/config.json");
        let config = C::from_json(&files.read_text(&path)?)
            .map_err(|error| Error::file(files.label(&path), error.to_string()))?;
        let weights = files.open_weights(folder, basename)?;
        Stored::new(&weights, C::NAMES, &config.specs()?)?;
        Ok(Self { config, weights })
    }

    /// Reads the weights.
    pub(crate) fn load<B: Backend>(&self, backend: &B) -> Result<C::Model<B::Param>> {
        Ok(self.config.load(backend, &self.weights)?)
    }
}
