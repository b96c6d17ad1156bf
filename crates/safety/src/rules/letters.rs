//! Letters and what stands for them.

/// How often a letter may be repeated between two of a word. It keeps the time linear in the text.
const MOST_REPEATS: usize = 64;
/// A word of fewer letters, when these stand alone one after the other, must be all of them: `a s s e m b l y` is innocent.
const LONG: usize = 5;

/// A word to look for.
#[derive(Debug)]
pub(super) struct Pattern {
    letters: Vec<char>,
}

/// The letters that a digit or sign is written for. What is a letter stands for itself alone, so that `ball` is not `bail`.
fn meanings(c: char) -> &'static str {
    match c {
        '0' => "o",
        '1' | '!' | '|' => "il",
        '2' => "z",
        '3' | '€' => "e",
        '4' | '@' => "a",
        '5' | '$' => "s",
        '6' => "gb",
        '7' | '+' => "t",
        '8' => "b",
        '9' => "gq",
        '(' | '<' | '{' | '[' => "c",
        '*' => "aeiou",
        _ => "",
    }
}

/// Whether a character may stand for a letter.
pub(super) fn is_letter_like(c: char) -> bool {
    c.is_alphanumeric() || !meanings(c).is_empty()
}

impl Pattern {
    pub(super) fn new(letters: &[char]) -> Self {
        Self { letters: letters.to_vec() }
    }

    /// How many letters of a text the word takes up from its beginning on, each as often as it is repeated; `None` when it isn't
    /// there. A text of digits and signs alone is none.
    pub(super) fn prefix_of(&self, text: &[char]) -> Option<usize> {
        let says = |c: char, letter: char| c == letter || meanings(c).contains(letter);
        let mut at = 0;
        for (i, &letter) in self.letters.iter().enumerate() {
            // Further ones of the letter before, but for those that the word itself has.
            if i > 0 && letter != self.letters[i - 1] {
                let is_repeat = |&&c: &&char| !says(c, letter) && says(c, self.letters[i - 1]);
                at += text[at..].iter().take(MOST_REPEATS).take_while(is_repeat).count();
            }
            if !text.get(at).is_some_and(|&c| says(c, letter)) {
                return None;
            }
            at += 1;
        }
        text[..at].iter().any(|c| c.is_alphabetic()).then_some(at)
    }

    /// Whether the word is so long that it isn't there by chance.
    pub(super) fn is_long(&self) -> bool {
        self.letters.len() >= LONG
    }

    /// Whether the text is the word and nothing else.
    pub(super) fn is(&self, text: &[char]) -> bool {
        let last = self.letters.last();
        let rest = self.prefix_of(text).map(|end| &text[end..]);
        rest.is_some_and(|rest| rest.iter().all(|c| Some(c) == last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn numbers_and_repeats_are_read() {
        let pattern = Pattern::new(&chars("hello"));
        for same in ["hello", "h3llo", "he11o", "heeello", "helllllo", "hellooo", "h3!!0", "he|lo"] {
            assert!(pattern.is(&chars(same)), "{same}");
        }
        for other in ["helo", "hell", "hellos", "shello", "", "hallo", "4ello"] {
            assert!(!pattern.is(&chars(other)), "{other}");
        }
        assert_eq!(pattern.prefix_of(&chars("hellos")), Some(5));
        assert!(!Pattern::new(&chars("ass")).is(&chars("455")));
        assert!(!Pattern::new(&chars("bail")).is(&chars("ball")));
    }
}
