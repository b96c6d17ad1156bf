//! Added tokens: texts that a tokenizer knows as one token beside what its merges make, such as the words of a textual
//! inversion that was saved with its pipeline. (Hugging Face `tokenizers`, `AddedVocabulary`.)

use std::collections::HashMap;

use unicode_normalization::char::is_combining_mark;

use crate::normalize::normalize;

/// An added token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedToken {
    pub(crate) content: String,
    pub(crate) id: u32,
    /// Whether it is found only where no letter or digit is beside it.
    pub(crate) single_word: bool,
    /// Whether it takes the whitespace before it, and that after it.
    pub(crate) lstrip: bool,
    pub(crate) rstrip: bool,
    /// Whether it is looked for in the normalized text, and so in any case.
    pub(crate) normalized: bool,
}

impl AddedToken {
    /// One that is found wherever a text has it to the letter.
    pub(crate) fn literal(content: &str, id: u32) -> Self {
        let content = content.to_owned();
        Self { content, id, single_word: false, lstrip: false, rstrip: false, normalized: false }
    }
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Token(u32),
}

/// Added tokens that are looked for in one form of the text.
#[derive(Debug, Default)]
pub(crate) struct AddedTokens {
    /// By the first character, the longest first.
    by_first: HashMap<char, Vec<AddedToken>>,
}

impl AddedTokens {
    /// Of two with the same content the first counts.
    pub(crate) fn new(tokens: impl IntoIterator<Item = AddedToken>) -> Self {
        let mut by_first: HashMap<char, Vec<AddedToken>> = HashMap::new();
        for mut token in tokens {
            if token.normalized {
                token.content = normalize(&token.content);
            }
            let Some(first) = token.content.chars().next() else { continue };
            let same_first = by_first.entry(first).or_default();
            if same_first.iter().all(|known| known.content != token.content) {
                same_first.push(token);
            }
        }
        by_first.values_mut().for_each(|tokens| tokens.sort_by_key(|token| std::cmp::Reverse(token.content.len())));
        Self { by_first }
    }

    fn longest(&self, text: &str) -> Option<&AddedToken> {
        let tokens = self.by_first.get(&text.chars().next()?)?;
        tokens.iter().find(|token| text.starts_with(&token.content))
    }

    /// Cuts the tokens out of `text`: the first first, the longest of those that begin at one place.
    pub(crate) fn pieces<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        // Where the text begins that is not in `pieces` yet, and where the next token is looked for.
        let (mut start, mut at) = (0, 0);
        while let Some(here) = text.get(at..).filter(|here| !here.is_empty() && !self.by_first.is_empty()) {
            let Some(token) = self.longest(here) else {
                at += here.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let mut end = at + token.content.len();
            let in_word = || {
                text[..at].chars().next_back().is_some_and(is_of_word)
                    || text[end..].chars().next().is_some_and(is_of_word)
            };
            if token.single_word && in_word() {
                at = end;
                continue;
            }
            let before = &text[start..at];
            let before = if token.lstrip { before.trim_end() } else { before };
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before));
            }
            pieces.push(Piece::Token(token.id));
            (start, at) = (end, end);
        }
        if start < text.len() {
            pieces.push(Piece::Text(&text[start..]));
        }
        pieces
    }
}

/// `\w` of the reference's expressions.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || is_combining_mark(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &str, id: u32) -> AddedToken {
        AddedToken::literal(content, id)
    }

    #[test]
    fn the_longest_of_the_first_is_cut_out() {
        use Piece::{Text, Token};
        let tokens = AddedTokens::new([
            token("<cat>", 1),
            token("<cat>s", 2),
            AddedToken { single_word: true, ..token("dog", 3) },
            AddedToken { lstrip: true, rstrip: true, ..token("|", 4) },
            AddedToken { normalized: true, ..token("Ünï", 5) },
            token("<cat>", 6),
        ]);
        assert_eq!(tokens.pieces("a <cat>s<cat>"), [Text("a "), Token(2), Token(1)]);
        assert_eq!(tokens.pieces("dog hotdog dog_ dog."), [Token(3), Text(" hotdog dog_ "), Token(3), Text(".")]);
        assert_eq!(tokens.pieces("a  | b"), [Text("a"), Token(4), Text("b")]);
        assert_eq!(tokens.pieces("the ünï"), [Text("the "), Token(5)]);
        assert_eq!(tokens.pieces(""), []);
        assert_eq!(AddedTokens::default().pieces("a"), [Text("a")]);
    }
}
