//! The audit log: what was made, refused, held and released, as lines that can't be changed unseen.
//!
//! A log is a file of JSON lines. Each has a number, the SHA-256 of the line before and its own, over its bytes as they stand: so
//! a line that is changed, left out, put in or moved is found by [`verify()`], with its place. What it can't find is that the last lines
//! are gone, or that all was written anew: for that the head is written elsewhere now and then ([`Log::anchor`]).
//!
//! A line is on the disk before the image that it tells of appears under its name ([`publish`]).
//!
//! ```
//! use calotype_safety::audit::{Entry, Kind, Log, publish, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("audit.jsonl");
//! let mut log = Log::open(&path)?;
//! let entry = Entry { request_id: Some("r-1".into()), ..Entry::new(Kind::Made) };
//! publish(&mut log, entry, b"bytes of an image", &folder.path().join("image.png"))?;
//! assert!(verify(&path, None)?.faults.is_empty());
//! # Ok(())
//! # }
//! ```

mod chain;
mod entry;
mod log;
mod newest;
mod publish;
mod search;
mod verify;

pub use chain::rfc3339;
pub use entry::{Entry, Kind, Prompt, Score};
pub(crate) use log::sync_folder;
pub use log::{Head, Log, Mended, Storage};
pub use newest::Newest;
pub use publish::publish;
pub use search::{Query, search};
pub use verify::{Fault, FaultKind, Report, verify};
