//! Pipelines on another device than the processor.

use std::{fmt, sync::Arc};

use calotype::{Model, Pipeline, PipelineOptions};

/// A graphics card, which the engine knows by what makes pipelines on it.
#[derive(Clone)]
pub struct Card {
    make: Arc<dyn Fn(Arc<Model>, PipelineOptions) -> Pipeline + Send + Sync>,
    /// Whether the processor does the work once the card has failed, for as long as the engine runs.
    pub falls_back: bool,
}

impl Card {
    /// One on which `make` makes a pipeline, from a model and the options that it would have on the processor.
    pub fn new(
        make: impl Fn(Arc<Model>, PipelineOptions) -> Pipeline + Send + Sync + 'static,
        falls_back: bool,
    ) -> Self {
        Self { make: Arc::new(make), falls_back }
    }

    pub(crate) fn pipeline(&self, model: Arc<Model>, options: PipelineOptions) -> Pipeline {
        (self.make)(model, options)
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card").field("falls_back", &self.falls_back).finish_non_exhaustive()
    }
}
