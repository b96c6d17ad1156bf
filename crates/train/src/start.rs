//! What a run may start from: a model, whole or in parts, whose networks are those that are trained, also where shapes don't tell.

use std::path::Path;

use calotype::Model;
use calotype_checkpoint::{NetworkFiles, TokenizerFolder};
use calotype_diffusion::{NoiseSchedule, PredictionType};
use calotype_models::{DownBlockType, PerBlock, TextConfig, UNetConfig, VaeConfig};
use calotype_text::{MAX_LENGTH, Tokenizer, clip_files};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    AutoencoderSizes, DiffusionSizes, Error, Prediction, Result, TextEncoderSizes,
    config::{BUILT_IN, is_built_in},
    folders::{noise_schedule, scheduler_config},
};

/// The group norms that CompVis' code has, and the width of the heads of its text encoder: what has others stays a folder.
const COMPVIS_GROUPS: usize = 32;
const COMPVIS_TEXT_HEAD: usize = 64;

/// The networks, noise and tokenizer that latent diffusion is trained on from.
pub(crate) enum Start {
    /// Random weights.
    Random,
    /// A model, with its autoencoder and all that is said of it.
    Whole(Box<Model>),
    /// A UNet and a text encoder, which don't say with what noise they were trained.
    Parts {
        unet: Box<NetworkFiles<UNetConfig>>,
        text: Box<NetworkFiles<TextConfig>>,
        vae: Option<Box<NetworkFiles<VaeConfig>>>,
        tokenizer: Option<Box<TokenizerFolder>>,
    },
}

#[cfg(feature = "builtin")]
fn built_in() -> Result<Model> {
    Ok(Model::built_in()?)
}

#[cfg(not(feature = "builtin"))]
fn built_in() -> Result<Model> {
    let problem = "this program was built without the model inside (feature `builtin`): give a file or a folder";
    Err(Error::run(Path::new(BUILT_IN), problem))
}

/// The autoencoder at a path, or of the model inside the program.
pub(crate) fn open_vae(path: &Path) -> Result<NetworkFiles<VaeConfig>> {
    if is_built_in(path) { Ok(built_in()?.vae().clone()) } else { Ok(NetworkFiles::open(path)?) }
}

/// What says what a UNet predicts, in our config.
fn prediction(model: &Model) -> Result<Prediction> {
    match model.prediction_type() {
        PredictionType::Epsilon => Ok(Prediction::Epsilon),
        PredictionType::VPrediction => Ok(Prediction::VPrediction),
        PredictionType::Sample => {
            let problem =
                "it predicts the latents themselves, and noise or v is trained here: start from another model";
            Err(Error::run(Path::new(model.name()), problem))
        }
    }
}

impl Start {
    /// Opens what a run starts from.
    pub(crate) fn open(from: Option<&Path>) -> Result<Self> {
        let Some(from) = from else { return Ok(Self::Random) };
        if is_built_in(from) {
            return Ok(Self::Whole(Box::new(built_in()?)));
        }
        if let Ok(model) = Model::open(from) {
            prediction(&model).map_err(|error| match error {
                Error::Run { problem, .. } => Error::run(from, problem),
                other => other,
            })?;
            return Ok(Self::Whole(Box::new(model)));
        }
        let (unet, text) = (Box::new(NetworkFiles::open(from)?), Box::new(NetworkFiles::open(from)?));
        let vae = NetworkFiles::open(from).ok().map(Box::new);
        Ok(Self::Parts { unet, text, vae, tokenizer: TokenizerFolder::open(from)?.map(Box::new) })
    }

    /// The networks that are trained on.
    pub(crate) fn networks(&self) -> Option<(&NetworkFiles<UNetConfig>, &NetworkFiles<TextConfig>)> {
        match self {
            Self::Random => None,
            Self::Whole(model) => Some((model.unet(), model.text_encoder())),
            Self::Parts { unet, text, .. } => Some((unet, text)),
        }
    }

    /// The model, if it is a whole one.
    pub(crate) fn model(&self) -> Option<&Model> {
        if let Self::Whole(model) = self { Some(model) } else { None }
    }

