//! One network's files.

use std::{path::Path, sync::Arc};

use calotype_formats::Checkpoint;
use calotype_models::{Layout, ModelConfig, Stored, VaeConfig, VaeDecoder, VaeEncoder, WeightSet};
use calotype_tensor::Backend;

use crate::{ModelOptions, Result, open};

/// The files of one network: its config, and its weights, which are not in memory yet.
#[derive(Clone)]
pub struct NetworkFiles<C> {
    pub(crate) config: C,
    /// How messages call what says its sizes: `config.json`, or the file of the weights.
    pub(crate) label: String,
    pub(crate) weights: Arc<Checkpoint>,
    pub(crate) layout: Layout,
}

impl<C: ModelConfig> NetworkFiles<C> {
    /// Opens the network at `path`: a file or folder of it alone, or a whole model that has it. Its moving average is taken
    /// where there is one; what is there is detected from the content.
    ///
    /// # Errors
    /// There is no such network, or its weights don't fit its config. The message names the file.
    pub fn open(path: &Path) -> Result<Self> {
        open::part(path, &ModelOptions::default(), WeightSet::Auto, &mut Vec::new())
    }

    /// What its config file says of it, or the shapes of its tensors.
    #[must_use]
    pub fn config(&self) -> &C {
        &self.config
    }

    /// Its parameters for a network of another `config`, such as one with a sample size of the caller's.
    ///
    /// # Errors
    /// They have other names or shapes.
    pub fn stored_as(&self, config: &C) -> Result<Stored<'_>> {
        Ok(Stored::in_layout(&self.weights, &self.layout, &config.specs()?)?)
    }

    /// Its parameters, checked by name and shape.
    ///
    /// # Errors
    /// They don't fit the config.
    pub fn stored(&self) -> Result<Stored<'_>> {
        self.stored_as(&self.config)
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// A file can't be read, or there is not enough memory.
    pub fn load<B: Backend>(&self, backend: &B) -> Result<C::Model<B::Param>> {
        Ok(self.config.init(backend, &mut self.stored()?)?)
    }
}

impl NetworkFiles<VaeConfig> {
    /// Reads the weights of the encoder only.
    ///
    /// # Errors
    /// A file can't be read, or there is not enough memory.
    pub fn load_encoder<B: Backend>(&self, backend: &B) -> Result<VaeEncoder<B::Param>> {
        Ok(self.config.init_encoder(backend, &mut self.stored()?)?)
    }

    /// Reads the weights of the decoder only.
    ///
    /// # Errors
    /// A file can't be read, or there is not enough memory.
    pub fn load_decoder<B: Backend>(&self, backend: &B) -> Result<VaeDecoder<B::Param>> {
        Ok(self.config.init_decoder(backend, &mut self.stored()?)?)
    }
}
