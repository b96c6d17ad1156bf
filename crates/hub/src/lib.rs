//! Models of the [Hugging Face hub](https://huggingface.co): its protocol and its cache.
//!
//! A pull has four steps, so that a program can ask between them: [`Hub::model`] says what there is and under which
//! licence, [`Hub::plan`] picks files and learns their sizes and checksums, [`Hub::accept`] notes that the licence is
//! accepted, [`Hub::download`] fetches the files that the cache lacks. What happens meanwhile goes to a [`Watch`]; nothing
//! is printed. [`find`] looks a model up in the cache and never uses the network.
//!
//! The cache has the layout of Python's `huggingface_hub`
//! ([documentation](https://huggingface.co/docs/huggingface_hub/guides/manage-cache)), so each reads what the other
//! wrote. A download that was cut off goes on where it stopped, and no file is seen in the cache before its size and
//! its SHA-256 (or, for small files, git's SHA-1) are right.
//!
//! All outgoing use of the network is in this crate, so what a server tells others ([`Webhook`]) is here too.

mod api;
mod cache;
mod client;
mod digest;
mod disk;
mod download;
mod environment;
mod error;
mod glob;
mod id;
pub mod license;
mod names;
mod pull;
mod retry;
mod select;
mod tls;
mod url;
mod watch;
mod webhook;

pub use api::{ModelInfo, RemoteFile};
pub use cache::Cache;
pub use disk::{Disk, SystemDisk};
pub use environment::{Environment, Token};
pub use error::{Error, Result};
pub use id::ModelId;
pub use license::License;
pub use pull::{Hub, Options, Plan, Planned};
pub use select::Selection;
pub use url::Url;
pub use watch::{Event, Silent, Watch};
pub use webhook::{Messenger, Webhook, is_public};

use std::path::PathBuf;

/// Where the cache of this environment has a model: a diffusers folder, or the file of a model that is a single file.
///
/// `id` is `org/name` or `org/name@revision`. None if that is no such name, or if the model was not pulled.
#[must_use]
pub fn find(id: &str) -> Option<PathBuf> {
    let environment = Environment::read().ok()?;
    Cache::new(environment.cache).find(&id.parse().ok()?)
}
