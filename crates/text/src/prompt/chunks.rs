//! Texts of any length as chunks of 75 tokens between a start and an end (A1111, `sd_hijack_clip.py`, `tokenize_line`).

use crate::{EmbeddingNames, MAX_LENGTH, Tokenizer};

use super::attention::Piece;

/// Tokens of a chunk without its first and its last.
pub(crate) const CHUNK_LENGTH: usize = MAX_LENGTH - 2;
/// A piece after a comma moves on to the next chunk whole if it has no more tokens than this (`comma_padding_backtrack`).
const COMMA_BACKTRACK: usize = 20;
/// The token that ends such pieces.
const COMMA: &str = ",</w>";

/// One input of the text encoder, and how much each of its tokens counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// A start token, 75 tokens of the text, an end token; shorter texts are filled with the end token and then the pad
    /// token. Ids from the vocabulary's size on are vectors of embeddings.
    pub ids: [u32; MAX_LENGTH],
    /// What the encoder's output for each token is multiplied by.
    pub weights: [f32; MAX_LENGTH],
}

impl Chunk {
    /// Of at most 75 tokens and their weights.
    fn new(tokenizer: &Tokenizer, tokens: &[(u32, f32)]) -> Self {
        let mut chunk = Self { ids: [tokenizer.eos(); MAX_LENGTH], weights: [1.0; MAX_LENGTH] };
        chunk.ids[0] = tokenizer.bos();
        for ((id, weight), &token) in chunk.ids[1..].iter_mut().zip(&mut chunk.weights[1..]).zip(tokens) {
            (*id, *weight) = token;
        }
        // In Stable Diffusion v2 another token than the end pads.
        if tokenizer.pad() != tokenizer.eos() {
            let end = chunk.ids.iter().position(|&id| id == tokenizer.eos()).unwrap_or(MAX_LENGTH - 1);
            chunk.ids[end + 1..].fill(tokenizer.pad());
        }
        chunk
    }

    /// Of no text.
    pub(crate) fn empty(tokenizer: &Tokenizer) -> Self {
        Self::new(tokenizer, &[])
    }
}

/// The chunks of a text's pieces, one at least.
pub(crate) fn chunks(pieces: &[Piece], tokenizer: &Tokenizer, embeddings: &EmbeddingNames) -> Vec<Chunk> {
    let mut writer =
        Writer { tokenizer, comma: tokenizer.id(COMMA), chunks: Vec::new(), tokens: Vec::new(), comma_at: None };
    for piece in pieces {
        if piece.is_break() {
            writer.next();
            continue;
        }
        let weight = piece.weight as f32;
        let tokens = tokenizer.encode_raw(&piece.text);
        let mut rest = tokens.as_slice();
        while let Some(&token) = rest.first() {
            writer.make_room(token);
            let (ids, length) = embeddings.starting(rest).unwrap_or((token..token + 1, 1));
            if writer.tokens.len() + ids.len() > CHUNK_LENGTH {
                writer.next();
            }
            writer.tokens.extend(ids.map(|id| (id, weight)));
            rest = &rest[length..];
        }
    }
    if !writer.tokens.is_empty() || writer.chunks.is_empty() {
        writer.next();
    }
    writer.chunks
}

struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    comma: Option<u32>,
    chunks: Vec<Chunk>,
    /// Those of the chunk being written, and their weights.
    tokens: Vec<(u32, f32)>,
    /// Where the last comma of this chunk stands.
    comma_at: Option<usize>,
}

impl Writer<'_> {
    fn next(&mut self) {
        self.chunks.push(Chunk::new(self.tokenizer, &self.tokens));
        self.tokens.clear();
        self.comma_at = None;
    }

    /// Ends the chunk if it is full, before a token that comes next: after its last comma, if that is near.
    fn make_room(&mut self, token: u32) {
        if Some(token) == self.comma {
            self.comma_at = Some(self.tokens.len());
        } else if let Some(comma) = self.comma_at
            && self.tokens.len() == CHUNK_LENGTH
            && CHUNK_LENGTH - comma <= COMMA_BACKTRACK
        {
            let moved = self.tokens.split_off(comma + 1);
            self.next();
            self.tokens = moved;
        }
        if self.tokens.len() == CHUNK_LENGTH {
            self.next();
        }
    }
}
