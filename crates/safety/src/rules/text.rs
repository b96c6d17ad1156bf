//! Looking for words in a folded text.

use std::ops::Range;

use regex::Regex;

use super::letters::{Pattern, is_letter_like};

/// This many letters that stand alone, one after the other, may be a word.
const SPACED: usize = 3;
/// Of a letter that is repeated more often, the rest is dropped.
const MOST_ALIKE: usize = 8;

/// A folded text, in the ways that words are looked for.
pub(super) struct Text<'a> {
    folded: &'a str,
    /// What may be a word.
    words: Vec<Letters>,
    /// Letters that stand alone, one after the other.
    spaced: Vec<Letters>,
    /// All letters without anything between, with the signs that may be letters and without.
    joined: [Letters; 2],
    /// Where allowed phrases stand.
    allowed: Vec<Range<usize>>,
}

/// Letters, and where each stands in the text.
#[derive(Default, PartialEq)]
struct Letters {
    letters: Vec<char>,
    places: Vec<usize>,
}

impl Letters {
    /// Those of a part of the text that are of a kind.
    fn of(text: &str, part: Range<usize>, is_kind: impl Fn(char) -> bool) -> Self {
        let mut all = Self::default();
        for (at, c) in text[part.clone()].char_indices().filter(|&(_, c)| is_kind(c)) {
            if !all.letters.ends_with(&[c; MOST_ALIKE]) {
                all.letters.push(c);
                all.places.push(part.start + at);
            }
        }
        all
    }

    /// Where the letters from `first` to before `end` stand.
    fn place(&self, first: usize, end: usize) -> Range<usize> {
        self.places[first]..self.places[end - 1] + 1
    }

    /// Where the word stands, wherever it begins.
    fn find<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = Range<usize>> + 'a {
        // In a row of the same letter the first is as good as any.
        let starts = (0..self.letters.len()).filter(move |&at| at == 0 || self.letters[at] != self.letters[at - 1]);
        starts.filter_map(move |first| Some(self.place(first, first + pattern.prefix_of(&self.letters[first..])?)))
    }
}

impl<'a> Text<'a> {
    pub(super) fn new(folded: &'a str, allow: &[Vec<String>]) -> Self {
        let mut words: Vec<Letters> = Vec::new();
        let mut add = |word: Letters| {
            let is_new = words.iter().rev().take(3).all(|other| *other != word);
            if !word.letters.is_empty() && is_new {
                words.push(word);
            }
        };
        let mut spaced = vec![Letters::default()];
        for chunk in ranges(folded, |c| !c.is_whitespace()) {
            // The plain words; then all between two spaces, with the signs that may be letters, and with nothing but letters.
            for word in ranges(&folded[chunk.clone()], char::is_alphanumeric) {
                add(Letters::of(folded, chunk.start + word.start..chunk.start + word.end, |_| true));
            }
            let inner = folded[chunk.clone()].trim_matches(|c: char| !c.is_alphanumeric() && !"@$€|".contains(c));
            let start = chunk.start + folded[chunk.clone()].find(inner).unwrap_or(0);
            add(Letters::of(folded, start..start + inner.len(), is_letter_like));
            let plain = Letters::of(folded, chunk, char::is_alphanumeric);
            match (plain.letters.len(), spaced.last_mut()) {
                (1, Some(run)) => {
                    run.letters.extend(&plain.letters);
                    run.places.extend(&plain.places);
                }
                (0, _) => {}
                _ => spaced.push(Letters::default()),
            }
            add(plain);
        }
        spaced.retain(|run| run.letters.len() >= SPACED);
        let whole = 0..folded.len();
        let joined =
            [Letters::of(folded, whole.clone(), is_letter_like), Letters::of(folded, whole, char::is_alphanumeric)];
        Self { folded, words, spaced, joined, allowed: allowed(folded, allow) }
    }

    /// Whether a word stands alone somewhere.
    pub(super) fn has_word(&self, pattern: &Pattern) -> bool {
        let alone = |word: &Letters| pattern.is(&word.letters) && self.counts(&word.place(0, word.letters.len()));
        let spaced = |run: &Letters| {
            // Before a short word there may be an article.
            let after_article = usize::from(run.letters.first() == Some(&'a'));
            let whole = [0, after_article].into_iter().find(|&first| pattern.is(&run.letters[first..]));
            whole.is_some_and(|first| self.counts(&run.place(first, run.letters.len())))
                || pattern.is_long() && run.find(pattern).any(|place| self.counts(&place))
        };
        self.words.iter().any(alone) || self.spaced.iter().any(spaced)
    }

    /// Whether letters follow each other somewhere, whatever stands between them.
    pub(super) fn has_letters(&self, pattern: &Pattern) -> bool {
        self.joined.iter().any(|letters| letters.find(pattern).any(|place| self.counts(&place)))
    }

    /// Whether an expression matches somewhere.
    pub(super) fn has_match(&self, regex: &Regex) -> bool {
        regex.find_iter(self.folded).any(|found| self.counts(&found.range()))
    }

    /// Whether a place is in no allowed phrase.
    fn counts(&self, place: &Range<usize>) -> bool {
        !self.allowed.iter().any(|allowed| allowed.start <= place.start && place.end <= allowed.end)
    }
}

/// The longest runs of characters of a kind.
fn ranges(text: &str, is_kind: impl Fn(char) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(&is_kind)?;
        at = text[start..].find(|c: char| !is_kind(c)).map_or(text.len(), |length| start + length);
        Some(start..at)
    })
}

/// The plain words of a folded text.
pub(super) fn words(folded: &str) -> Vec<String> {
    ranges(folded, char::is_alphanumeric).map(|range| folded[range].to_owned()).collect()
}

/// Where allowed phrases stand.
fn allowed(folded: &str, allow: &[Vec<String>]) -> Vec<Range<usize>> {
    let words: Vec<Range<usize>> = ranges(folded, char::is_alphanumeric).collect();
    let starting = |first: usize| {
        let words = &words[first..];
        let is_there = move |phrase: &&Vec<String>| {
            phrase.len() <= words.len() && phrase.iter().zip(words).all(|(word, place)| *word == folded[place.clone()])
        };
        allow.iter().filter(is_there).map(move |phrase| words[0].start..words[phrase.len() - 1].end)
    };
    (0..words.len()).flat_map(starting).collect()
}
