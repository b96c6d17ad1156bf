//! Reading of a tokenizer's files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use calotype_files::json as python_json;
use serde_json::{Value, json};

use crate::MAX_LENGTH;
use crate::added::AddedToken;
use crate::error::Error;
use crate::vocabulary::{Vocabulary, parse_merges, quote, split_pair};

/// CLIP's largest file has 4 MB.
const LARGEST_FILE: u64 = 32 << 20;
/// A token's length in bytes; CLIP's longest has under 100.
const LONGEST_TOKEN: usize = 4096;

/// The vocabulary of a `vocab.json` and a `merges.txt`.
pub(crate) fn read_pair(vocab: &Path, merges: &Path) -> Result<Vocabulary, Error> {
    pair_of_files(vocab, &parse(vocab, &read_text(vocab)?)?, merges, &read_text(merges)?)
}

fn pair_of_files(vocab: &Path, tokens: &Value, merges: &Path, text: &str) -> Result<Vocabulary, Error> {
    let tokens = tokens_by_id(tokens).map_err(|problem| invalid(vocab, problem))?;
    let in_merges = |problem| invalid(merges, problem);
    Vocabulary::new(tokens, &parse_merges(text).map_err(in_merges)?).map_err(in_merges)
}

/// The bytes of a file in memory, by its name; none if there is no such file.
type ReadFile<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// The files of a diffusers `tokenizer` folder.
pub(crate) struct TokenizerFiles<'a> {
    /// How messages call the folder.
    label: PathBuf,
    /// None for files on disk.
    memory: Option<ReadFile<'a>>,
}

const VOCAB: &str = "vocab.json";
const SINGLE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

impl<'a> TokenizerFiles<'a> {
    pub(crate) fn on_disk(folder: &Path) -> Self {
        Self { label: folder.to_owned(), memory: None }
    }

    pub(crate) fn in_memory(label: &str, read: ReadFile<'a>) -> Self {
        Self { label: label.into(), memory: Some(read) }
    }

    pub(crate) fn invalid_folder(&self, problem: String) -> Error {
        invalid(&self.label, problem)
    }

    fn text(&self, name: &str) -> Result<String, Error> {
        let path = self.label.join(name);
        match self.memory {
            None => read_text(&path),
            Some(read) => match read(name) {
                Some(bytes) => String::from_utf8(bytes).map_err(|_| invalid(&path, "not UTF-8 text".to_owned())),
                None => Err(Error::Read { path, source: ErrorKind::NotFound.into() }),
            },
        }
    }

    fn json(&self, name: &str) -> Result<Value, Error> {
        parse(&self.label.join(name), &self.text(name)?)
    }

    /// None if there is no such file.
    fn json_if_any(&self, name: &str) -> Result<Option<Value>, Error> {
        match self.json(name) {
            Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            json => json.map(Some),
        }
    }

    /// The vocabulary and the merges: of the pair of files, or of the one file of newer folders.
    pub(crate) fn vocabulary(&self) -> Result<Vocabulary, Error> {
        let has = |name: &str| match self.memory {
            None => self.label.join(name).exists(),
            Some(read) => read(name).is_some(),
        };
        if has(VOCAB) || !has(SINGLE) {
            let (vocab, merges) = (self.label.join(VOCAB), "merges.txt");
            return pair_of_files(&vocab, &self.json(VOCAB)?, &self.label.join(merges), &self.text(merges)?);
        }
        let json = self.json(SINGLE)?;
        let build = || {
            let model = &json["model"];
            if model["type"] != "BPE" || model["end_of_word_suffix"] != "</w>" {
                return Err("expected a model of type BPE with the end_of_word_suffix \"</w>\", as CLIP's".to_string());
            }
            let merges = model["merges"].as_array().ok_or("expected a list model.merges")?;
            let merges: Option<Vec<_>> = merges.iter().map(pair).collect();
            Vocabulary::new(tokens_by_id(&model["vocab"])?, &merges.ok_or("model.merges: expected pairs of tokens")?)
        };
        build().map_err(|problem| invalid(&self.label.join(SINGLE), problem))
    }

