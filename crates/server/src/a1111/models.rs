//! Models by the names that A1111 gives them: `name.safetensors [6ce0161689]`.

use calotype::checkpoint::ListedKind;
use calotype_engine::Entry;
use serde_json::Value;

use crate::{
    app::App,
    problem::{Problem, Result},
};

/// Digits of a hash in a title.
const SHORT: usize = 10;
/// Models of at most so many bytes are hashed when their hash is asked for; others when they are used, as in A1111.
const SMALL: u64 = 64 << 20;

/// The SHA-256 of a model, as far as it is known.
pub(super) fn sha256(app: &App, entry: &Entry) -> Option<String> {
    if let Some(known) = app.a1111.hash(&entry.id) {
        return Some(known);
    }
    if entry.bytes > SMALL {
        return None;
    }
    let model = app.engine.model(&entry.id, None).ok()?;
    let hash = model.hash().ok()?.to_owned();
    app.a1111.learn_hash(&entry.id, &hash);
    Some(hash)
}

/// Its first digits.
pub(super) fn hash(app: &App, entry: &Entry) -> Option<String> {
    Some(short(&sha256(app, entry)?))
}

pub(super) fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}

/// What the hash of a model is, by an image that was made with it.
pub(super) fn learn(app: &App, model: &str, metadata: &Value) {
    if let Some(hash) = metadata["model_hash"].as_str().filter(|hash| hash.len() > SHORT) {
        app.a1111.learn_hash(model, hash);
    }
}

/// What a model is called in lists and options.
pub(super) fn title(entry: &Entry, hash: Option<&str>) -> String {
    match hash {
        Some(hash) => format!("{} [{hash}]", entry.file_name()),
        None => entry.file_name(),
    }
}

/// A model by its title, with or without the hash, its id or its hash alone.
pub(super) fn find(app: &App, name: &str) -> Result<Entry> {
    let catalogue = app.engine.catalogue();
    let name = name.trim();
    let bare = match name.rsplit_once(" [") {
        Some((bare, hash)) if hash.ends_with(']') => bare,
        _ => name,
    };
    let found = catalogue.find(ListedKind::Model, bare).or_else(|error| {
        let is_hash = (8..=64).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_hexdigit());
        let all = catalogue.all(ListedKind::Model).into_iter();
        let known = all
            .filter(|_| is_hash)
            .find(|entry| app.a1111.hash(&entry.id).is_some_and(|hash| hash.starts_with(&name.to_ascii_lowercase())));
        known.ok_or(error)
    });
    found.map_err(|error| unknown(super::settings::CHECKPOINT, &error))
}

/// There is no such model.
pub(super) fn unknown(param: &str, error: &calotype_engine::Error) -> Problem {
    let detail = match error {
        calotype_engine::Error::NoModel { name, .. } => format!("model {name:?} not found"),
        other => other.to_string(),
    };
    Problem::new(axum::http::StatusCode::NOT_FOUND, "model_not_found", detail).param(param).hint(error.to_string())
}
