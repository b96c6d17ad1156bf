//! The vocabulary: tokens, their ids, and the merges that make them.

use std::collections::HashMap;

use crate::bpe::{Merge, Merges};

/// What ends the last token of a word.
pub(crate) const END_OF_WORD: &str = "</w>";
pub(crate) const BOS: &str = "<|startoftext|>";
pub(crate) const EOS: &str = "<|endoftext|>";

/// Tokens by id and merges by pair.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// By id. Bytes are written as characters, as in the files: see [`byte_chars`].
    pub(crate) tokens: Vec<String>,
    pub(crate) merges: Merges,
    /// The token of each byte, and of each byte that ends a word.
    pub(crate) bytes: [(u32, u32); 256],
}

impl Vocabulary {
    /// CLIP's own: bytes, bytes that end a word, what each merge makes, the two special tokens, in this order.
    pub(crate) fn from_merges(merges: &[(&str, &str)]) -> Result<Self, String> {
        let mut bytes: Vec<u8> = (0..=255).collect();
        bytes.sort_by_key(|&byte| (!is_printable(byte), byte));
        let chars = byte_chars();
        let alphabet = || bytes.iter().map(|&byte| chars[usize::from(byte)]);
        let mut tokens: Vec<String> = alphabet().map(String::from).collect();
        tokens.extend(alphabet().map(|c| format!("{c}{END_OF_WORD}")));
        tokens.extend(merges.iter().map(|&(left, right)| [left, right].concat()));
        tokens.extend([BOS, EOS].map(String::from));
        Self::new(tokens, merges)
    }

    /// From tokens by id and pairs of tokens in the order of their merging.
    pub(crate) fn new(tokens: Vec<String>, merges: &[(&str, &str)]) -> Result<Self, String> {
        let ids: HashMap<&str, u32> = (0..).zip(&tokens).map(|(id, token)| (token.as_str(), id)).collect();
        let id = |token: &str| ids.get(token).copied();

        let mut pairs = Vec::with_capacity(merges.len());
        let mut joined = String::new();
        let lacks = |token: &str| format!("the vocabulary lacks {}", quote(token));
        for (rank, &(left, right)) in (0..).zip(merges) {
            joined.clear();
            joined.extend([left, right]);
            let known =
                |token| id(token).ok_or_else(|| format!("of the merge to {}, {}", quote(&joined), lacks(token)));
            pairs.push(((known(left)?, known(right)?), Merge { rank, id: known(&joined)? }));
        }

        // A byte without a token of its own becomes the unknown token, which is EOS.
        let unknown = id(EOS).ok_or_else(|| lacks(EOS))?;
        let bytes = byte_chars().map(|c| {
            let inside = id(c.encode_utf8(&mut [0; 4]));
            let last = id(&format!("{c}{END_OF_WORD}"));
            (inside.unwrap_or(unknown), last.unwrap_or(unknown))
        });
        Ok(Self { bytes, merges: Merges::new(pairs), tokens })
    }

    /// The id of a token, by search.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        self.tokens.iter().position(|t| t == token).and_then(|i| u32::try_from(i).ok())
    }

    /// The token's bytes: those its characters stand for, or its own where they stand for none.
    pub(crate) fn token_bytes(&self, id: u32, chars: &HashMap<char, u8>, out: &mut Vec<u8>) {
        let Some(token) = self.tokens.get(id as usize) else { return };
        match token.chars().map(|c| chars.get(&c).copied()).collect::<Option<Vec<u8>>>() {
            Some(bytes) => out.extend(bytes),
            None => out.extend(token.as_bytes()),
        }
    }
}

/// Bytes that stand for themselves, as Latin-1 characters.
fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character that stands for each byte in vocabulary files: itself where printable, else one from U+0100 on
/// (`bytes_to_unicode` in OpenAI's `simple_tokenizer.py`).
pub(crate) fn byte_chars() -> [char; 256] {
    let mut others = '\u{100}'..;
    let mut byte = 0u8..=255;
    [(); 256].map(|()| match byte.next() {
        Some(byte) if is_printable(byte) => char::from(byte),
        _ => others.next().unwrap_or(char::REPLACEMENT_CHARACTER),
    })
}

/// The pairs of a merges file: a `#version` line, then one pair a line, a space between.
pub(crate) fn parse_merges(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let is_pair = |number: usize, line: &str| !(line.is_empty() || number == 1 && line.starts_with("#version"));
    let lines = (1..).zip(text.lines()).filter(|(number, line)| is_pair(*number, line));
    lines
        .map(|(number, line)| {
            split_pair(line).ok_or_else(|| {
                format!("line {number}: expected two tokens with one space between, got {}", quote(line))
            })
        })
        .collect()
}

/// The beginning of a stranger's text, for a message.
pub(crate) fn quote(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

/// The two tokens of `left right`.
pub(crate) fn split_pair(line: &str) -> Option<(&str, &str)> {
    line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '))
}
