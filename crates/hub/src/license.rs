//! The licence of a model, and the note that it was accepted: in the cache for each model that is pulled, or in any other file.

use std::{fmt, path::Path};

use calotype_formats::write_atomic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Result, error::show, names};

/// The most bytes of the file with the notes.
const MOST_BYTES: u64 = 1 << 20;

/// A model's licence, as its card has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// Its name, `creativeml-openrail-m` for one, or `not stated`.
    pub name: String,
    /// Where it is, or the model's page.
    pub link: String,
}

impl License {
    /// From the card's `license`, `license_name` and `license_link`, else from the tags.
    pub(crate) fn new(card: &Value, tags: &Value, page: &str, commit: &str) -> Self {
        let text = |key: &str| match &card[key] {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Array(list) => {
                let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                (!names.is_empty()).then(|| names.join(", "))
            }
            _ => None,
        };
        let tag = || {
            let mut tags = tags.as_array()?.iter().filter_map(Value::as_str);
            tags.find_map(|tag| tag.strip_prefix("license:")).map(str::to_owned)
        };
        let license = text("license").or_else(tag);
        // "other" is named by the field beside it.
        let name = license.filter(|name| name != "other").or_else(|| text("license_name"));
        let link = text("license_link").and_then(|link| {
            if link.starts_with("https://") {
                Some(link)
            } else if names::problem(&link).is_none() {
                // A file of the model. It may change with each commit, so that it is asked for again.
                Some(format!("{page}/blob/{commit}/{link}"))
            } else {
                None
            }
        });
        Self {
            name: show(&name.unwrap_or_else(|| "not stated".to_owned())),
            link: show(&link.unwrap_or_else(|| page.to_owned())),
        }
    }
}

impl fmt::Display for License {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.link)
    }
}

/// The notes in a model's folder of the cache.
#[derive(Default, Serialize, Deserialize)]
struct Notes {
    accepted: Vec<Note>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    license: License,
    /// What it was accepted for: the commit that was to be downloaded, or another model's name.
    commit: String,
}

fn read(file: &Path) -> Notes {
    let bytes = calotype_files::read(file, MOST_BYTES).unwrap_or_default();
    // A note that can't be read is as none: the question is asked again.
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Whether the file notes that the licence is accepted.
#[must_use]
pub fn is_accepted(file: &Path, license: &License) -> bool {
    read(file).accepted.iter().any(|note| note.license == *license)
}

/// Notes in a file that the licence is accepted, and for what.
///
/// # Errors
/// The file can't be written.
pub fn accept(file: &Path, license: &License, commit: &str) -> Result<()> {
    let mut notes = read(file);
    if notes.accepted.iter().any(|note| note.license == *license) {
        return Ok(());
    }
    notes.accepted.push(Note { license: license.clone(), commit: commit.to_owned() });
    Ok(write_atomic(file, |writer| Ok(serde_json::to_writer_pretty(writer, &notes)?))?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn of(card: Value, tags: Value) -> String {
        License::new(&card, &tags, "https://hub/o/n", "c0ffee").to_string()
    }

    #[test]
    fn as_the_card_has_it() {
        let none = Value::Null;
        assert_eq!(of(json!({"license": "mit"}), none.clone()), "mit (https://hub/o/n)");
        assert_eq!(of(json!({"license": ["mit", "cc0-1.0"]}), none.clone()), "mit, cc0-1.0 (https://hub/o/n)");
        assert_eq!(of(none.clone(), json!(["diffusers", "license:openrail"])), "openrail (https://hub/o/n)");
        let other = json!({"license": "other", "license_name": "my", "license_link": "LICENSE.md"});
        assert_eq!(of(other, none.clone()), "my (https://hub/o/n/blob/c0ffee/LICENSE.md)");
        let linked = json!({"license": "openrail++", "license_link": "https://x.org/l"});
        assert_eq!(of(linked, none.clone()), "openrail++ (https://x.org/l)");
        assert_eq!(of(none.clone(), none.clone()), "not stated (https://hub/o/n)");
        assert_eq!(
            of(json!({"license": 7, "license_link": "javascript:x"}), json!("x")),
            "not stated (https://hub/o/n)"
        );
        assert_eq!(of(json!({"license": "a\u{1b}[2Jb\nc"}), none), "a\u{fffd}[2Jb\u{fffd}c (https://hub/o/n)");
    }

    #[test]
    fn accepted_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.json");
        let license = |name: &str| License { name: name.to_owned(), link: "https://x".to_owned() };
        assert!(!is_accepted(&file, &license("a")));
        accept(&file, &license("a"), "1").unwrap();
        accept(&file, &license("b"), "2").unwrap();
        assert!(
            is_accepted(&file, &license("a"))
                && is_accepted(&file, &license("b"))
                && !is_accepted(&file, &license("c"))
        );
        fs::write(&file, "{").unwrap();
        assert!(!is_accepted(&file, &license("a")));
    }
}
