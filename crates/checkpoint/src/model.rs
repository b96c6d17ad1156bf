//! A model: configs, weights and noise schedule, read and checked whole before anything is computed.

use std::{
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use calotype_diffusion::{NoiseSchedule, PredictionType};
use calotype_models::{TextConfig, UNetConfig, VaeConfig};
use calotype_text::{MAX_LENGTH, Tokenizer};

use crate::{
    Error, ModelOptions, NetworkFiles, Result, Vocabulary,
    files::Files,
    hash::{self, WeightFile, WeightSource},
    license::{License, LicenseSource, SMALLEST_PUBLIC},
    open,
    saved_scheduler::SavedScheduler,
    scheduler::SchedulerConfig,
};

/// The longest side of an image, in pixels.
pub const MAX_SIDE: usize = 16384;

/// A1111's name of a noise schedule whose last timestep has no signal.
pub const ZERO_TERMINAL_SNR: &str = "Zero Terminal SNR";

/// A Stable Diffusion model: its configs read, its weights opened and every tensor checked by name and shape.
///
/// No weights are in memory yet: a pipeline reads them.
pub struct Model {
    pub(crate) name: String,
    pub(crate) text_encoder: NetworkFiles<TextConfig>,
    pub(crate) unet: NetworkFiles<UNetConfig>,
    pub(crate) vae: NetworkFiles<VaeConfig>,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) noise_schedule: NoiseSchedule,
    pub(crate) prediction_type: PredictionType,
    /// How the prediction type was told.
    pub(crate) prediction_source: &'static str,
    pub(crate) tokenizer: ModelTokenizer,
    /// What the hash is of.
    pub(crate) weight_files: Vec<WeightFile>,
    /// Whether its config says that the training kept a moving average.
    pub(crate) use_ema: bool,
    latent_rgb: Option<String>,
    vocabulary: Option<Vocabulary>,
    /// What came with it says.
    license: Option<License>,
    hash: OnceLock<String>,
    /// Held while the hash is computed, so that it is computed once.
    hashing: Mutex<()>,
}

/// What a UNet takes as channels beside the noisy latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditioning {
    /// Nothing: it is told by the text alone.
    Text,
    /// A mask, and the latents of what is around it.
    Inpainting,
    /// The latents of a picture that the text says what to do with (Brooks et al. 2022).
    InstructPix2Pix,
    /// A map of depths (Stable Diffusion 2 depth).
    Depth,
}

impl Conditioning {
    /// What it takes, for a UNet that is not run here.
    pub(crate) fn not_run(self) -> Option<&'static str> {
        match self {
            Self::Text | Self::Inpainting => None,
            Self::InstructPix2Pix => Some("takes the latents of a picture as well (InstructPix2Pix)"),
            Self::Depth => Some("takes a map of depths as well (Stable Diffusion 2 depth)"),
        }
    }
}

/// Where a model's tokenizer is from.
pub(crate) enum ModelTokenizer {
    /// The program: padded with the end of the text, or with 0 (Stable Diffusion 2).
    BuiltIn(&'static Tokenizer),
    /// The model's folder.
    Own(Box<Tokenizer>, Files),
}

/// What [`open`] finds out about a model.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) text_encoder: NetworkFiles<TextConfig>,
    pub(crate) unet: NetworkFiles<UNetConfig>,
    pub(crate) vae: NetworkFiles<VaeConfig>,
    pub(crate) scheduler: SchedulerConfig,
    /// How messages call the scheduler's config.
    pub(crate) scheduler_label: String,
    pub(crate) prediction_source: &'static str,
    pub(crate) tokenizer: ModelTokenizer,
    pub(crate) weight_files: Vec<WeightFile>,
    /// Whether a config says that the training kept a moving average of the UNet.
    pub(crate) use_ema: bool,
    /// The text of `latent_rgb.json`.
    pub(crate) latent_rgb: Option<String>,
    pub(crate) vocabulary: Option<Vocabulary>,
    /// The licence, as what came with the model says.
    pub(crate) license: Option<License>,
}

