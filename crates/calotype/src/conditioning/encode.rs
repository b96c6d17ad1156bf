//! From a request's texts to their contexts.

use calotype_models::ClipTextEncoder;
use calotype_tensor::{
    Backend,
    cpu::{Cpu, Param},
};
use calotype_text::{
    Chunk, EmbeddingNames, Emphasis, Grammar, MAX_CHUNKS, Prompt, PromptStyle, Schedule, Timeline, Tokenizer,
};

use super::{Conditioning, Context, weigh::weigh};
use crate::{Error, Request, Result, Warning, resident::Resident};

/// The most chunks of one text.
const MAX_TEXT_CHUNKS: usize = 64;
/// Chunks that go through the encoder at once.
const BATCH: usize = 8;

/// All of a request that its contexts depend on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    /// Whether the guidance scale asks for the negative prompt.
    pub(crate) is_guided: bool,
    pub(crate) style: PromptStyle,
    pub(crate) emphasis: Emphasis,
    pub(crate) clip_skip: usize,
    /// What schedules run over.
    pub(crate) timeline: Timeline,
}

impl Reading {
    /// That of a request, its schedules over `timeline`.
    pub(crate) fn new(request: &Request, timeline: Timeline) -> Self {
        Self {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            is_guided: request.guides(),
            style: request.prompt_style,
            emphasis: request.emphasis,
            clip_skip: request.clip_skip,
            timeline,
        }
    }

    /// The longest context that will come of it, found without a text encoder and for embeddings of one token.
    ///
    /// # Errors
    /// A prompt can't be read or is far too long.
    pub(crate) fn length(&self, tokenizer: &Tokenizer) -> Result<usize> {
        let chunks = match self.style {
            PromptStyle::Plain => 1,
            PromptStyle::A1111 => self.read(tokenizer, &EmbeddingNames::default())?.longest(),
        };
        Ok(chunks * calotype_text::MAX_LENGTH)
    }

    /// Reads A1111's grammar.
    fn read(&self, tokenizer: &Tokenizer, embeddings: &EmbeddingNames) -> Result<Texts> {
        let &Self { emphasis, timeline, .. } = self;
        let grammar = Grammar { tokenizer, embeddings, timeline, emphasis };
        let prompt = grammar.prompt(&self.prompt)?;
        // A part with a weight of its own pulls away from the negative prompt even where the scale is 1.
        let is_composed = !matches!(prompt.parts.as_slice(), [part] if part.weight == 1.0);
        let negative = match self.is_guided || is_composed {
            true => Some(grammar.negative_prompt(&self.negative_prompt)?),
            false => None,
        };
        let texts = Texts { prompt, negative };
        texts.check()?;
        Ok(texts)
    }
}

/// A prompt and a negative one, read.
struct Texts {
    prompt: Prompt,
    negative: Option<Schedule>,
}

impl Texts {
    /// The chunks of each schedule's texts, and how many texts it has.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        let schedules = self.prompt.parts.iter().map(|part| &part.schedule).chain(&self.negative);
        schedules.map(|schedule| (schedule.chunks.first().map_or(0, Vec::len), schedule.chunks.len()))
    }

    fn longest(&self) -> usize {
        self.sizes().map(|(chunks, _)| chunks).max().unwrap_or(1)
    }

    /// Refuses what would fill the memory with keys and values.
    fn check(&self) -> Result<()> {
        let (longest, all) = (self.longest(), self.sizes().map(|(chunks, texts)| chunks * texts).sum::<usize>());
        if longest > MAX_TEXT_CHUNKS || all > MAX_CHUNKS {
            return Err(Error::Request(format!(
                "the prompts have {all} chunks of 75 tokens in all their texts, {longest} in one: at most {MAX_CHUNKS} and {MAX_TEXT_CHUNKS} are taken"
            )));
        }
        Ok(())
    }
}

/// A text encoder and what it reads with.
pub(crate) struct Encoder<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) embeddings: &'a EmbeddingNames,
    pub(crate) network: Resident<ClipTextEncoder<Param>>,
    /// Numbers in a row of its output.
    pub(crate) width: usize,
}

