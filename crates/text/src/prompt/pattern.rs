//! What `\s`, `\w` and `\b` of Python's regular expressions are, in which the grammar is written.

use crate::characters::{is_letter, is_number};

/// `\s`: Unicode's whitespace and the four ASCII separators.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `\w`: letters, numbers and the underscore, not marks.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || is_letter(c) || is_number(c)
}

/// The pieces of `text` between occurrences of `\bword\b`, which are dropped.
pub(crate) fn split_at_word<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let mut start = 0;
    let boundaries = text.match_indices(word).filter(move |(at, _)| {
        let before = text[..*at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    });
    let ends = boundaries.map(|(at, _)| Some(at)).chain([None]);
    ends.map(move |end| {
        let piece = &text[start..end.unwrap_or(text.len())];
        start = end.map_or(text.len(), |end| end + word.len());
        piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone() {
        let split = |text| split_at_word(text, "AND").collect::<Vec<_>>();
        assert_eq!(split("a AND b,AND(c)"), ["a ", " b,", "(c)"]);
        assert_eq!(split("ANDy _AND ÉAND AND2"), ["ANDy _AND ÉAND AND2"]);
        assert_eq!(split("AND"), ["", ""]);
        assert_eq!(split(""), [""]);
    }
}
