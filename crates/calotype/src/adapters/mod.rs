//! Adapters of a request: which, how strongly, and from where.
//!
//! ```no_run
//! use calotype::{Request, adapters::{AdapterFile, AdapterOptions, LoraOptions}};
//!
//! let file = AdapterFile::Path("ink.safetensors".into());
//! let loras = vec![LoraOptions { file, unet: 0.8, text_encoder: 0.8, ranks: None }];
//! let adapters = AdapterOptions { loras, ..AdapterOptions::default() };
//! let request = Request { adapters, ..Request::new("a fox, ink drawing") };
//! ```

mod folders;
mod library;
mod loaded;
mod metadata;
mod missing;
mod tags;

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use folders::AdapterFolders;
pub(crate) use library::Library;
pub(crate) use loaded::{Key, LoadedAdapters};
pub use metadata::{AdapterKind, AdapterMetadata};
pub(crate) use metadata::{embedding_hashes, lora_hashes, options, read_embedding_hashes, read_lora_hashes};
pub use missing::MissingAdapter;
pub(crate) use tags::PromptTags;

/// The adapters that pictures are made with, beside those that the prompt calls for (`<lora:name:0.8>`, `<hypernet:name:1>`).
///
/// In JSON they are a list with their `kind`s, such as `[{"kind": "lora", "name": "ink", "unet": 0.8, "text_encoder": 0.8}]`; the
/// folders are not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<AdapterMetadata>", into = "Vec<AdapterMetadata>")]
pub struct AdapterOptions {
    /// LoRA and LyCORIS.
    pub loras: Vec<LoraOptions>,
    /// Hypernetworks.
    pub hypernetworks: Vec<HypernetworkOptions>,
    /// Embeddings (textual inversion).
    pub embeddings: Vec<EmbeddingOptions>,
    /// Where names are looked up, and the embeddings that a prompt may name.
    pub folders: AdapterFolders,
}

impl AdapterOptions {
    /// Whether nothing is asked for but what prompts name.
    pub(crate) fn is_empty(&self) -> bool {
        self.loras.is_empty() && self.hypernetworks.is_empty() && self.embeddings.is_empty()
    }
}

/// A file (of a LoRA also a folder of PEFT or diffusers), or the name of one in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterFile {
    /// A file, or such a folder.
    Path(PathBuf),
    /// A file's name without its ending, in one of the [`AdapterFolders`]; of a LoRA also the name that it was trained under.
    Name(String),
    /// A file in memory, of a LoRA or a hypernetwork, and its name. In JSON there is only the name.
    Memory {
        /// Its name, as metadata have it.
        name: String,
        /// The whole file.
        bytes: Bytes,
    },
}

/// A file of LoRA or LyCORIS, and how strongly it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraOptions {
    /// Which.
    pub file: AdapterFile,
    /// What multiplies its changes of the text encoder.
    pub text_encoder: f32,
    /// What multiplies its changes of the UNet.
    pub unet: f32,
    /// How many ranks are used, if not all (DyLoRA).
    pub ranks: Option<usize>,
}

/// A hypernetwork, and how strongly it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct HypernetworkOptions {
    /// Which.
    pub file: AdapterFile,
    /// What multiplies its changes.
    pub strength: f32,
}

/// An embedding, and what prompts call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingOptions {
    /// Its file.
    pub file: PathBuf,
    /// What prompts call it, beside the file's name without its ending and the token in the file.
    pub name: Option<String>,
}
