//! The words of a prompt without its grammar, for those that look for words.

use super::{
    Budget, Emphasis, Timeline,
    attention::{Piece, pieces},
    check_length, compose, extract,
    schedule::schedule,
};
use crate::Error;

/// Every text that a model would see of a prompt in A1111's grammar: of each part that `AND` joins all the texts that it changes
/// between, without networks, comments, brackets and weights. What is joined by taking those out stands without a gap, so that
/// `for(bid:1.1)den` is one word; a `BREAK` becomes a space.
///
/// # Errors
/// As [`Grammar::prompt`](super::Grammar::prompt), but for the number of tokens.
pub fn plain_texts(text: &str, timeline: Timeline) -> Result<Vec<String>, Error> {
    check_length(text)?;
    let (text, _) = extract::networks(&extract::strip_comments(text));
    let mut budget = Budget::default();
    let mut plain = Vec::new();
    for (part, _) in compose::parts(&text) {
        for text in schedule(part, timeline, &mut budget)?.texts {
            let piece = |piece: Piece| if piece.is_break() { " ".to_owned() } else { piece.text };
            plain.push(pieces(&text, Emphasis::Original)?.into_iter().map(piece).collect());
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<String> {
        plain_texts(text, Timeline::new(10)).unwrap()
    }

    #[test]
    fn weights_leave_no_gap() {
        assert_eq!(plain("for(bid:1.1)den f[or]((b:0.9))id"), ["forbidden forbid"]);
        assert_eq!(plain("a <lora:x:1>b # c"), ["a b"]);
        assert_eq!(plain(r"\(a\) BREAK b"), ["(a) b"]);
    }

    #[test]
    fn every_text_is_there() {
        assert_eq!(plain("[cat:dog:0.5] AND [a|b]c"), ["cat", "dog", " ac", " bc"]);
        assert!(plain_texts(&"(".repeat(1000), Timeline::new(10)).is_err());
        assert!(plain_texts(&"a".repeat(70_000), Timeline::new(10)).is_err());
    }
}
