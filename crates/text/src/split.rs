//! Splitting of normalized text into words.
//!
//! The reference splits by `<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+`,
//! the first alternative that matches winning, and then each piece by GPT-2's expression, which cuts only the first
//! two kinds further (OpenAI CLIP, `simple_tokenizer.py`, has the first step alone).

use crate::characters::{is_letter, is_number};

/// Special tokens as they look after lower-casing, when they were not written exactly: cut into three words.
const MARKERS: [[&str; 3]; 2] = [["<|", "startoftext", "|>"], ["<|", "endoftext", "|>"]];
const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// Calls `word` with each word of `text`, in order; whitespace is dropped.
pub(crate) fn split<'a>(text: &'a str, mut word: impl FnMut(&'a str)) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
            continue;
        }
        for length in next_words(rest, first) {
            let (head, tail) = rest.split_at(length);
            if !head.is_empty() {
                word(head);
            }
            rest = tail;
        }
    }
}

/// Byte lengths of the words that `rest` begins with, 0 where there are fewer than three.
fn next_words(rest: &str, first: char) -> [usize; 3] {
    if let Some(marker) = MARKERS.iter().find(|marker| starts_with_all(rest, *marker)) {
        return marker.map(str::len);
    }
    if let Some(contraction) = CONTRACTIONS.iter().find(|contraction| rest.starts_with(**contraction)) {
        return [contraction.len(), 0, 0];
    }
    let run = |ends: fn(char) -> bool| rest.find(ends).unwrap_or(rest.len());
    let length = if is_letter(first) {
        run(|c| !is_letter(c))
    } else if is_number(first) {
        first.len_utf8()
    } else {
        run(|c| c.is_whitespace() || is_letter(c) || is_number(c))
    };
    [length, 0, 0]
}

fn starts_with_all(text: &str, parts: &[&str]) -> bool {
    parts.iter().try_fold(text, |rest, part| rest.strip_prefix(part)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        split(text, |word| words.push(word));
        words
    }

    #[test]
    fn kinds_of_words() {
        assert_eq!(words(" it's 42!? ''s 'lx"), ["it", "'s", "4", "2", "!?", "''", "s", "'", "lx"]);
        assert_eq!(words("<|endoftext|>!"), ["<|", "endoftext", "|>", "!"]);
        assert_eq!(words("!<|endoftext|>!"), ["!<|", "endoftext", "|>!"]);
        assert!(words("  ").is_empty());
    }
}
