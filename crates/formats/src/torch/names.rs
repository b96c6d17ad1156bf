//! Which tensors of a torch file are the model's, and what they are called.

use std::collections::BTreeMap;

use super::{Dict, TorchFile, TorchTensor, Value};
use crate::{
    Error, Result,
    error::quote,
    tensors::{TensorInfo, Tensors},
};

/// The longest name of a tensor.
const MAX_NAME: usize = 4096;
/// The most bytes that the list of tensors may take. A pickle is far smaller than its list when it shares the parts of names.
const MAX_LIST: usize = 16 << 20;

/// The key below which Lightning keeps the model.
const STATE_DICT: &str = "state_dict";

/// An entry at the top of a torch file that is no part of the model: `optimizer_states`, `callbacks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its key.
    pub name: String,
    /// Bytes of the tensors in it, as they would be read.
    pub bytes: u64,
}

/// The model's tensors: those below `state_dict` where there is one, else all of them. Names are the keys on the way to a
/// tensor, joined by dots; items of lists and tuples are counted from 0. Beside them, as metadata, the texts and numbers
/// found on the way and at the top.
pub(crate) fn weights(file: TorchFile) -> Result<(Tensors, Vec<Extra>)> {
    let mut found = Found { file: &file, tensors: Vec::new(), metadata: BTreeMap::new(), extras: Vec::new(), held: 0 };
    match file.root() {
        Value::Dict(root) => match root.get(STATE_DICT) {
            Some(Value::Dict(model)) => {
                found.dict("", model)?;
                for (key, value) in root.iter().filter(|(key, _)| !matches!(key, Value::Str(STATE_DICT))) {
                    if text(value).is_some() { found.value(label(key), value)? } else { found.extra(key, value)? }
                }
            }
            _ => {
                for (key, value) in root.iter() {
                    let before = (found.tensors.len(), found.metadata.len());
                    found.value(label(key), value)?;
                    if (found.tensors.len(), found.metadata.len()) == before {
                        found.extra(key, value)?;
                    }
                }
            }
        },
        root @ (Value::List(_) | Value::Tuple(_)) => found.value(String::new(), root)?,
        _ => {
            let problem = "the file holds no dict of tensors: save the model's state_dict, not the model";
            return Err(Error::file(file.label(), problem));
        }
    }
    let Found { mut tensors, metadata, extras, .. } = found;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::tensor(file.label(), &pair[0].name, "named twice: do not use this file"));
    }
    Ok((Tensors { source: file.source, checksums: file.checksums, tensors, metadata }, extras))
}

struct Found<'a> {
    file: &'a TorchFile,
    tensors: Vec<TensorInfo>,
    metadata: BTreeMap<String, String>,
    extras: Vec<Extra>,
    /// Bytes of all of them.
    held: usize,
}

impl<'a> Found<'a> {
    // Recursion is as deep as the file, which is at most 256.
    fn value(&mut self, name: String, value: Value<'a>) -> Result<()> {
        match value {
            Value::Tensor(TorchTensor { tensor, .. }) => {
                self.hold(&name, size_of::<TensorInfo>() + 16 * tensor.shape.len())?;
                self.tensors.push(self.file.place(tensor, name));
            }
            Value::Dict(dict) => self.dict(&name, dict)?,
            Value::List(items) | Value::Tuple(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.value(self.join(&name, &n.to_string())?, item)?;
                }
            }
            other => {
                if let Some(text) = text(other) {
                    self.hold(&name, 64 + text.len())?;
                    self.metadata.insert(name, text);
                }
            }
        }
        Ok(())
    }

    fn dict(&mut self, name: &str, dict: Dict<'a>) -> Result<()> {
        dict.iter().try_for_each(|(key, value)| self.value(self.join(name, &label(key))?, value))
    }

    fn extra(&mut self, key: Value<'a>, value: Value<'a>) -> Result<()> {
        let name = label(key);
        self.hold(&name, size_of::<Extra>())?;
        self.extras.push(Extra { name, bytes: tensor_bytes(value) });
        Ok(())
    }

    fn join(&self, folder: &str, name: &str) -> Result<String> {
        if folder.len() + name.len() > MAX_NAME {
            let problem = format!("refused: a name of more than {MAX_NAME} bytes: do not load this file");
            return Err(Error::file(self.file.label(), problem));
        }
        Ok(if folder.is_empty() { name.to_owned() } else { format!("{folder}.{name}") })
    }

    /// Accounts for an entry of the list before it is made.
    fn hold(&mut self, name: &str, bytes: usize) -> Result<()> {
        self.held = self.held.saturating_add(name.len() + bytes);
        if self.held > MAX_LIST {
            let problem = format!("refused: its list of tensors takes more than {} MiB", MAX_LIST >> 20);
            return Err(Error::file(self.file.label(), format!("{problem}: do not load this file")));
        }
        Ok(())
    }
}

/// A key as part of a name.
fn label(key: Value<'_>) -> String {
    match key {
        Value::Str(text) => text.to_owned(),
        Value::Global(name) | Value::Object(name) => name.to_owned(),
        Value::Bytes(bytes) => quote(&String::from_utf8_lossy(bytes)),
        other => text(other).unwrap_or_else(|| "?".to_owned()),
    }
}

/// A text or a number, as text.
fn text(value: Value<'_>) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.to_owned()),
        Value::Int(n) => Some(n.to_string()),
        Value::Float(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn tensor_bytes(value: Value<'_>) -> u64 {
    match value {
        Value::Tensor(TorchTensor { tensor, .. }) => tensor.byte_count(),
        Value::Dict(dict) => dict.iter().map(|(_, value)| tensor_bytes(value)).sum(),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().map(tensor_bytes).sum(),
        _ => 0,
    }
}
