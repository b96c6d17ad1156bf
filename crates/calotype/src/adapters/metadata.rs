//! What a picture's file says of its adapters.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    AdapterFile, AdapterOptions, EmbeddingOptions, HypernetworkOptions, LoraOptions,
    folders::stem,
    library::Opened,
    loaded::{AppliedAdapter, LoadedAdapters},
};
use crate::Result;

/// How many digits A1111 has of the hashes of LoRAs and embeddings, and of those of hypernetworks.
const SHORT: usize = 12;
const SHORT_OF_HYPERNETWORK: usize = 10;

/// What an adapter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// LoRA or LyCORIS.
    #[default]
    Lora,
    /// A hypernetwork.
    Hypernet,
    /// An embedding (textual inversion).
    Embedding,
}

impl AdapterKind {
    /// Its id, by which prompts call it: `lora`, `hypernet` or `embedding`.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Hypernet => "hypernet",
            Self::Embedding => "embedding",
        }
    }
}

/// An adapter that an image was made with, or is to be made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdapterMetadata {
    /// What it is.
    pub kind: AdapterKind,
    /// The file's name without its ending.
    pub name: String,
    /// What prompts were to call an embedding, beside the file's own names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// The file, if it was not the prompt that called for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The SHA-256 of the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// A1111's hash: the first digits of the SHA-256 of the data of a safetensors LoRA, of the file of all else.
    #[serde(skip_serializing_if = "String::is_empty")]
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
    pub(crate) fn of(loaded: &LoadedAdapters) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for AppliedAdapter { opened, options: applied, in_prompt } in &loaded.loras {
            let hash = opened.hashes()?.of_data.clone();
            all.push(Self {
                text_encoder: Some(applied.text_encoder),
                unet: Some(applied.unet),
                ranks: applied.ranks,
                ..Self::new(AdapterKind::Lora, opened, &hash, SHORT, *in_prompt)?
            });
        }
        for AppliedAdapter { opened, options: strength, in_prompt } in &loaded.hypernetworks {
            let hash = opened.hashes()?.sha256.clone();
            let metadata = Self::new(AdapterKind::Hypernet, opened, &hash, SHORT_OF_HYPERNETWORK, *in_prompt)?;
            all.push(Self { unet: Some(*strength), ..metadata });
        }
        for (opened, given) in loaded.named_embeddings() {
            let hash = opened.hashes()?.sha256.clone();
            all.push(Self {
                called: given.cloned(),
                ..Self::new(AdapterKind::Embedding, opened, &hash, SHORT, false)?
            });
        }
        Ok(all)
    }

    fn new<T>(kind: AdapterKind, opened: &Opened<T>, hash: &str, digits: usize, in_prompt: bool) -> Result<Self> {
        Ok(Self {
            kind,
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
        let kind = kind.id();
        match text_encoder {
            Some(text_encoder) => {
                let ranks = ranks.map_or(String::new(), |ranks| format!(":{ranks}"));
                Some(format!("<{kind}:{name}:{text_encoder}:{unet}{ranks}>"))
            }
            None => Some(format!("<{kind}:{name}:{unet}>")),
        }
    }

    /// Whether it is listed among A1111's hashes of this kind.
    fn is(&self, kind: AdapterKind) -> bool {
        self.kind == kind && !self.short_hash.is_empty()
    }
}

/// A1111's "Lora hashes": `name: hash, name: hash`; none if there are none.
pub(crate) fn lora_hashes(all: &[AdapterMetadata]) -> Option<String> {
    hashes_of(all, AdapterKind::Lora)
}

/// A1111's "TI hashes".
pub(crate) fn embedding_hashes(all: &[AdapterMetadata]) -> Option<String> {
    hashes_of(all, AdapterKind::Embedding)
}

fn hashes_of(all: &[AdapterMetadata], kind: AdapterKind) -> Option<String> {
    // A1111 takes out what would end a name.
    let listed = all.iter().filter(|adapter| adapter.is(kind));
    let listed: Vec<String> =
        listed.map(|adapter| format!("{}: {}", adapter.name.replace([':', ','], ""), adapter.short_hash)).collect();
    (!listed.is_empty()).then(|| listed.join(", "))
}

/// Adds what A1111's "Lora hashes" says: names and hashes, which the prompt calls for.
pub(crate) fn read_lora_hashes(all: &mut Vec<AdapterMetadata>, text: &str) -> bool {
    read_hashes(all, AdapterKind::Lora, text)
}

/// Adds what A1111's "TI hashes" says.
pub(crate) fn read_embedding_hashes(all: &mut Vec<AdapterMetadata>, text: &str) -> bool {
    read_hashes(all, AdapterKind::Embedding, text)
}

fn read_hashes(all: &mut Vec<AdapterMetadata>, kind: AdapterKind, text: &str) -> bool {
    for entry in text.split(',') {
        let Some((name, hash)) = entry.split_once(':') else { return false };
        let [name, short_hash] = [name.trim(), hash.trim()].map(str::to_owned);
        all.push(AdapterMetadata { kind, name, short_hash, ..AdapterMetadata::default() });
    }
    true
}

/// What has to be asked for beside the prompt to make the image again: a file where it is, else by its name.
pub(crate) fn options(all: &[AdapterMetadata]) -> AdapterOptions {
    let given = all.iter().filter(|adapter| !adapter.file.is_empty());
    let found = given.filter_map(|adapter| {
        let mut adapter = adapter.clone();
        if !Path::new(&adapter.file).exists() {
            match adapter.kind {
                // By its own name it is found in a folder.
                AdapterKind::Embedding if adapter.called.is_none() => return None,
                AdapterKind::Embedding => {}
                AdapterKind::Lora | AdapterKind::Hypernet => adapter.file.clear(),
            }
        }
        Some(adapter)
    });
    found.collect::<Vec<_>>().into()
}

impl From<Vec<AdapterMetadata>> for AdapterOptions {
    /// A file, or what has that name in a folder.
    fn from(all: Vec<AdapterMetadata>) -> Self {
        let mut options = Self::default();
        for AdapterMetadata { kind, name, called, file, text_encoder, unet, ranks, .. } in all {
            let place = if file.is_empty() { AdapterFile::Name(name) } else { AdapterFile::Path(file.clone().into()) };
            let strength = unet.or(text_encoder).unwrap_or(1.0);
            match kind {
                AdapterKind::Lora => {
                    let text_encoder = text_encoder.unwrap_or(strength);
                    options.loras.push(LoraOptions { file: place, text_encoder, unet: strength, ranks });
                }
                AdapterKind::Hypernet => options.hypernetworks.push(HypernetworkOptions { file: place, strength }),
                AdapterKind::Embedding => {
                    options.embeddings.push(EmbeddingOptions { file: file.into(), name: called });
                }
            }
        }
        options
    }
}

impl From<AdapterOptions> for Vec<AdapterMetadata> {
    fn from(options: AdapterOptions) -> Self {
        let of = |kind, place: AdapterFile| match place {
            AdapterFile::Name(name) | AdapterFile::Memory { name, .. } => {
                AdapterMetadata { kind, name, ..AdapterMetadata::default() }
            }
            AdapterFile::Path(path) => {
                let (name, file) = (stem(&path), path.display().to_string());
                AdapterMetadata { kind, name, file, ..AdapterMetadata::default() }
            }
        };
        let loras = options.loras.into_iter().map(|lora| AdapterMetadata {
            text_encoder: Some(lora.text_encoder),
            unet: Some(lora.unet),
            ranks: lora.ranks,
            ..of(AdapterKind::Lora, lora.file)
        });
        let hypernetworks = options.hypernetworks.into_iter().map(|hypernetwork| AdapterMetadata {
            unet: Some(hypernetwork.strength),
            ..of(AdapterKind::Hypernet, hypernetwork.file)
        });
        let embeddings = options.embeddings.into_iter().map(|embedding| AdapterMetadata {
            called: embedding.name,
            ..of(AdapterKind::Embedding, AdapterFile::Path(embedding.file))
        });
        loras.chain(hypernetworks).chain(embeddings).collect()
    }
}
