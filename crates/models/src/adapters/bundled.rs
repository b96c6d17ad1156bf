//! Embeddings inside of a LoRA's file, as A1111 reads them (`extensions-builtin/Lora/networks.py`, `load_network`):
//! `bundle_emb.NAME.string_to_param.*`, or `bundle_emb.NAME.` and what a file of one tensor would call it.

use std::collections::BTreeMap;

use calotype_formats::Checkpoint;

use super::Embedding;
use crate::{Result, names::adapter as names};

/// What an embedding is called, and its tensors by what a file of its own would call them.
type Bundles<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a str)>>;

/// Embeddings by name, and the keys of those that are for another family.
type Read = (Vec<(String, Embedding)>, Vec<String>);

fn bundles(file: &Checkpoint) -> Bundles<'_> {
    let mut bundles = Bundles::new();
    for tensor in file.tensors() {
        if let Some((name, part)) = names::bundled_embedding(&tensor.name) {
            bundles.entry(name).or_default().push((part, &tensor.name));
        }
    }
    bundles
}

/// The names of the embeddings in a file.
pub(super) fn names(file: &Checkpoint) -> Vec<String> {
    bundles(file).into_keys().map(str::to_owned).collect()
}

/// The embeddings in a file.
///
/// # Errors
/// A tensor is of no embedding, can't be read, or has what is no finite number.
pub(super) fn read(file: &Checkpoint) -> Result<Read> {
    let (mut found, mut other) = (Vec::new(), Vec::new());
    for (name, tensors) in bundles(file) {
        // As A1111: with `string_to_param` the rest counts nothing.
        let vectors: Vec<_> = match tensors.iter().any(|(part, _)| names::is_a1111_embedding(part)) {
            true => tensors.iter().filter(|(part, _)| names::is_a1111_embedding(part)).collect(),
            false => tensors.iter().collect(),
        };
        match vectors.as_slice() {
            [(_, key)] => found.push((name.to_owned(), Embedding::of_tensor(file, key, None)?)),
            // Vectors for the two text encoders of Stable Diffusion XL.
            _ => other.extend(tensors.iter().map(|(_, key)| (*key).to_owned())),
        }
    }
    Ok((found, other))
}