    /// Its autoencoder.
    pub(crate) fn vae(&self) -> Option<&NetworkFiles<VaeConfig>> {
        match self {
            Self::Random => None,
            Self::Whole(model) => Some(model.vae()),
            Self::Parts { vae, .. } => vae.as_deref(),
        }
    }

    /// What its UNet predicts, where that is said.
    pub(crate) fn prediction(&self) -> Option<Prediction> {
        match self {
            Self::Whole(model) => prediction(model).ok(),
            _ => None,
        }
    }

    /// The noise that it was trained with; Stable Diffusion 1's where that is not said.
    pub(crate) fn noise_schedule(&self) -> Result<NoiseSchedule> {
        match self {
            Self::Whole(model) => Ok(model.noise_schedule().clone()),
            _ => noise_schedule(),
        }
    }

    /// The `scheduler_config.json` of what it becomes.
    pub(crate) fn scheduler_config(&self, prediction: Prediction) -> Result<Value> {
        let mut config = match self {
            Self::Whole(model) => model.scheduler_config()?,
            _ => scheduler_config(),
        };
        config["prediction_type"] = json!(prediction);
        Ok(config)
    }

    /// What captions are read with: its own tokenizer, else CLIP's.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        match self {
            Self::Whole(model) => model.tokenizer(),
            Self::Parts { tokenizer: Some(own), .. } => &own.tokenizer,
            Self::Parts { text, .. } if text.config().is_open_clip() => Tokenizer::open_clip(),
            _ => Tokenizer::clip(),
        }
    }

    /// `(name, contents)` of the tokenizer's files.
    pub(crate) fn tokenizer_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match self {
            Self::Whole(model) => Ok(model.tokenizer_files()?),
            Self::Parts { tokenizer: Some(own), .. } => Ok(own.files.clone()),
            _ => Ok(clip_files().map(|(name, text)| (name, text.into_bytes())).into()),
        }
    }

    /// What `[model]` says of it, but for the autoencoder's place.
    pub(crate) fn sizes(&self) -> Option<DiffusionSizes> {
        let (unet, text) = self.networks()?;
        let (unet, text) = (unet.config(), text.config());
        let levels = unet.block_out_channels.len();
        Some(DiffusionSizes {
            autoencoder: Path::new(BUILT_IN).to_owned(),
            block_out_channels: unet.block_out_channels.clone(),
            layers_per_block: plain(&unet.layers_per_block, levels),
            attention_levels: unet.down_block_types.iter().map(|kind| *kind == DownBlockType::CrossAttention).collect(),
            attention_heads: plain(unet.num_attention_heads.as_ref().unwrap_or(&unet.attention_head_dim), levels),
            norm_num_groups: unet.norm_num_groups,
            use_linear_projection: Some(unet.use_linear_projection),
            prediction_type: self.prediction(),
            text_encoder: TextEncoderSizes {
                hidden_size: text.hidden_size,
                num_hidden_layers: text.num_hidden_layers,
                num_attention_heads: text.num_attention_heads,
                intermediate_size: Some(text.intermediate_size),
                hidden_act: Some(text.hidden_act),
            },
        })
    }

    /// Refuses what `[model]` says otherwise, and what can't be trained here: `from` with latents of so many channels.
    pub(crate) fn check(&self, from: &Path, given: &DiffusionSizes, latent_channels: usize) -> Result<()> {
        let (Some(own), Some((unet, text))) = (self.sizes(), self.networks()) else { return Ok(()) };
        let levels = own.block_out_channels.len();
        let given = DiffusionSizes {
            layers_per_block: plain(&given.layers_per_block, levels),
            attention_heads: plain(&given.attention_heads, levels),
            ..given.clone()
        };
        disagreement(from, "model", &given, &own)?;
        let (unet, text) = (unet.config(), text.config());
        if [unet.in_channels, unet.out_channels] != [latent_channels; 2] {
            let problem = format!(
                "its UNet has {} channels in and {} out, and the autoencoder's latents {latent_channels}: give the autoencoder it was trained with; a model for inpainting is not trained here",
                unet.in_channels, unet.out_channels
            );
            return Err(Error::run(from, problem));
        }
        if text.max_position_embeddings < MAX_LENGTH {
            let problem = format!(
                "its text encoder takes {} tokens, and captions have {MAX_LENGTH}: start from another model",
                text.max_position_embeddings
            );
            return Err(Error::run(from, problem));
        }
        Ok(())
    }
}

