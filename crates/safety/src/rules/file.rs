//! The file of rules.

use std::collections::BTreeSet;

use regex::RegexBuilder;
use serde::Deserialize;

use super::letters::Pattern;
use super::{Deny, MAX_REGEX_BYTES, Matcher, Place, fold, text};
use crate::error::{Error, Result};

/// Shorter words would be found by chance, since letters may be doubled and stand apart.
const SHORTEST: usize = 3;
/// The most letters of a word.
const LONGEST: usize = 64;

pub(super) struct File {
    pub(super) deny: Vec<Deny>,
    pub(super) allow: Vec<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    deny: Vec<WrittenDeny>,
    #[serde(default)]
    allow: Vec<WrittenAllow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDeny {
    id: String,
    list: Option<String>,
    reason: Option<String>,
    word: Option<String>,
    anywhere: Option<String>,
    regex: Option<String>,
    #[serde(rename = "in", default = "default_places")]
    places: Vec<Place>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAllow {
    phrase: String,
}

fn default_places() -> Vec<Place> {
    vec![Place::Prompt, Place::Name]
}

pub(super) fn parse(text: &str) -> Result<File> {
    let written: Written = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Error::Rules { problem: format!("line {line}: {}", error.message().replace('\n', " ")) }
    })?;
    let mut ids = BTreeSet::new();
    let mut deny = Vec::with_capacity(written.deny.len());
    for rule in written.deny {
        let named = |problem: &str| Error::Rules { problem: format!("rule {:?}: {problem}", rule.id) };
        if rule.id.is_empty() || !ids.insert(rule.id.clone()) {
            return Err(named("its id must be there, and once"));
        }
        if rule.places.is_empty() {
            return Err(named("`in` is empty, so that it is looked for nowhere"));
        }
        let matcher = match (&rule.word, &rule.anywhere, &rule.regex) {
            (Some(word), None, None) => pattern(word).map(Matcher::Word),
            (None, Some(letters), None) => pattern(letters).map(Matcher::Anywhere),
            (None, None, Some(regex)) => {
                let built = RegexBuilder::new(regex).size_limit(MAX_REGEX_BYTES).build();
                built.map(|regex| Matcher::Regex(Box::new(regex))).map_err(|error| one_line(&error.to_string()))
            }
            _ => Err("it needs one of `word`, `anywhere` and `regex`".to_owned()),
        };
        let matcher = matcher.map_err(|problem| named(&problem))?;
        deny.push(Deny { id: rule.id, list: rule.list, reason: rule.reason, places: rule.places, matcher });
    }
    let mut allow = Vec::with_capacity(written.allow.len());
    for rule in written.allow {
        let words = text::words(&fold::plain(&rule.phrase));
        if words.is_empty() {
            return Err(Error::Rules { problem: format!("the allowed phrase {:?} has no word", rule.phrase) });
        }
        allow.push(words);
    }
    Ok(File { deny, allow })
}

/// The letters of a rule, folded as prompts are.
fn pattern(word: &str) -> std::result::Result<Pattern, String> {
    let letters: Vec<char> = fold::plain(word).chars().filter(|c| c.is_alphanumeric()).collect();
    if !(SHORTEST..=LONGEST).contains(&letters.len()) {
        return Err(format!(
            "a word has {SHORTEST} to {LONGEST} letters, not {}; a regex can be shorter",
            letters.len()
        ));
    }
    Ok(Pattern::new(&letters))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
