//! What a picture's file says of its adapters.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    AdapterFile, AdapterOptions, EmbeddingOptions, HypernetworkOptions, LoraOptions,
    active::{Active, Use},
    library::Opened,
};
use crate::Result;

/// How many digits A1111 has of the hashes of LoRAs and embeddings, and of those of hypernetworks.
const SHORT: usize = 12;
const SHORT_OF_HYPERNETWORK: usize = 10;
const LORA: &str = "lora";
const HYPERNETWORK: &str = "hypernet";
const EMBEDDING: &str = "embedding";

/// An adapter that a picture was made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterMetadata {
    /// `lora`, `hypernet` or `embedding`.
    pub kind: String,
    /// The file's name without its ending.
    pub name: String,
    /// What prompts were to call an embedding, beside the file's own names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// The file, if it was not the prompt that called for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// A1111's hash: the first digits of the SHA-256 of the data of a safetensors LoRA, of the file of all else.
    pub short_hash: String,
    /// How strongly it changes the text encoder; an embedding does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<f32>,
    /// How strongly it changes the UNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unet: Option<f32>,
    /// How many ranks were used, if not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
}

impl AdapterMetadata {
    /// Of a run, its prompts' embeddings only.
    ///
    /// # Errors
    /// A file can't be read to hash it.
    pub(crate) fn of(active: &Active) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for Use { opened, options: applied, in_prompt } in &active.loras {
            let hash = opened.hashes()?.of_data.clone();
            all.push(Self {
                text_encoder: Some(applied.text_encoder),
                unet: Some(applied.unet),
                ranks: applied.ranks,
                ..Self::new(LORA, opened, &hash, SHORT, *in_prompt)?
            });
        }
        for Use { opened, options: strength, in_prompt } in &active.hypernetworks {
            let hash = opened.hashes()?.sha256.clone();
            let metadata = Self::new(HYPERNETWORK, opened, &hash, SHORT_OF_HYPERNETWORK, *in_prompt)?;
            all.push(Self { unet: Some(*strength), ..metadata });
        }
        for (opened, given) in active.called_embeddings() {
            let hash = opened.hashes()?.sha256.clone();
            all.push(Self { called: given.cloned(), ..Self::new(EMBEDDING, opened, &hash, SHORT, false)? });
        }
        Ok(all)
    }

    fn new<T>(kind: &str, opened: &Opened<T>, hash: &str, digits: usize, in_prompt: bool) -> Result<Self> {
        Ok(Self {
            kind: kind.to_owned(),
            name: opened.name(),
            file: if in_prompt { String::new() } else { opened.path.display().to_string() },
            sha256: opened.hashes()?.sha256.clone(),
            short_hash: hash.chars().take(digits).collect(),
            ..Self::default()
        })
    }

    /// The tag by which A1111's prompts call for it, if no prompt did.
    pub(crate) fn tag(&self) -> Option<String> {
        let Self { kind, name, file, text_encoder, unet, ranks, .. } = self;
        let unet = unet.filter(|_| !file.is_empty())?;
        match text_encoder {
            Some(text_encoder) => {
                let ranks = ranks.map_or(String::new(), |ranks| format!(":{ranks}"));
                Some(format!("<{kind}:{name}:{text_encoder}:{unet}{ranks}>"))
            }
            None => Some(format!("<{kind}:{name}:{unet}>")),
        }
    }

    /// Whether it is listed among A1111's hashes of this kind.
    fn is(&self, kind: &str) -> bool {
        self.kind == kind && !self.short_hash.is_empty()
    }
}

/// A1111's "Lora hashes": `name: hash, name: hash`; none if there are none.
pub(crate) fn lora_hashes(all: &[AdapterMetadata]) -> Option<String> {
    hashes_of(all, LORA)
}

/// A1111's "TI hashes".
pub(crate) fn embedding_hashes(all: &[AdapterMetadata]) -> Option<String> {
    hashes_of(all, EMBEDDING)
}

fn hashes_of(all: &[AdapterMetadata], kind: &str) -> Option<String> {
    // A1111 takes out what would end a name.
    let listed = all.iter().filter(|adapter| adapter.is(kind));
    let listed: Vec<String> =
        listed.map(|adapter| format!("{}: {}", adapter.name.replace([':', ','], ""), adapter.short_hash)).collect();
    (!listed.is_empty()).then(|| listed.join(", "))
}

/// Adds what A1111's "Lora hashes" says: names and hashes, which the prompt calls for.
pub(crate) fn read_lora_hashes(all: &mut Vec<AdapterMetadata>, text: &str) -> bool {
    read_hashes(all, LORA, text)
}

/// Adds what A1111's "TI hashes" says.
pub(crate) fn read_embedding_hashes(all: &mut Vec<AdapterMetadata>, text: &str) -> bool {
    read_hashes(all, EMBEDDING, text)
}

fn read_hashes(all: &mut Vec<AdapterMetadata>, kind: &str, text: &str) -> bool {
    for entry in text.split(',') {
        let Some((name, hash)) = entry.split_once(':') else { return false };
        let [kind, name, short_hash] = [kind, name.trim(), hash.trim()].map(str::to_owned);
        all.push(AdapterMetadata { kind, name, short_hash, ..AdapterMetadata::default() });
    }
    true
}

/// What has to be asked for beside the prompt to make the picture again: a file where it is, else by its name.
pub(crate) fn options(all: &[AdapterMetadata]) -> AdapterOptions {
    let mut options = AdapterOptions::default();
    for adapter in all.iter().filter(|adapter| !adapter.file.is_empty()) {
        let path = PathBuf::from(&adapter.file);
        let there = path.exists();
        let file = if there { AdapterFile::Path(path.clone()) } else { AdapterFile::Name(adapter.name.clone()) };
        match (adapter.kind.as_str(), adapter.text_encoder, adapter.unet) {
            (LORA, Some(text_encoder), Some(unet)) => {
                options.loras.push(LoraOptions { file, text_encoder, unet, ranks: adapter.ranks });
            }
            (HYPERNETWORK, _, Some(strength)) => options.hypernetworks.push(HypernetworkOptions { file, strength }),
            // By its own name it is found in a folder.
            (EMBEDDING, ..) if there || adapter.called.is_some() => {
                options.embeddings.push(EmbeddingOptions { file: path, name: adapter.called.clone() });
            }
            _ => {}
        }
    }
    options
}
