//! Normalization: NFC, then each run of whitespace to one space, then lower case.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use crate::characters::is_canonical;

/// `text` as the tokenizer sees it.
pub(crate) fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_space = false;
    for c in nfc(text).chars() {
        let is_space = c.is_whitespace();
        if !is_space {
            // Character by character: the reference knows no final sigma. Its tables are those of Rust 1.95
            // (Unicode 17); the golden test over every code point tells when a newer compiler's differ.
            out.extend(c.to_lowercase());
        } else if !in_space {
            out.push(' ');
        }
        in_space = is_space;
    }
    out
}

/// Canonical composition as of Unicode 9, whose tables the reference has: what came later is left alone,
/// and nothing composes or moves across it.
fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (active, tail) = rest.split_at(rest.find(|c| !is_canonical(c)).unwrap_or(rest.len()));
        out.extend(active.nfc());
        let (inert, tail) = tail.split_at(tail.find(is_canonical).unwrap_or(tail.len()));
        out.push_str(inert);
        rest = tail;
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composes_folds_and_joins_spaces() {
        assert_eq!(normalize("E\u{301} \u{a0}\t\nΑΣ"), "é ας".replace('ς', "σ"));
        assert_eq!(normalize("İ"), "i\u{307}");
    }

    #[test]
    fn characters_after_unicode_9_do_not_compose() {
        assert_eq!(normalize("\u{11935}\u{11930}"), "\u{11935}\u{11930}");
        assert_eq!(normalize("a\u{1df6}\u{323}"), "a\u{1df6}\u{323}");
    }
}