impl Model {
    /// Opens a model: a diffusers folder, or a checkpoint in one file as CompVis' scripts take it, with its moving
    /// average where it has one. What it is, is told by what is in it.
    ///
    /// A diffusers folder has `model_index.json`, and in `text_encoder`, `unet` and `vae` a `config.json` and
    /// weights (f32, f16 or bf16); `scheduler/scheduler_config.json`; and, if it has one, `tokenizer` (else CLIP's own,
    /// which is built in). Of a checkpoint in one file, sizes are those of its tensors; for the rest see [`ModelOptions`].
    ///
    /// # Errors
    /// The path is no model, or a file is missing, damaged or does not fit the others. The message names it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ModelOptions::default())
    }

    /// Opens a model with parts or settings of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`], or an option asks for what is not there.
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        Self::open_any(path.as_ref(), options)?.runnable()
    }

    /// The model, if its UNet can be run.
    fn runnable(self) -> Result<Self> {
        match self.conditioning().not_run() {
            None => Ok(self),
            Some(what) => {
                let problem = format!("its UNet {what}, which is converted and inspected here but not run");
                Err(Error::file(&self.unet.label, problem))
            }
        }
    }

    /// As [`Self::open_with`], also of a model that can't be run.
    pub(crate) fn open_any(path: &Path, options: &ModelOptions) -> Result<Self> {
        Self::new(open::parts(path, options)?)
    }

    /// Opens the files of a diffusers folder in memory, such as those embedded with `include_bytes!`, by their paths in it.
    /// `name` is for messages and metadata.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_files<P: Into<String>, B: Into<Bytes>>(
        name: &str,
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Result<Self> {
        let files = files.into_iter().map(|(path, bytes)| (path.into(), bytes.into())).collect();
        Self::new(open::folder(name.to_owned(), &Files::Memory(name.to_owned(), files), &ModelOptions::default())?)
            .and_then(Self::runnable)
    }

    /// Opens a checkpoint of one file in memory, of any layout; `name` is for messages and metadata.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(name: &str, bytes: impl Into<Bytes>, options: &ModelOptions) -> Result<Self> {
        Self::new(open::in_memory(name, bytes.into(), options)?).and_then(Self::runnable)
    }

    fn new(parts: Parts) -> Result<Self> {
        let Parts {
            name,
            text_encoder,
            unet,
            vae,
            scheduler,
            scheduler_label: label,
            prediction_source,
            tokenizer,
            weight_files,
            use_ema,
            latent_rgb,
            vocabulary,
            license,
        } = parts;
        let model = Self {
            name,
            noise_schedule: scheduler.noise_schedule(&label)?,
            prediction_type: scheduler.prediction(&label)?,
            text_encoder,
            unet,
            vae,
            scheduler,
            prediction_source,
            tokenizer,
            weight_files,
            use_ema,
            latent_rgb,
            vocabulary,
            license,
            hash: OnceLock::new(),
            hashing: Mutex::new(()),
        };
        model.check_fit()?;
        let prediction = model.prediction_type.id();
        tracing::info!(model = model.name, prediction, inpainting = model.is_inpainting(), "opened");
        Ok(model)
    }

    /// Its name: that of its folder, or of its file without the ending.
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

    /// The licence that its files state, or that of the public model which it is by name or hash. Of a large file in an unknown
    /// licence the hash is computed.
    ///
    /// # Errors
    /// The weights can't be read to hash them.
    pub fn license(&self) -> Result<Option<License>> {
        if let Some(known) = self.license.clone().or_else(|| License::of_name(&self.name)) {
            return Ok(Some(known));
        }
        let is_large = |file: &Path| file.metadata().is_ok_and(|data| data.len() >= SMALLEST_PUBLIC);
        match self.weight_files.as_slice() {
            [WeightFile { source: WeightSource::Disk(file), .. }] if is_large(file) => {
                Ok(License::of_hash(self.hash()?))
            }
            _ => Ok(None),
        }
    }

    /// The same model under a licence that this program knows it to have.
    #[cfg_attr(not(feature = "builtin"), allow(dead_code, reason = "it is for the model inside the program"))]
    pub(crate) fn licensed(mut self, name: &str, link: &str) -> Self {
        let (name, link) = (name.to_owned(), Some(link.to_owned()));
        self.license = Some(License { name, link, source: LicenseSource::Program });
        self
    }

    /// Whether a hash that a picture's file has of its model is this model's: the first digits of [`Self::hash`], or the 8
    /// digits that A1111 had of a file before 2023.
    ///
    /// # Errors
    /// A weights file can't be read.
    pub fn has_hash(&self, hash: &str) -> Result<bool> {
        let hash = hash.to_ascii_lowercase();
        let is_old = hash.len() == 8 && hash::old(&self.weight_files)?.is_some_and(|old| old == hash);
        Ok(is_old || self.hash()?.starts_with(&hash))
    }

    /// The SHA-256 of its weights, 64 hexadecimal digits: that of the file, or, where the weights are in several files,
    /// of what `sha256sum` prints for them, given as paths from the folder, in order. `text_encoder/…`, `unet/…`,
    /// `vae/…`. Its first ten digits are A1111's short hash of a single file. Computed at the first call, about a
    /// second for each gigabyte; call it in a thread beside the run when that matters.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn hash(&self) -> Result<&str> {
        let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = self.hash.get() {
            return Ok(hash);
        }
        let hash = hash::of_weights(&self.weight_files)?;
        Ok(self.hash.get_or_init(|| hash))
    }

    /// The noise it was trained with.
    #[must_use]
    pub fn noise_schedule(&self) -> &NoiseSchedule {
        &self.noise_schedule
    }

    /// A1111's name of its noise, if it is not that of its family's betas: "Zero Terminal SNR"; `trained` of a table of its
    /// own, which has no name there.
    #[must_use]
    pub fn noise_schedule_name(&self) -> Option<&'static str> {
        match (self.noise_schedule.is_zero_terminal_snr(), self.scheduler.is_named()) {
            (true, _) => Some(ZERO_TERMINAL_SNR),
            (false, true) => None,
            (false, false) => Some("trained"),
        }
    }

    /// What the config of its scheduler says of the sampler, if it came with one.
    #[must_use]
    pub fn saved_scheduler(&self) -> Option<&SavedScheduler> {
        self.scheduler.saved.as_ref()
    }

    /// What its UNet predicts.
    #[must_use]
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    /// Its tokenizer: the folder's, or CLIP's.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        match &self.tokenizer {
            ModelTokenizer::BuiltIn(tokenizer) => tokenizer,
            ModelTokenizer::Own(tokenizer, _) => tokenizer,
        }
    }

    /// The files of its text encoder.
    #[must_use]
    pub fn text_encoder(&self) -> &NetworkFiles<TextConfig> {
        &self.text_encoder
    }

    /// The files of its UNet.
    #[must_use]
    pub fn unet(&self) -> &NetworkFiles<UNetConfig> {
        &self.unet
    }

    /// The files of its autoencoder.
    #[must_use]
    pub fn vae(&self) -> &NetworkFiles<VaeConfig> {
        &self.vae
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

    /// Whether its UNet also takes a mask and the latents of what is around it, beside the noisy latents.
    #[must_use]
    pub fn is_inpainting(&self) -> bool {
        self.conditioning() == Conditioning::Inpainting
    }

    /// Whether a tensor of a checkpoint in one file is of a network that was taken from elsewhere, or the raw twin of one in
    /// use.
    pub(crate) fn is_replaced(&self, name: &str) -> bool {
        let elsewhere = |weights| !std::sync::Arc::ptr_eq(weights, &self.unet.weights);
        (name.contains("model.diffusion_model.") && self.unet.layout.is_ema())
            || (name.contains("first_stage_model.") && elsewhere(&self.vae.weights))
    }

    /// What its UNet takes beside the noisy latents and the text, by its channels.
    pub(crate) fn conditioning(&self) -> Conditioning {
        let latents = self.vae_config().latent_channels;
        match self.unet_config().in_channels {
            channels if channels == 2 * latents + 1 => Conditioning::Inpainting,
            channels if channels == 2 * latents => Conditioning::InstructPix2Pix,
            channels if channels == latents + 1 => Conditioning::Depth,
            _ => Conditioning::Text,
        }
    }

    /// What pictures' width and height must be a multiple of.
    #[must_use]
    pub fn size_multiple(&self) -> usize {
        self.vae_config().downscale()
    }

    /// The words that it was trained on, where its folder says it.
    #[must_use]
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        self.vocabulary.as_ref()
    }

    /// The text of `latent_rgb.json` in its folder: how its latents are shown without the VAE.
    #[must_use]
    pub fn latent_rgb(&self) -> Option<&str> {
        self.latent_rgb.as_deref()
    }

    /// What width and height of seamless images, which continue at their opposite edge, must be a multiple of.
    #[must_use]
    pub fn seamless_multiple(&self) -> usize {
        self.vae_config().downscale() * self.unet_config().latent_multiple()
    }

    /// Width and height of the pictures it was trained on.
    #[must_use]
    pub fn default_size(&self) -> (usize, usize) {
        let side = |n: usize| self.unet.config.sample_size.as_ref().map_or(0, |size| size.get(n));
        let pixels = |latent: usize| match latent {
            0 => self.seamless_multiple(),
            _ => latent.saturating_mul(self.vae.config.downscale()),
        };
        // A list is (height, width), as diffusers has it.
        (pixels(side(1)), pixels(side(0)))
    }

    /// The parts have to fit each other.
    fn check_fit(&self) -> Result<()> {
        let (text, unet, vae) = (self.text_config(), self.unet_config(), self.vae_config());
        let refuse = |part: &str, problem: String| Err(Error::file(part, problem));
        let channels = vae.latent_channels;
        let is_known = unet.in_channels == channels || self.conditioning() != Conditioning::Text;
        if !is_known || unet.out_channels != channels {
            let (got_in, got_out) = (unet.in_channels, unet.out_channels);
            return refuse(
                &self.unet.label,
                format!(
                    "in_channels = {got_in} and out_channels = {got_out}, but the VAE has {channels} (expected for both, or {} in for inpainting)",
                    2 * channels + 1
                ),
            );
        }
        if vae.out_channels != 3 {
            return refuse(&self.vae.label, format!("out_channels = {}, expected 3 (RGB)", vae.out_channels));
        }
        let width = text.hidden_size;
        let blocks = 0..unet.block_out_channels.len();
        if let Some(got) = blocks.map(|n| unet.cross_attention_dim.get(n)).find(|&got| got != width) {
            let problem = format!("cross_attention_dim = {got}, but the text encoder's hidden_size is {width}");
            return refuse(&self.unet.label, problem);
        }
        let positions = text.max_position_embeddings;
        if positions < MAX_LENGTH {
            let problem = format!("max_position_embeddings = {positions}, but prompts have {MAX_LENGTH} tokens");
            return refuse(&self.text_encoder.label, problem);
        }
        let (words, rows) = (self.tokenizer().vocab_size(), text.vocab_size);
        if words > rows {
            let problem = format!("vocab_size = {rows}, but the tokenizer has {words} tokens");
            return refuse(&self.text_encoder.label, problem);
        }
        let side = self.default_size();
        if side.0 > MAX_SIDE || side.1 > MAX_SIDE {
            return refuse(
                &self.unet.label,
                format!("sample_size asks for pictures of {} x {} pixels", side.0, side.1),
            );
        }
        Ok(())
    }
}
