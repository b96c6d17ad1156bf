//! Rules for prompts: words that are refused, and phrases that are not.
//!
//! A prompt is looked at as the model would see it ([`Subject`]), and folded ([`fold`]), so that a word is found in whatever
//! disguise of look-alike letters, invisible characters, numbers for letters, or gaps it comes. Lists stop honest mistakes and
//! lazy attempts, and no one who wants to get around them: what a prompt makes is judged by looking at the image.
//!
//! ```
//! use calotype_safety::rules::{Rules, Subject};
//!
//! # fn main() -> calotype_safety::Result<()> {
//! let rules = Rules::parse(
//!     r#"
//!     [[deny]]
//!     id = "example-1"
//!     word = "forbidden"
//!     reason = "an example"
//!
//!     [[allow]]
//!     phrase = "the forbidden city"
//!     "#,
//! )?;
//! let refused = |prompt: &str| !rules.check(&Subject::prompt(prompt)).is_empty();
//! assert!(refused("a (for:1.2)b1dden door"));
//! assert!(!refused("the Forbidden City at dawn"));
//! assert!(!refused("they forbid den and lair"));
//! # Ok(())
//! # }
//! ```

mod file;
mod fold;
mod letters;
mod subject;
mod text;

use std::io;
use std::path::Path;

use regex::Regex;

use crate::digest::sha256;
use crate::error::{Error, Result};
use letters::Pattern;
pub use subject::{Place, Subject};
use text::Text;

/// The largest file of rules, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// The most memory that one regular expression may take, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// A set of rules.
#[derive(Debug)]
pub struct Rules {
    deny: Vec<Deny>,
    allow: Vec<Vec<String>>,
    hash: String,
}

/// A rule that refuses.
#[derive(Debug)]
struct Deny {
    id: String,
    list: Option<String>,
    reason: Option<String>,
    places: Vec<Place>,
    matcher: Matcher,
}

/// What a rule looks for.
#[derive(Debug)]
enum Matcher {
    /// A word that stands alone.
    Word(Pattern),
    /// Letters anywhere, in words and across them.
    Anywhere(Pattern),
    /// A regular expression, on the folded text.
    Regex(Box<Regex>),
}

/// A rule that refuses a prompt. What it looks for is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The rule's id.
    pub id: String,
    /// The list that it is of.
    pub list: Option<String>,
    /// Why there is such a rule.
    pub reason: Option<String>,
    /// Where it was found.
    pub place: Place,
}

impl Rules {
    /// Reads a file of rules, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Read`] when the file can't be read; [`Error::RulesFile`] for all that [`Rules::parse`] refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = |source| Error::Read { path: path.into(), source };
        let bytes = calotype_files::read(path, MAX_FILE_BYTES).map_err(read)?;
        // The hash is that of the whole file, with a byte order mark if it has one.
        let text = String::from_utf8(bytes).map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Self::parse(&text).map_err(|error| Error::RulesFile { path: path.into(), problem: error.to_string() })
    }

    /// Rules from the text of a file (TOML):
    ///
    /// ```toml
    /// [[deny]]
    /// id = "weapons-1"            # named in refusals; each once
    /// word = "word"               # or anywhere = "letters", or regex = "expression"
    /// list = "weapons"            # optional
    /// reason = "why"              # optional
    /// in = ["prompt", "name"]     # of prompt, negative_prompt, name; this is the default
    ///
    /// [[allow]]
    /// phrase = "these words in this order"
    /// ```
    ///
    /// # Errors
    /// [`Error::Rules`] for a text that is no such file, an id that is there twice, a rule that looks for nothing or for two things, and
    /// a regular expression that is wrong or too large.
    pub fn parse(text: &str) -> Result<Self> {
        let file = file::parse(text)?;
        let hash = sha256(text.as_bytes());
        Ok(Self { deny: file.deny, allow: file.allow, hash })
    }

    /// SHA-256 of the file, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty()
    }

    /// The rules that refuse, each once; none for what may be made.
    #[must_use]
    pub fn check(&self, subject: &Subject<'_>) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        for (place, text) in subject.texts() {
            let rules: Vec<&Deny> = self.deny.iter().filter(|rule| rule.places.contains(&place)).collect();
            if rules.is_empty() {
                continue;
            }
            for folded in fold::fold(&text) {
                let text = Text::new(&folded, &self.allow);
                for rule in &rules {
                    let is_new = !hits.iter().any(|hit| hit.id == rule.id && hit.place == place);
                    if is_new && rule.matcher.is_in(&text) {
                        let Deny { id, list, reason, .. } = rule;
                        hits.push(Hit { id: id.clone(), list: list.clone(), reason: reason.clone(), place });
                    }
                }
            }
        }
        hits
    }
}

impl Matcher {
    fn is_in(&self, text: &Text<'_>) -> bool {
        match self {
            Self::Word(pattern) => text.has_word(pattern),
            Self::Anywhere(pattern) => text.has_letters(pattern),
            Self::Regex(regex) => text.has_match(regex),
        }
    }
}
