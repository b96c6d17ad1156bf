//! Reading of a tokenizer's files.

use std::io::ErrorKind;
use std::path::Path;

use calotype_files::json;
use serde_json::Value;

use crate::error::Error;
use crate::vocabulary::{Vocabulary, parse_merges, quote, split_pair};

/// CLIP's largest file has 4 MB.
const LARGEST_FILE: u64 = 32 << 20;
/// A token's length in bytes; CLIP's longest has under 100.
const LONGEST_TOKEN: usize = 4096;

/// The vocabulary of a `vocab.json` and a `merges.txt`.
pub(crate) fn read_pair(vocab: &Path, merges: &Path) -> Result<Vocabulary, Error> {
    let tokens = tokens_by_id(&read_json(vocab)?).map_err(|problem| invalid(vocab, problem))?;
    let text = read_text(merges)?;
    let in_merges = |problem| invalid(merges, problem);
    Vocabulary::new(tokens, &parse_merges(&text).map_err(in_merges)?).map_err(in_merges)
}

/// The vocabulary of a `tokenizer.json`, the one file of newer folders.
pub(crate) fn read_single(path: &Path) -> Result<Vocabulary, Error> {
    let json = read_json(path)?;
    let build = || {
        let model = &json["model"];
        if model["type"] != "BPE" || model["end_of_word_suffix"] != "</w>" {
            return Err("expected a model of type BPE with the end_of_word_suffix \"</w>\", as CLIP's".to_string());
        }
        let merges = model["merges"].as_array().ok_or("expected a list model.merges")?;
        let merges: Option<Vec<_>> = merges.iter().map(pair).collect();
        Vocabulary::new(tokens_by_id(&model["vocab"])?, &merges.ok_or("model.merges: expected pairs of tokens")?)
    };
    build().map_err(|problem| invalid(path, problem))
}

/// The pad token that the folder names, if any; `special_tokens_map.json` wins, as in transformers.
pub(crate) fn pad_token(folder: &Path) -> Result<Option<String>, Error> {
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = folder.join(name);
        let json = match read_json(&path) {
            Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            json => json?,
        };
        let token = &json["pad_token"];
        if let Some(token) = token.as_str().or_else(|| token["content"].as_str()) {
            return Ok(Some(token.to_string()));
        }
    }
    Ok(None)
}

pub(crate) fn invalid(path: &Path, problem: String) -> Error {
    Error::Invalid { path: path.into(), problem }
}

fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge.as_array().map(Vec::as_slice) {
        Some([left, right]) => Some((left.as_str()?, right.as_str()?)),
        _ => split_pair(merge.as_str()?),
    }
}

/// The tokens of a JSON object `{token: id}`, whose ids must be 0 to its size, each once.
fn tokens_by_id(vocab: &Value) -> Result<Vec<String>, String> {
    let entries = vocab.as_object().ok_or("expected an object of tokens and their ids")?;
    let mut tokens = vec![None; entries.len()];
    for (token, id) in entries {
        if token.len() > LONGEST_TOKEN {
            return Err(format!("a token has {} bytes, more than {LONGEST_TOKEN}", token.len()));
        }
        let slot = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        let slot = slot.ok_or_else(|| {
            format!("the id of token {}: expected a whole number under {}", quote(token), entries.len())
        })?;
        if slot.replace(token.clone()).is_some() {
            return Err(format!("two tokens have the id {id}"));
        }
    }
    tokens.into_iter().collect::<Option<_>>().ok_or_else(|| "some id has no token".to_string())
}

fn read_json(path: &Path) -> Result<Value, Error> {
    json::from_str(&read_text(path)?).map_err(|error| invalid(path, format!("not JSON: {error}")))
}

fn read_text(path: &Path) -> Result<String, Error> {
    calotype_files::read_text(path, LARGEST_FILE).map_err(|source| match source.kind() {
        ErrorKind::FileTooLarge => Error::TooLarge { path: path.into(), limit: LARGEST_FILE },
        ErrorKind::InvalidData => invalid(path, source.to_string()),
        _ => Error::Read { path: path.into(), source },
    })
}