/// One number, where all levels have the same.
fn plain(setting: &PerBlock, levels: usize) -> PerBlock {
    let first = setting.get(0);
    if (0..levels).all(|level| setting.get(level) == first) { PerBlock::All(first) } else { setting.clone() }
}

/// Refuses the first value of a table that is given and that the model has otherwise.
fn disagreement(from: &Path, table: &str, given: &impl Serialize, own: &impl Serialize) -> Result<()> {
    let [given, own] = [serde_json::to_value(given), serde_json::to_value(own)].map(Result::unwrap_or_default);
    let pairs = given.as_object().into_iter().flatten();
    for (key, given) in pairs.filter(|(key, given)| *key != "autoencoder" && !given.is_null()) {
        let path = format!("{table}.{key}");
        match own.get(key) {
            Some(own @ Value::Object(_)) => disagreement(from, &path, given, own)?,
            Some(own) if !own.is_null() && own != given => {
                let problem = format!("{path} is {given}, and it has {own}: set it to {own}, or leave it out");
                return Err(Error::run(from, problem));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses to start from an autoencoder of other sizes than `given`.
pub(crate) fn check_vae(from: &Path, own: &VaeConfig, given: &AutoencoderSizes) -> Result<()> {
    // What learns is no size.
    let own = AutoencoderSizes { freeze_encoder: given.freeze_encoder, ..autoencoder_sizes(own) };
    disagreement(from, "model", given, &own)
}

/// What `[model]` says of an autoencoder.
pub(crate) fn autoencoder_sizes(config: &VaeConfig) -> AutoencoderSizes {
    AutoencoderSizes {
        block_out_channels: config.block_out_channels.clone(),
        layers_per_block: config.layers_per_block,
        latent_channels: config.latent_channels,
        norm_num_groups: config.norm_num_groups,
        freeze_encoder: false,
    }
}

/// Why what will be trained can't be converted to a checkpoint in one file, if that is so.
pub(crate) fn stays_a_folder(groups: &[(&str, usize)], text: Option<&TextConfig>) -> Option<String> {
    let others = groups.iter().filter(|(_, groups)| *groups != COMPVIS_GROUPS);
    let mut reasons: Vec<String> =
        others.map(|(key, groups)| format!("{key} is {groups} and there {COMPVIS_GROUPS}")).collect();
    if let Some(text) = text.filter(|text| text.num_attention_heads != (text.hidden_size / COMPVIS_TEXT_HEAD).max(1)) {
        let width = text.hidden_size / text.num_attention_heads.max(1);
        reasons.push(format!("the text encoder's heads are {width} wide and there {COMPVIS_TEXT_HEAD}"));
    }
    (!reasons.is_empty()).then(|| {
        let reasons = reasons.join(", ");
        format!("this model will be a diffusers folder and can't be converted to one file, CompVis' layout: {reasons}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_a_folder_is_said() {
        let text =
            |hidden_size, num_attention_heads| TextConfig { hidden_size, num_attention_heads, ..TextConfig::default() };
        assert_eq!(stays_a_folder(&[("model.norm_num_groups", 32)], None), None);
        assert_eq!(stays_a_folder(&[("model.norm_num_groups", 32)], Some(&text(128, 2))), None);
        let reason = stays_a_folder(&[("model.norm_num_groups", 16)], Some(&text(128, 4))).unwrap();
        assert!(
            reason.ends_with(
                "model.norm_num_groups is 16 and there 32, the text encoder's heads are 32 wide and there 64"
            ),
            "{reason}"
        );
    }
}
