//! From texts to what the UNet attends to.

use std::sync::PoisonError;

use calotype_tensor::Backend;

use crate::{Pipeline, Request, Result, Warning, guides, resident::Resident};

/// What the UNet attends to for a whole batch.
pub(super) struct Context {
    /// `[B, 77, hidden_size]`; with guidance `2B`, the negative prompt's first.
    pub(super) shape: [usize; 3],
    pub(super) data: Vec<f32>,
}

/// Texts, and what [`Pipeline::encode_text`] makes of them.
pub(super) struct EncodedTexts {
    texts: Vec<String>,
    context: Vec<f32>,
    cut: Vec<Option<String>>,
}

impl Pipeline<'_> {
    /// The output of the text encoder for texts, `(B, 77, hidden_size)` row-major, and what was cut from each. That of
    /// the last texts is remembered.
    ///
    /// # Errors
    /// The text encoder fails.
    pub fn encode_text(&self, texts: &[&str]) -> Result<(Vec<f32>, Vec<Option<String>>)> {
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = encoded.as_ref().filter(|last| last.texts == texts) {
            return Ok((last.context.clone(), last.cut.clone()));
        }
        let Resident { backend, network } = self.text_encoder()?;
        let encodings: Vec<_> = texts.iter().map(|text| self.model.tokenizer().encode(text)).collect();
        let ids: Vec<u32> = encodings.iter().flat_map(|encoding| &encoding.ids).copied().collect();
        let context = backend.to_f32(&network.forward(&backend, &ids, texts.len())?);
        let cut: Vec<_> = encodings.into_iter().map(|encoding| encoding.truncated_text).collect();
        let texts = texts.iter().map(ToString::to_string).collect();
        *encoded = Some(EncodedTexts { texts, context: context.clone(), cut: cut.clone() });
        Ok((context, cut))
    }

    /// The context of every picture of the batch, `[B, 77, hidden_size]` and the numbers: with guidance the negative
    /// prompt's for all, then the prompt's.
    pub(super) fn guided_context(&self, request: &Request, warnings: &mut Vec<Warning>) -> Result<Context> {
        let mut texts = vec![("prompt", request.prompt.as_str())];
        if guides(request.guidance_scale) {
            texts.insert(0, ("negative prompt", request.negative_prompt.as_str()));
        }
        let (context, cut) = self.encode_text(&texts.iter().map(|(_, text)| *text).collect::<Vec<_>>())?;
        for (&(field, _), cut) in texts.iter().zip(cut) {
            warnings.extend(cut.map(|text| Warning::Truncated { field, text }));
        }
        let (batch, width) = (request.batch_size, self.model.text_config().hidden_size);
        let length = context.len() / (texts.len() * width).max(1);
        let rows = context.chunks_exact((length * width).max(1)).flat_map(|row| row.repeat(batch)).collect();
        Ok(Context { shape: [texts.len() * batch, length, width], data: rows })
    }
}
