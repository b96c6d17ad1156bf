//! The prompt grammar of A1111 (1.10): text in; tokens, weights and the steps at which they hold out.
//!
//! A prompt is parsed once ([`Grammar`]): comments go, tags of networks are taken out ([`ExtraNetworkTag`]), `AND` divides it
//! into [`Part`]s, each of which may change on the way ([`Schedule`]), and each of its texts is divided into pieces of equal
//! attention. Their tokens are then laid out in [`Chunk`]s ([`Schedule::chunks`]), once the names of embeddings are known.
//!
//! Known deviations, all where the reference errs or leaves a choice to chance: an embedding that moves to the next chunk
//! with the words after a comma takes its vectors along; stray brackets beside a schedule never undo it; after the
//! last of the steps it was read for a schedule stays at its last text; digits of numbers are ASCII.

mod attention;
mod chunks;
mod compose;
mod embeddings;
mod extract;
mod pattern;
mod plain;
mod schedule;
mod style;

use crate::{Error, Tokenizer};
use attention::Piece;
use schedule::{Budget, Texts};

pub(crate) use chunks::CHUNK_LENGTH;
pub use chunks::Chunk;
pub use embeddings::EmbeddingNames;
pub use extract::{ExtraNetworkTag, extra_networks_of};
pub use plain::plain_texts;
pub use schedule::Timeline;
pub use style::{Emphasis, PromptStyle};

/// The longest prompt, in bytes.
pub const MAX_PROMPT_BYTES: usize = 64 << 10;
/// The most chunks of 75 tokens that the texts of a prompt may have in all.
pub const MAX_CHUNKS: usize = 1024;

/// A prompt, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What `AND` divides it into, one at least.
    pub parts: Vec<Part>,
    /// The networks it calls for, in their order.
    pub networks: Vec<ExtraNetworkTag>,
}

/// One of the prompts that `AND` joins.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How strongly it pulls, beside the guidance scale.
    pub weight: f64,
    /// Its texts.
    pub schedule: Schedule,
}

/// Texts, and when each holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The texts, each once, in the order they come.
    pub texts: Vec<String>,
    /// When each holds.
    pub entries: Entries,
    /// The pieces of equal attention of each text.
    pieces: Vec<Vec<Piece>>,
}

impl Schedule {
    /// The chunks of each text: the same number for all texts, at least one. `embeddings` are those that the texts may name.
    ///
    /// # Errors
    /// They are more than [`MAX_CHUNKS`].
    pub fn chunks(&self, tokenizer: &Tokenizer, embeddings: &EmbeddingNames) -> Result<Vec<Vec<Chunk>>, Error> {
        let mut chunks = Vec::with_capacity(self.pieces.len());
        let mut longest = 0;
        for pieces in &self.pieces {
            let of_text = chunks::chunks(pieces, tokenizer, embeddings);
            longest = longest.max(of_text.len());
            chunks.push(of_text);
            // Every text gets as many as the longest.
            let count = longest * self.pieces.len();
            if count > MAX_CHUNKS {
                return Err(Error::ManyChunks { count, limit: MAX_CHUNKS });
            }
        }
        chunks.iter_mut().for_each(|chunks| chunks.resize(longest, Chunk::empty(tokenizer)));
        Ok(chunks)
    }
}

/// The last step of each entry, ascending, and which text it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(pub Vec<(usize, usize)>);

impl Entries {
    /// Which text holds at evaluation `step` of the model, from 0. As in A1111 an entry that ends at step `n` holds at
    /// `n` too, so the first one holds once more than it says. After the end the last one holds.
    #[must_use]
    pub fn at(&self, step: usize) -> usize {
        let entry = self.0.iter().find(|&&(end, _)| step <= end).or(self.0.last());
        entry.map_or(0, |&(_, text)| text)
    }
}

/// What prompts are parsed with.
#[derive(Clone, Copy, Debug)]
pub struct Grammar {
    /// The steps that schedules run over.
    pub timeline: Timeline,
    /// Whether weights are read.
    pub emphasis: Emphasis,
}

impl Grammar {
    /// Parses a prompt.
    ///
    /// # Errors
    /// It is longer than [`MAX_PROMPT_BYTES`], a weight is no number, its brackets are very deep, or it changes at so many
    /// steps or is divided so often that its texts are too many.
    pub fn prompt(&self, text: &str) -> Result<Prompt, Error> {
        check_length(text)?;
        let (text, networks) = extract::networks(&extract::strip_comments(text));
        let mut budget = Budget::default();
        let parts = compose::parts(&text).map(|(text, weight)| match (weight as f32).is_finite() {
            true => Ok(Part { weight, schedule: self.schedule(text, &mut budget)? }),
            false => Err(Error::Weight { text: weight.to_string() }),
        });
        Ok(Prompt { parts: parts.collect::<Result<_, _>>()?, networks })
    }

    /// Parses a negative prompt, in which A1111 knows neither networks nor `AND`.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn negative_prompt(&self, text: &str) -> Result<Schedule, Error> {
        check_length(text)?;
        self.schedule(&extract::strip_comments(text), &mut Budget::default())
    }

    fn schedule(&self, text: &str, budget: &mut Budget) -> Result<Schedule, Error> {
        let Texts { texts, entries } = schedule::schedule(text, self.timeline, budget)?;
        let pieces = texts.iter().map(|text| attention::pieces(text, self.emphasis)).collect::<Result<_, _>>()?;
        Ok(Schedule { texts, pieces, entries: Entries(entries) })
    }
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > MAX_PROMPT_BYTES {
        return Err(Error::LongPrompt { bytes: text.len(), limit: MAX_PROMPT_BYTES });
    }
    Ok(())
}