    /// The pad token that the folder names, if any; `special_tokens_map.json` wins, as in transformers.
    pub(crate) fn pad_token(&self) -> Result<Option<String>, Error> {
        for name in ["special_tokens_map.json", CONFIG] {
            let json = self.json_if_any(name)?.unwrap_or_default();
            let token = &json["pad_token"];
            if let Some(token) = token.as_str().or_else(|| token["content"].as_str()) {
                return Ok(Some(token.to_string()));
            }
        }
        Ok(None)
    }

    /// The added tokens, those of the special ones included.
    pub(crate) fn added_tokens(&self) -> Result<Vec<AddedToken>, Error> {
        let mut tokens: Vec<AddedToken> = Vec::new();
        let mut add = |name: &str, read: &dyn Fn(&Value) -> Option<Vec<AddedToken>>| -> Result<(), Error> {
            let Some(json) = self.json_if_any(name)? else { return Ok(()) };
            let problem = || {
                let form = format!("expected a text of 1 to {LONGEST_TOKEN} bytes and an id for each added token");
                invalid(&self.label.join(name), form)
            };
            let found = read(&json).ok_or_else(problem)?;
            let is_token = |token: &AddedToken| (1..=LONGEST_TOKEN).contains(&token.content.len());
            if !found.iter().all(is_token) {
                return Err(problem());
            }
            for token in found {
                match tokens.iter().find(|known| known.content == token.content) {
                    None => tokens.push(token),
                    Some(known) if known.id == token.id => {}
                    Some(known) => {
                        let problem = format!(
                            "the added token {} has the id {}, in another file {}",
                            quote(&token.content),
                            token.id,
                            known.id
                        );
                        return Err(invalid(&self.label.join(name), problem));
                    }
                }
            }
            Ok(())
        };
        add(SINGLE, &|json| match &json["added_tokens"] {
            Value::Null => Some(Vec::new()),
            list => list.as_array()?.iter().map(|token| added_token(&token["id"], token)).collect(),
        })?;
        add(CONFIG, &|json| match &json["added_tokens_decoder"] {
            Value::Null => Some(Vec::new()),
            tokens => tokens
                .as_object()?
                .iter()
                .map(|(id, token)| added_token(&Value::from(id.parse::<u32>().ok()?), token))
                .collect(),
        })?;
        // Only texts and ids: transformers then looks for them in the normalized text.
        add("added_tokens.json", &|json| {
            let ids = json.as_object()?.iter();
            ids.map(|(content, id)| added_token(id, &json!({ "content": content, "normalized": true }))).collect()
        })?;
        Ok(tokens)
    }

    /// Refuses a tokenizer of texts of another length than [`MAX_LENGTH`], which transformers would cut and pad to.
    pub(crate) fn check_length(&self) -> Result<(), Error> {
        // transformers writes 1e30 for none.
        const NONE: f64 = 1e6;
        let config = self.json_if_any(CONFIG)?.unwrap_or_default();
        match config["model_max_length"].as_f64().filter(|&length| length < NONE && length != MAX_LENGTH as f64) {
            None => Ok(()),
            Some(length) => {
                let problem = format!(
                    "model_max_length = {length} is not supported, only {MAX_LENGTH} is: with the model's own length images would be others"
                );
                Err(invalid(&self.label.join(CONFIG), problem))
            }
        }
    }
}

/// An added token with its flags.
fn added_token(id: &Value, token: &Value) -> Option<AddedToken> {
    let flag = |name: &str| token[name].as_bool().unwrap_or(false);
    Some(AddedToken {
        content: token["content"].as_str()?.to_owned(),
        id: u32::try_from(id.as_u64()?).ok()?,
        single_word: flag("single_word"),
        lstrip: flag("lstrip"),
        rstrip: flag("rstrip"),
        normalized: flag("normalized"),
    })
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

fn parse(path: &Path, text: &str) -> Result<Value, Error> {
    python_json::from_str(text).map_err(|error| invalid(path, format!("not JSON: {error}")))
}

fn read_text(path: &Path) -> Result<String, Error> {
    calotype_files::read_text(path, LARGEST_FILE).map_err(|source| match source.kind() {
        ErrorKind::FileTooLarge => Error::TooLarge { path: path.into(), limit: LARGEST_FILE },
        ErrorKind::InvalidData => invalid(path, source.to_string()),
        _ => Error::Read { path: path.into(), source },
    })
}
