//! Pipelines in memory: made when a job needs one, dropped when another needs their memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use calotype::{CpuDevice, Keep, Model, Pipeline, PipelineOptions};

use crate::{Card, Catalogue, Result};

/// A model, with another autoencoder perhaps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) model: String,
    pub(crate) vae: Option<String>,
}

pub(crate) struct Loaded {
    device: CpuDevice,
    /// None if there is none, or it has failed.
    card: Mutex<Option<Card>>,
    options: PipelineOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Files that are open; no weights.
    models: HashMap<Key, Arc<Model>>,
    /// Who was used last is last.
    pipelines: Vec<(Key, Pipeline)>,
}

impl Loaded {
    pub(crate) fn new(device: CpuDevice, card: Option<Card>, options: PipelineOptions) -> Self {
        Self { device, card: Mutex::new(card), options, state: Mutex::default() }
    }

    /// A pipeline on the device that computes.
    pub(crate) fn make(&self, model: Arc<Model>, options: PipelineOptions) -> Pipeline {
        match &*self.card.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(card) => card.pipeline(model, options),
            None => Pipeline::new(self.device.clone(), model, options),
        }
    }

    /// Computes on the processor from now on, if a card has failed that the processor stands in for. Whether it does so from here.
    pub(crate) fn give_up_card(&self) -> bool {
        let mut card = self.card.lock().unwrap_or_else(PoisonError::into_inner);
        if card.take_if(|card| card.falls_back).is_none() {
            return false;
        }
        drop(card);
        self.drop_but(None);
        true
    }

    pub(crate) fn options(&self) -> &PipelineOptions {
        &self.options
    }

    /// A model, opened once.
    pub(crate) fn model(&self, catalogue: &Catalogue, key: &Key) -> Result<Arc<Model>> {
        if let Some(model) = self.state().models.get(key) {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(catalogue.model(&key.model, key.vae.as_deref())?);
        Ok(Arc::clone(self.state().models.entry(key.clone()).or_insert(model)))
    }

    /// The pipeline of a model, which is then the one that was used last.
    pub(crate) fn pipeline(&self, catalogue: &Catalogue, key: &Key) -> Result<Pipeline> {
        let model = self.model(catalogue, key)?;
        let mut state = self.state();
        let there = state.pipelines.iter().position(|(other, _)| other == key);
        let pipeline = match there {
            Some(at) => state.pipelines.remove(at).1,
            None => self.make(model, self.options.clone()),
        };
        state.pipelines.push((key.clone(), pipeline.clone()));
        Ok(pipeline)
    }

    /// A pipeline that keeps nothing in memory, for a machine without room for more.
    pub(crate) fn without_keeping(&self, catalogue: &Catalogue, key: &Key) -> Result<Pipeline> {
        self.drop_but(None);
        let options = PipelineOptions { keep: Keep::Nothing, ..self.options.clone() };
        Ok(self.make(self.model(catalogue, key)?, options))
    }

    /// Frees the memory of all pipelines but one. Whether there were others.
    pub(crate) fn drop_but(&self, key: Option<&Key>) -> bool {
        let mut state = self.state();
        let before = state.pipelines.len();
        state.pipelines.retain(|(other, _)| Some(other) == key);
        state.pipelines.len() < before
    }

    /// Closes all files, so that they are read anew.
    pub(crate) fn forget_all(&self) {
        *self.state() = State::default();
    }

    /// The ids of the models in memory.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.state().pipelines.iter().map(|(key, _)| key.model.clone()).collect()
    }

    /// Whether no other model than this one is in memory.
    pub(crate) fn is_alone(&self, key: &Key) -> bool {
        self.state().pipelines.iter().all(|(other, _)| other == key)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