impl Encoder<'_> {
    /// The contexts of a request, and what the caller should know.
    ///
    /// # Errors
    /// A prompt can't be read, is far too long, or the text encoder fails.
    pub(crate) fn conditioning(&self, reading: &Reading) -> Result<(Conditioning, Vec<Warning>)> {
        match reading.style {
            PromptStyle::Plain => self.plain(reading),
            PromptStyle::A1111 => self.a1111(reading),
        }
    }

    /// The output for sequences of 77 ids, `(B, 77, width)`, without the last `clip_skip - 1` layers.
    ///
    /// # Errors
    /// The text encoder fails.
    pub(crate) fn encode(&self, ids: &[u32], batch: usize, clip_skip: usize) -> Result<Vec<f32>> {
        let Resident { backend, network } = &self.network;
        let context = network.forward_skipping::<Cpu>(backend, ids, batch, clip_skip.saturating_sub(1))?;
        Ok(backend.to_f32(&context)?)
    }

    fn plain(&self, reading: &Reading) -> Result<(Conditioning, Vec<Warning>)> {
        let negative = reading.is_guided.then_some(("negative prompt", &reading.negative_prompt));
        let (mut ids, mut warnings) = (Vec::new(), Vec::new());
        for (field, text) in negative.into_iter().chain([("prompt", &reading.prompt)]) {
            let encoding = self.tokenizer.encode_with(text, self.embeddings);
            ids.extend(encoding.ids);
            warnings.extend(encoding.truncated_text.map(|text| Warning::Truncated { field, text }));
        }
        let batch = if negative.is_some() { 2 } else { 1 };
        let mut rows = self.encode(&ids, batch, reading.clip_skip)?;
        let cond = rows.split_off(rows.len() / batch * (batch - 1));
        let shape = [ids.len() / batch, self.width];
        Ok((Conditioning::constant(shape, negative.map(|_| rows), cond), warnings))
    }

    fn a1111(&self, reading: &Reading) -> Result<(Conditioning, Vec<Warning>)> {
        let Texts { prompt, negative } = reading.read(self.tokenizer, self.embeddings)?;
        let mut conditioning = Conditioning { width: self.width, networks: prompt.networks, ..Conditioning::default() };
        if let Some(negative) = negative {
            conditioning.uncond = Some(self.add(&mut conditioning, negative, reading)?);
        }
        for part in prompt.parts {
            let timed = self.add(&mut conditioning, part.schedule, reading)?;
            conditioning.parts.push((timed, part.weight as f32));
        }
        let warnings = conditioning.networks.iter().map(|network| Warning::Network { tag: network.to_string() });
        let warnings = warnings.collect();
        Ok((conditioning, warnings))
    }

    fn add(&self, conditioning: &mut Conditioning, schedule: Schedule, reading: &Reading) -> Result<super::Timed> {
        let contexts = self.contexts(&schedule, reading)?;
        Ok(conditioning.add(schedule.entries, contexts))
    }

    /// The contexts of a schedule's texts, their weights applied.
    fn contexts(&self, schedule: &Schedule, reading: &Reading) -> Result<Vec<Context>> {
        let chunks: Vec<&Chunk> = schedule.chunks.iter().flatten().collect();
        let mut rows = Vec::new();
        for some in chunks.chunks(BATCH) {
            let ids: Vec<u32> = some.iter().flat_map(|chunk| chunk.ids).collect();
            rows.extend(self.encode(&ids, some.len(), reading.clip_skip)?);
        }
        let texts = schedule.chunks.len();
        let (per_text, per_chunk) = (chunks.len() / texts.max(1), rows.len() / chunks.len().max(1));
        let mut entries = vec![0; texts];
        for &(_, text) in &schedule.entries.0 {
            entries[text] += 1;
        }
        let mut outputs: Vec<&mut [f32]> = rows.chunks_exact_mut(per_chunk.max(1)).collect();
        for chunk in 0..per_text {
            let outputs = outputs.iter_mut().skip(chunk).step_by(per_text);
            let weights = schedule.chunks.iter().map(|chunks| chunks[chunk].weights.as_slice());
            let mut texts: Vec<_> = outputs
                .zip(weights)
                .zip(&entries)
                .map(|((output, weights), &entries)| (&mut **output, weights, entries))
                .collect();
            weigh(&mut texts, reading.emphasis);
        }
        let length = per_text * calotype_text::MAX_LENGTH;
        let of_text = rows.chunks_exact((per_text * per_chunk).max(1));
        Ok(of_text.map(|rows| Context { length, rows: rows.to_vec() }).collect())
    }
}
