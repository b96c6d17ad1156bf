//! What a small model was trained to draw.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The file that a [`Vocabulary`] is in, in a folder of captions and in that of a model that was trained on them.
pub const VOCABULARY: &str = "vocabulary.json";

/// A word may differ from the nearest that is known by one change for each so many of its letters.
const LETTERS_FOR_A_CHANGE: usize = 3;

/// Of a model whose captions were made of few words: all of them, and what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vocabulary {
    /// What it draws: `fox`.
    pub subjects: Vec<String>,
    /// Words for its styles: `in flat style`.
    pub styles: Vec<String>,
    /// Colours of backgrounds.
    pub backgrounds: Vec<String>,
    /// Every word of its captions, in lower case.
    pub words: BTreeSet<String>,
}

/// A word that a model was not trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// As it was written.
    pub word: String,
    /// The nearest that the model knows, if one is near.
    pub nearest: Option<String>,
}

impl Vocabulary {
    /// Takes up every word of a caption.
    pub fn add_words(&mut self, caption: &str) {
        self.words.extend(words(caption).map(str::to_lowercase));
    }

    /// The words of a text that are not among [`Self::words`], each once.
    #[must_use]
    pub fn unknown_words(&self, text: &str) -> Vec<UnknownWord> {
        let mut unknown: Vec<UnknownWord> = Vec::new();
        for word in words(text) {
            let lower = word.to_lowercase();
            if !self.words.contains(&lower) && unknown.iter().all(|other| other.word != word) {
                unknown.push(UnknownWord { word: word.to_owned(), nearest: self.nearest(&lower) });
            }
        }
        unknown
    }

    fn nearest(&self, word: &str) -> Option<String> {
        let most = word.chars().count() / LETTERS_FOR_A_CHANGE;
        let distances = self.words.iter().map(|known| (strsim::osa_distance(word, known), known));
        distances.min().filter(|(distance, _)| *distance <= most).map(|(_, known)| known.clone())
    }
}

/// Runs of letters and digits, with what joins them inside a word: `x-ray`, `jack-o'-lantern`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let joins = |c: char| matches!(c, '-' | '\'' | '’');
    let words = text.split(move |c: char| !c.is_alphanumeric() && !joins(c));
    words.map(move |word| word.trim_matches(joins)).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for caption in ["a red fox on a blue background", "two jack-o'-lanterns, an X-ray"] {
            vocabulary.add_words(caption);
        }
        vocabulary
    }

    #[test]
    fn words_of_captions_are_known() {
        let vocabulary = vocabulary();
        for text in ["A RED Fox", "x-ray jack-o'-lanterns", "fox, (fox) 'fox' - fox!", "", "…"] {
            assert_eq!(vocabulary.unknown_words(text), [], "{text}");
        }
    }

    #[test]
    fn others_are_named_with_the_nearest() {
        let unknown = vocabulary().unknown_words("a blu backgrund, a Car and a Car on a 3D ox");
        let unknown: Vec<_> = unknown.iter().map(|word| (word.word.as_str(), word.nearest.as_deref())).collect();
        let near = [("blu", Some("blue")), ("backgrund", Some("background"))];
        assert_eq!(unknown[..2], near);
        // Words too short to be told from others have none that is near.
        assert_eq!(unknown[2..], [("Car", None), ("and", Some("an")), ("3D", None), ("ox", None)]);
    }
}
