//! From texts to what the UNet attends to.

use std::sync::{Arc, PoisonError};

use calotype_text::Timeline;

use crate::{
    Conditioning, Pipeline, Request, Result, Warning,
    adapters::{Active, Key},
    conditioning::{Encoder, Reading},
};

/// Texts, and what was made of them.
pub(super) struct EncodedTexts {
    reading: Reading,
    /// What the text encoder was read with.
    key: Key,
    conditioning: Arc<Conditioning>,
    warnings: Vec<Warning>,
}

impl Pipeline<'_> {
    /// The output of the text encoder for texts, `(B, 77, hidden_size)` row-major, and what was cut from each.
    ///
    /// # Errors
    /// The text encoder fails.
    pub fn encode_text(&self, texts: &[&str]) -> Result<(Vec<f32>, Vec<Option<String>>)> {
        let encodings: Vec<_> = texts.iter().map(|text| self.model.tokenizer().encode(text)).collect();
        let ids: Vec<u32> = encodings.iter().flat_map(|encoding| &encoding.ids).copied().collect();
        let context = self.encoder(&Active::default())?.encode(&ids, texts.len(), 1)?;
        Ok((context, encodings.into_iter().map(|encoding| encoding.truncated_text).collect()))
    }

    /// Opens the adapters of a request. Also gives the request without the words of its prompt that call for them.
    pub(super) fn adapters(&self, request: &Request, warnings: &mut Vec<Warning>) -> Result<(Active, Request)> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        let (adapters, prompt) = Active::new(self.model, request, &mut library, warnings)?;
        Ok((adapters, Request { prompt, ..request.clone() }))
    }

    /// What the UNet attends to in a run of this request, and what the caller should know. That of the last texts is
    /// remembered.
    ///
    /// # Errors
    /// A prompt can't be read, an adapter can't be used, or the text encoder fails.
    pub fn conditioning(&self, request: &Request) -> Result<(Arc<Conditioning>, Vec<Warning>)> {
        let mut warnings = Vec::new();
        let (adapters, request) = self.adapters(request, &mut warnings)?;
        let timeline = request.first_timeline();
        let (conditioning, of_text) = self.adapted_conditioning(&request, &adapters, timeline)?;
        warnings.extend(of_text);
        Ok((conditioning, warnings))
    }

    /// [`Self::conditioning`] of a request whose adapters are open, over the evaluations of one pass.
    pub(super) fn adapted_conditioning(
        &self,
        request: &Request,
        adapters: &Active,
        timeline: Timeline,
    ) -> Result<(Arc<Conditioning>, Vec<Warning>)> {
        let reading = Reading::new(request, timeline);
        let key = adapters.text_key();
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = encoded.as_ref().filter(|last| last.reading == reading && last.key == key) {
            return Ok((last.conditioning.clone(), last.warnings.clone()));
        }
        let (conditioning, warnings) = self.encoder(adapters)?.conditioning(&reading)?;
        let conditioning = Arc::new(conditioning);
        *encoded = Some(EncodedTexts { reading, key, conditioning: conditioning.clone(), warnings: warnings.clone() });
        Ok((conditioning, warnings))
    }

    fn encoder<'a>(&'a self, adapters: &'a Active) -> Result<Encoder<'a>> {
        let width = self.model.text_config().hidden_size;
        let (tokenizer, embeddings) = (self.model.tokenizer(), &adapters.names);
        Ok(Encoder { tokenizer, embeddings, network: self.text_encoder(adapters)?, width })
    }
}
