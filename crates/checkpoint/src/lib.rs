//! Model files of Stable Diffusion: find them, open them, say what they are, verify, convert and hash them.
//!
//! ```no_run
//! use calotype_checkpoint::{Inspection, Model, ModelOptions, inspect};
//!
//! # fn main() -> calotype_checkpoint::Result<()> {
//! let model = Model::open("sd-v1-4.ckpt")?;
//! println!("{}: images of {:?} pixels, SHA-256 {}", model.name(), model.default_size(), model.hash()?);
//!
//! if let Inspection::File(file) = inspect("ink.safetensors", &ModelOptions::default())? {
//!     println!("{}: {}", file.path, file.what);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Model`] has no weights in memory: its networks ([`NetworkFiles`]) read them onto a backend when they are asked to.
//! What a file is, is detected from its content and never from its name; nothing in a file is ever run.

#[cfg(feature = "builtin")]
mod builtin;
mod convert;
mod error;
mod files;
pub mod hash;
mod inspect;
mod license;
mod list;
mod model;
mod network;
mod open;
mod options;
mod saved_scheduler;
mod scheduler;
mod tokenizer;
mod verify;
mod vocabulary;

pub use calotype_formats::DType;
pub use calotype_models::WeightSet;
pub use convert::{ConvertOptions, ConvertTo, Progress, convert, model_index};
pub use error::{Error, Result, brief, show};
pub use inspect::{
    AdapterFit, AdapterInspection, Alpha, EmbeddingInspection, FileInspection, HypernetworkInspection, Inspection,
    LoraInspection, ModelInspection, SchedulerInspection, TensorGroup, Training, WeightSets, inspect, inspect_for,
};
pub use license::{License, LicenseSource, USE_RESTRICTIONS};
pub use list::{Listed, ListedKind, cache_folder, data_folder, list, usual_places};
pub use model::{MAX_SIDE, Model, ZERO_TERMINAL_SNR};
pub use network::NetworkFiles;
pub use options::ModelOptions;
pub use saved_scheduler::SavedScheduler;
pub use tokenizer::TokenizerFolder;
pub use verify::{Verification, verify};
pub use vocabulary::{UnknownWord, VOCABULARY, Vocabulary};
