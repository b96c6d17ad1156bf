//! From parsed prompts to their contexts.

use calotype_text::{Chunk, EmbeddingNames, Entries, Prompt, Schedule, Tokenizer};

use super::{
    Conditioning, Context, PromptSchedule,
    inputs::{PromptInputs, Prompts, ScheduleChunks, lay_out},
    weigh::weigh,
};
use crate::{Result, Warning, networks::EncodeText};

/// Chunks that go through the encoder at once.
const BATCH: usize = 8;

/// A text encoder and what it reads with.
pub(crate) struct Encoder<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) embeddings: &'a EmbeddingNames,
    pub(crate) network: &'a dyn EncodeText,
    /// Numbers in a row of its output.
    pub(crate) width: usize,
}

impl Encoder<'_> {
    /// The contexts of a pass, and what the caller should know.
    ///
    /// # Errors
    /// A prompt is far too long, or the text encoder fails.
    pub(crate) fn conditioning(&self, inputs: &PromptInputs) -> Result<(Conditioning, Vec<Warning>)> {
        let (mut conditioning, mut warnings) = self.of_prompts(inputs)?;
        for region in &inputs.regions {
            let (of_region, more) = self.of_prompts(region)?;
            conditioning.regions.push(of_region);
            warnings.extend(more);
        }
        Ok((conditioning, warnings))
    }

    fn of_prompts(&self, inputs: &PromptInputs) -> Result<(Conditioning, Vec<Warning>)> {
        match &inputs.prompts {
            Prompts::Plain { prompt, negative } => self.plain(prompt, negative.as_deref(), inputs.clip_skip),
            Prompts::A1111 { prompt, negative } => self.a1111(prompt, negative.as_ref(), inputs),
        }
    }

    fn plain(&self, prompt: &str, negative: Option<&str>, clip_skip: usize) -> Result<(Conditioning, Vec<Warning>)> {
        let negative = negative.map(|negative| ("negative prompt", negative));
        let (mut ids, mut warnings) = (Vec::new(), Vec::new());
        for (field, text) in negative.into_iter().chain([("prompt", prompt)]) {
            let encoding = self.tokenizer.encode_with(text, self.embeddings);
            ids.extend(encoding.ids);
            warnings.extend(encoding.truncated_text.map(|text| Warning::Truncated { field, text }));
        }
        let batch = if negative.is_some() { 2 } else { 1 };
        let mut rows = self.network.encode(&ids, batch, clip_skip)?;
        let cond = rows.split_off(rows.len() / batch * (batch - 1));
        let shape = [ids.len() / batch, self.width];
        Ok((Conditioning::constant(shape, negative.map(|_| rows), cond), warnings))
    }

    fn a1111(
        &self,
        prompt: &Prompt,
        negative: Option<&Schedule>,
        inputs: &PromptInputs,
    ) -> Result<(Conditioning, Vec<Warning>)> {
        let mut laid_out = lay_out(prompt, negative, self.tokenizer, self.embeddings)?.into_iter();
        let mut conditioning = Conditioning { width: self.width, ..Conditioning::default() };
        if let Some(negative) = negative {
            let chunks = laid_out.next().unwrap_or_default();
            conditioning.uncond = Some(self.add(&mut conditioning, &negative.entries, chunks, inputs)?);
        }
        for (part, chunks) in prompt.parts.iter().zip(laid_out) {
            let schedule = self.add(&mut conditioning, &part.schedule.entries, chunks, inputs)?;
            conditioning.parts.push((schedule, part.weight as f32));
        }
        let warnings = prompt.networks.iter().map(|network| Warning::Network { tag: network.to_string() });
        Ok((conditioning, warnings.collect()))
    }

    fn add(
        &self,
        conditioning: &mut Conditioning,
        entries: &Entries,
        chunks: ScheduleChunks,
        inputs: &PromptInputs,
    ) -> Result<PromptSchedule> {
        let contexts = self.contexts(entries, &chunks, inputs)?;
        Ok(conditioning.add(entries.clone(), contexts))
    }

    /// The contexts of a schedule's texts, their weights applied.
    fn contexts(&self, entries: &Entries, of_texts: &ScheduleChunks, inputs: &PromptInputs) -> Result<Vec<Context>> {
        let chunks: Vec<&Chunk> = of_texts.iter().flatten().collect();
        let mut rows = Vec::new();
        for some in chunks.chunks(BATCH) {
            let ids: Vec<u32> = some.iter().flat_map(|chunk| chunk.ids).collect();
            rows.extend(self.network.encode(&ids, some.len(), inputs.clip_skip)?);
        }
        let texts = of_texts.len();
        let (per_text, per_chunk) = (chunks.len() / texts.max(1), rows.len() / chunks.len().max(1));
        let mut counts = vec![0; texts];
        for &(_, text) in &entries.0 {
            counts[text] += 1;
        }
        let mut outputs: Vec<&mut [f32]> = rows.chunks_exact_mut(per_chunk.max(1)).collect();
        for chunk in 0..per_text {
            let outputs = outputs.iter_mut().skip(chunk).step_by(per_text);
            let weights = of_texts.iter().map(|chunks| chunks[chunk].weights.as_slice());
            let mut texts: Vec<_> = outputs
                .zip(weights)
                .zip(&counts)
                .map(|((output, weights), &count)| (&mut **output, weights, count))
                .collect();
            weigh(&mut texts, inputs.emphasis);
        }
        let length = per_text * calotype_text::MAX_LENGTH;
        let of_text = rows.chunks_exact((per_text * per_chunk).max(1));
        Ok(of_text.map(|rows| Context { length, rows: rows.to_vec() }).collect())
    }
}
