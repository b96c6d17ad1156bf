//! Which model: `org/name` or `name`, perhaps with `@revision`.

use std::{fmt, str::FromStr};

use crate::{Error, error::show, names};

/// The revision that is meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// A model on the hub and one of its revisions: a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    repository: String,
    revision: String,
}

impl ModelId {
    /// `org/name`, or `name` for the few models of old that have no organisation.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The branch, tag or commit; `main` if none was named.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if self.revision == DEFAULT_REVISION { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

impl FromStr for ModelId {
    type Err = Error;

    /// The rules are the hub's: see `validate_repo_id` of `huggingface_hub`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let problem = if repository.split('/').count() > 2 || !repository.split('/').all(is_name) {
            "expected org/name, of letters, digits, -, _ and ."
        } else if repository.contains("--") || repository.contains("..") || repository.ends_with(".git") {
            "a model's name has no -- or .. in it, and no .git at its end"
        } else if names::problem(revision).is_some() || revision.contains(['?', '*', '~', '^', ' ']) {
            "expected a branch, a tag or a commit after the @"
        } else {
            return Ok(Self { repository: repository.to_owned(), revision: revision.to_owned() });
        };
        Err(Error::Request(format!("{}: not the name of a model on the hub: {problem}", show(text))))
    }
}

fn is_name(part: &str) -> bool {
    let sound = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let edge = |c: char| c == '-' || c == '.';
    sound && (1..=96).contains(&part.len()) && !part.starts_with(edge) && !part.ends_with(edge)
}

/// Whether this is a whole commit hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hex(text)
}

pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_revisions() {
        let id: ModelId = "org/sd-v1.5@fp16".parse().unwrap();
        assert_eq!(
            (id.repository(), id.revision(), id.to_string().as_str()),
            ("org/sd-v1.5", "fp16", "org/sd-v1.5@fp16")
        );
        let id: ModelId = "gpt2".parse().unwrap();
        assert_eq!((id.revision(), id.to_string().as_str()), ("main", "gpt2"));
        assert!("org/name@refs/pr/3".parse::<ModelId>().is_ok());
        let wrong = [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "a--b/c",
            "../x",
            "a/..",
            "a/b..c",
            ".a/b",
            "a/b-",
            "a b/c",
            "a/b@",
            "a/b@../x",
            "a/b@/x",
            "a/b@x\ny",
            "a/b\0",
            "é/b",
            "a/b.git",
            "C:\\models",
            "a/b@x?y",
            "https://huggingface.co/a/b",
        ];
        for text in wrong {
            let error = text.parse::<ModelId>().unwrap_err();
            assert!(error.is_request() && error.to_string().lines().count() == 1, "{text:?}: {error}");
        }
        assert!("a".repeat(97).parse::<ModelId>().is_err());
    }
}
