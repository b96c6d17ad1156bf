//! Textual inversion: words that stand for vectors (Gal et al. 2022; A1111, `textual_inversion.py`).

use std::collections::HashMap;

use crate::{Error, Tokenizer};

use super::CHUNK_LENGTH;

/// The names of the embeddings that prompts may use, as token ids, and the ids that stand for their vectors.
#[derive(Clone, Debug, Default)]
pub struct EmbeddingNames {
    /// By the first token of the name; the longest names first.
    by_first: HashMap<u32, Vec<Embedding>>,
}

#[derive(Clone, Debug)]
struct Embedding {
    name: Vec<u32>,
    first_id: u32,
    vectors: usize,
}

impl EmbeddingNames {
    /// Adds an embedding: its vector `k` is what the text encoder knows as id `first_id + k`. An embedding of the same
    /// tokens is replaced.
    ///
    /// # Errors
    /// The name has no tokens, or the vectors don't fit into one chunk.
    pub fn insert(&mut self, tokenizer: &Tokenizer, name: &str, first_id: u32, vectors: usize) -> Result<(), Error> {
        let tokens = tokenizer.encode_raw(name);
        let refused = |problem: &'static str| Error::Embedding { name: name.to_owned(), vectors, problem };
        let &first =
            tokens.first().ok_or_else(|| refused("its name has no letter or sign that a prompt could call"))?;
        if !(1..=CHUNK_LENGTH).contains(&vectors) {
            return Err(refused("expected 1 to 75, as many as a prompt's chunk has places"));
        }
        let same_first = self.by_first.entry(first).or_default();
        same_first.retain(|embedding| embedding.name != tokens);
        same_first.push(Embedding { name: tokens, first_id, vectors });
        same_first.sort_by_key(|embedding| std::cmp::Reverse(embedding.name.len()));
        Ok(())
    }

    /// The embedding that `tokens` begin with: the ids of its vectors, and how many tokens name it.
    pub(crate) fn starting(&self, tokens: &[u32]) -> Option<(std::ops::Range<u32>, usize)> {
        let same_first = self.by_first.get(tokens.first()?)?;
        let found = same_first.iter().find(|embedding| tokens.starts_with(&embedding.name))?;
        // At most 75 vectors.
        Some((found.first_id..found.first_id.saturating_add(found.vectors as u32), found.name.len()))
    }
}
