//! Arguments that say which model, for every command that opens one.

use std::path::PathBuf;

use calotype::{ModelOptions, checkpoint::WeightSet, sampling::PredictionType};
use clap::Args;

use super::choices::{Choice, choices};

const WEIGHTS: &[Choice<WeightSet>] = &[
    (WeightSet::Ema, "ema", "Their exponential moving average"),
    (WeightSet::Raw, "raw", "As the last step of the training left them"),
];

const PREDICTIONS: &[Choice<PredictionType>] = &[
    (PredictionType::Epsilon, "epsilon", "The noise"),
    (PredictionType::VPrediction, "v_prediction", "The velocity"),
    (PredictionType::VPrediction, "v", ""),
    (PredictionType::Sample, "sample", "The picture's latents"),
];

/// Which model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// A checkpoint (.safetensors, .ckpt), the folder of a diffusers model, or a pulled one as org/name [default: the model
    /// inside this program]
    #[arg(long, alias = "ckpt", value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: ModelOptionArgs,
}

/// Parts and settings that replace those of the model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelOptionArgs {
    /// CompVis config of a single-file checkpoint, such as v1-inference.yaml [default: FILE.yaml next to it, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which UNet weights of a training checkpoint to use [default: ema if there are any]
    #[arg(long, value_name = "SET", value_parser = choices(WEIGHTS))]
    weights: Option<WeightSet>,
    /// A VAE instead of the model's: a file or a diffusers folder; a tiny one too (TAESD), whose two halves may be files side by side
    #[arg(long, value_name = "PATH")]
    vae: Option<PathBuf>,
    /// A text encoder instead of the model's
    #[arg(long, value_name = "PATH")]
    text_encoder: Option<PathBuf>,
    /// A UNet instead of the model's
    #[arg(long, value_name = "PATH")]
    unet: Option<PathBuf>,
    /// What the UNet predicts [default: as the model says, else epsilon]
    #[arg(long, value_name = "TYPE", value_parser = choices(PREDICTIONS))]
    prediction_type: Option<PredictionType>,
    /// Rescale the noise so that the last timestep has no signal: for a model that was trained so and doesn't say it (A1111's
    /// noise schedule "Zero Terminal SNR")
    #[arg(long)]
    zero_terminal_snr: bool,
}

impl ModelOptionArgs {
    pub(crate) fn options(&self) -> ModelOptions {
        ModelOptions {
            config: self.config.clone(),
            weights: self.weights.unwrap_or(WeightSet::Auto),
            vae: self.vae.clone(),
            text_encoder: self.text_encoder.clone(),
            unet: self.unet.clone(),
            zero_terminal_snr: self.zero_terminal_snr,
            prediction_type: self.prediction_type,
        }
    }
}
