//! From prompts to what the UNet attends to.

use std::sync::{Arc, PoisonError};

use super::Pipeline;
use crate::{
    Plan, Result, Warning,
    adapters::{Key, LoadedAdapters},
    conditioning::{Encoder, PromptInputs},
    networks::EncodeText,
    sampling::Conditioning,
};

/// Of so many prompts it is kept what was made of them: those of several people who make images in turns.
const KEPT: usize = 16;

/// Prompts, and what was made of them.
pub(super) struct EncodedPrompts {
    inputs: Arc<PromptInputs>,
    /// What the text encoder was read with.
    key: Key,
    encoded: Encoded,
}

/// What was made of prompts, and what the caller should know.
pub(super) type Encoded = (Arc<Conditioning>, Vec<Warning>);

impl Pipeline {
    /// The output of the text encoder for texts, `(B, 77, hidden_size)` row-major, and what was cut from each.
    ///
    /// # Errors
    /// The text encoder fails.
    pub fn encode_text(&self, texts: &[&str]) -> Result<(Vec<f32>, Vec<Option<String>>)> {
        let encodings: Vec<_> = texts.iter().map(|text| self.model().tokenizer().encode(text)).collect();
        let ids: Vec<u32> = encodings.iter().flat_map(|encoding| &encoding.ids).copied().collect();
        let adapters = LoadedAdapters::default();
        let text_encoder = self.networks().text_encoder(&adapters, &mut self.no_lease()?)?;
        let context = text_encoder.encode(&ids, texts.len(), 1)?;
        Ok((context, encodings.into_iter().map(|encoding| encoding.truncated_text).collect()))
    }

    /// Opens the adapters of a plan. Also gives what the caller should know.
    pub(super) fn adapters(&self, plan: &Plan) -> Result<(LoadedAdapters, Vec<Warning>)> {
        let mut library = self.0.library.lock().unwrap_or_else(PoisonError::into_inner);
        LoadedAdapters::open(self.model(), plan, &mut library)
    }

    /// What the UNet attends to in the first pass of a plan, and what the caller should know. That of the last prompts is
    /// remembered.
    ///
    /// # Errors
    /// A prompt is too long, an adapter can't be used, or the text encoder fails.
    pub fn conditioning(&self, plan: &Plan) -> Result<(Arc<Conditioning>, Vec<Warning>)> {
        let (adapters, mut warnings) = self.adapters(plan)?;
        let (conditioning, of_prompts) = match self.encoded(plan.prompts(), &adapters) {
            Some(encoded) => encoded,
            None => {
                let text_encoder = self.networks().text_encoder(&adapters, &mut self.no_lease()?)?;
                self.encode_prompts(plan.prompts(), &adapters, &*text_encoder)?
            }
        };
        warnings.extend(of_prompts);
        Ok((conditioning, warnings))
    }

    /// What was made of the same prompts before.
    pub(super) fn encoded(&self, inputs: &PromptInputs, adapters: &LoadedAdapters) -> Option<Encoded> {
        let key = adapters.text_key();
        let mut kept = self.0.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|kept| *kept.inputs == *inputs && kept.key == key)?;
        // Those used last are at the end.
        kept[at..].rotate_left(1);
        kept.last().map(|last| last.encoded.clone())
    }

    /// Encodes the prompts of one pass of a plan whose adapters are open.
    pub(super) fn encode_prompts(
        &self,
        inputs: &Arc<PromptInputs>,
        adapters: &LoadedAdapters,
        text_encoder: &dyn EncodeText,
    ) -> Result<Encoded> {
        let (conditioning, warnings) = self.encoder(adapters, text_encoder).conditioning(inputs)?;
        let encoded = (Arc::new(conditioning), warnings);
        let last = EncodedPrompts { inputs: Arc::clone(inputs), key: adapters.text_key(), encoded: encoded.clone() };
        let mut kept = self.0.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(last);
        Ok(encoded)
    }

    fn encoder<'a>(&'a self, adapters: &'a LoadedAdapters, network: &'a dyn EncodeText) -> Encoder<'a> {
        let width = self.model().text_config().hidden_size;
        Encoder { tokenizer: self.model().tokenizer(), embeddings: &adapters.names, network, width }
    }
}
