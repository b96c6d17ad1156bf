//! The prompt grammar of A1111 (1.10): text in; tokens, weights and the steps at which they hold out.
//!
//! The way of a prompt: comments go, networks are taken out ([`Network`]), `AND` divides it into [`Part`]s, each of
//! which may change on the way ([`Schedule`]); each of its texts is divided into pieces of equal attention, and their
//! tokens are laid out in [`Chunk`]s.
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
mod schedule;
mod style;

use std::collections::HashMap;

use crate::{Error, Tokenizer};

pub(crate) use chunks::CHUNK_LENGTH;
pub use chunks::Chunk;
pub use embeddings::EmbeddingNames;
pub use extract::{Network, networks_of};
pub use schedule::Timeline;
pub use style::{Emphasis, PromptStyle};

/// The longest prompt, in bytes.
pub const MAX_PROMPT_BYTES: usize = 64 << 10;

/// A prompt, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What `AND` divides it into, one at least.
    pub parts: Vec<Part>,
    /// The networks it calls for, in their order.
    pub networks: Vec<Network>,
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
    /// The chunks of each text: of all equally many, one at least.
    pub chunks: Vec<Vec<Chunk>>,
    /// When each holds.
    pub entries: Entries,
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

/// What prompts are read with.
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The embeddings that may be named.
    pub embeddings: &'a EmbeddingNames,
    /// The steps that schedules run over.
    pub timeline: Timeline,
    /// Whether weights are read.
    pub emphasis: Emphasis,
}

impl Grammar<'_> {
    /// Reads a prompt.
    ///
    /// # Errors
    /// It is longer than [`MAX_PROMPT_BYTES`], a weight is no number, or it is long and changes at very many steps.
    pub fn prompt(&self, text: &str) -> Result<Prompt, Error> {
        check_length(text)?;
        let (text, networks) = extract::networks(&extract::strip_comments(text));
        let parts = compose::parts(&text).map(|(text, weight)| match (weight as f32).is_finite() {
            true => Ok(Part { weight, schedule: self.schedule(text)? }),
            false => Err(Error::Weight { text: weight.to_string() }),
        });
        Ok(Prompt { parts: parts.collect::<Result<_, _>>()?, networks })
    }

    /// Reads a negative prompt, in which A1111 knows neither networks nor `AND`.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn negative_prompt(&self, text: &str) -> Result<Schedule, Error> {
        check_length(text)?;
        self.schedule(&extract::strip_comments(text))
    }

    fn schedule(&self, text: &str) -> Result<Schedule, Error> {
        let mut schedule = Schedule { texts: Vec::new(), chunks: Vec::new(), entries: Entries::default() };
        let mut places = HashMap::new();
        for (end, text) in schedule::schedule(text, self.timeline)? {
            let place = *places.entry(text).or_insert_with_key(|text| {
                schedule.texts.push(text.clone());
                schedule.texts.len() - 1
            });
            schedule.entries.0.push((end, place));
        }
        let chunks =
            schedule.texts.iter().map(|text| chunks::chunks(text, self.tokenizer, self.embeddings, self.emphasis));
        schedule.chunks = chunks.collect::<Result<_, _>>()?;
        let count = schedule.chunks.iter().map(Vec::len).max().unwrap_or(0);
        schedule.chunks.iter_mut().for_each(|chunks| chunks.resize(count, Chunk::empty(self.tokenizer)));
        Ok(schedule)
    }
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > MAX_PROMPT_BYTES {
        return Err(Error::LongPrompt { bytes: text.len(), limit: MAX_PROMPT_BYTES });
    }
    Ok(())
}
