//! How to open a model.

use std::path::{Path, PathBuf};

use calotype_diffusion::PredictionType;
use calotype_models::{Component, WeightSet};

/// Parts and settings of a model that its files leave open, or that the caller wants otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelOptions {
    /// A CompVis config (`v1-inference.yaml`) for a checkpoint in one file. Without it the YAML file of the same name
    /// beside the checkpoint is taken, if there is one, as A1111 does.
    pub config: Option<PathBuf>,
    /// Which weights of the UNet, where there are two sets.
    pub weights: WeightSet,
    /// An autoencoder instead of the model's: a file or a diffusers folder, of it alone or of a whole model.
    pub vae: Option<PathBuf>,
    /// A text encoder instead of the model's.
    pub text_encoder: Option<PathBuf>,
    /// A UNet instead of the model's.
    pub unet: Option<PathBuf>,
    /// Whether the noise is rescaled so that the last timestep has no signal, for a checkpoint that was trained so and does not
    /// say it (A1111's noise schedule "Zero Terminal SNR").
    pub zero_terminal_snr: bool,
    /// What the UNet predicts, for a checkpoint that does not say so or says it wrongly.
    pub prediction_type: Option<PredictionType>,
}

impl ModelOptions {
    /// The file or folder of a network that is given instead of the model's.
    pub(crate) fn part(&self, component: Component) -> Option<&Path> {
        match component {
            Component::TextEncoder => self.text_encoder.as_deref(),
            Component::UNet => self.unet.as_deref(),
            Component::Vae => self.vae.as_deref(),
            // No model with one is opened yet.
            Component::TextEncoder2 => None,
        }
    }

    /// Whether anything but a YAML config is asked for.
    pub(crate) fn asks_for_parts(&self) -> bool {
        *self != Self { config: self.config.clone(), ..Self::default() }
    }
}
