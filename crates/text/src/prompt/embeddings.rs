//! Textual inversion: words that stand for vectors (Gal et al. 2022; A1111, `textual_inversion.py`).

use std::collections::HashMap;

use crate::{Error, Tokenizer};

use super::CHUNK_LENGTH;

/// The names of the embeddings that prompts may use, as token ids, and the ids that stand for their vectors.
#[derive(Clone, Debug, Default)]
pub struct EmbeddingNames {
    /// By the first token of the name; the longest names first.
    by_first: HashMap<u32, Vec<Embedding>>,
    /// Those whose names stand in angle brackets, as diffusers' tokens do: such a name is found whatever follows it, though
    /// `>,` is one token. The longest names first.
    bracketed: Vec<(String, std::ops::Range<u32>)>,
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
        if name.starts_with('<') && name.ends_with('>') {
            self.bracketed.retain(|(other, _)| other != name);
            self.bracketed.push((name.to_owned(), first_id..first_id.saturating_add(vectors as u32)));
            self.bracketed.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        }
        Ok(())
    }

    /// The ids of a text, those of vectors in the place of names: [`Tokenizer::encode_raw`] without embeddings.
    #[must_use]
    pub fn encode_raw(&self, tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some((before, vectors, after)) = self.next_bracketed(rest) {
            self.encode_plain(tokenizer, before, &mut ids);
            ids.extend(vectors);
            rest = after;
        }
        self.encode_plain(tokenizer, rest, &mut ids);
        ids
    }

    /// The first name in brackets: what is before it, the ids of its vectors, what is after.
    fn next_bracketed<'a>(&self, text: &'a str) -> Option<(&'a str, std::ops::Range<u32>, &'a str)> {
        if self.bracketed.is_empty() {
            return None;
        }
        text.match_indices('<').find_map(|(start, _)| {
            let (before, here) = text.split_at(start);
            let mut found = self.bracketed.iter();
            found.find_map(|(name, ids)| Some((before, ids.clone(), here.strip_prefix(name.as_str())?)))
        })
    }

    fn encode_plain(&self, tokenizer: &Tokenizer, text: &str, ids: &mut Vec<u32>) {
        let tokens = tokenizer.encode_raw(text);
        let mut rest = tokens.as_slice();
        while let Some(&token) = rest.first() {
            let (vectors, length) = self.starting(rest).unwrap_or((token..token + 1, 1));
            ids.extend(vectors);
            rest = &rest[length..];
        }
    }

    /// The embedding that `tokens` begin with: the ids of its vectors, and how many tokens name it.
    pub(crate) fn starting(&self, tokens: &[u32]) -> Option<(std::ops::Range<u32>, usize)> {
        let same_first = self.by_first.get(tokens.first()?)?;
        let found = same_first.iter().find(|embedding| tokens.starts_with(&embedding.name))?;
        // At most 75 vectors.
        Some((found.first_id..found.first_id.saturating_add(found.vectors as u32), found.name.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_vectors_in_a_plain_text() {
        let tokenizer = Tokenizer::clip();
        let mut names = EmbeddingNames::default();
        names.insert(tokenizer, "<cat-toy>", 50000, 2).unwrap();
        names.insert(tokenizer, "old Master", 50002, 1).unwrap();
        for (text, expected) in [
            ("a <cat-toy>, red", "a|50000|50001|, red"),
            ("<cat-toy><cat-toy>", "50000|50001|50000|50001"),
            ("by an OLD master", "by an|50002"),
            ("a <cat-toy, old masters", "a <cat-toy, old masters"),
        ] {
            let ids = expected.split('|').flat_map(|part| match part.parse() {
                Ok(id) => vec![id],
                Err(_) => tokenizer.encode_raw(part),
            });
            assert_eq!(names.encode_raw(tokenizer, text), ids.collect::<Vec<_>>(), "{text}");
        }
        let long = tokenizer.encode_with(&format!("{}<cat-toy> end", "a ".repeat(74)), &names);
        assert_eq!((long.ids[75], long.ids[76]), (50000, tokenizer.eos()));
        assert_eq!((long.len_untruncated, long.truncated_text.as_deref()), (79, Some("end")));
    }
}
