//! Images that wait for a person: their originals lie apart, where only the owner of the folder can read them, while a blurred copy
//! stands under the name that was asked for.
//!
//! Each held image has a folder of its own in the folder of held images, named by its id, with `record.json` ([`HeldImage`]) and the
//! original's file. It is made elsewhere and gets its name in one step, after the line of the audit log and before the blurred copy
//! appears ([`Holding`]); it is taken away in one step, after the decision is in the log ([`Held::release`], [`Held::reject`]). So
//! whatever is killed when, an image is held with both its files or not at all, and nothing is shown without its line.
//!
//! ```
//! use calotype_safety::{
//!     Error,
//!     audit::{Entry, Kind, Log, publish},
//!     review::{Decision, Holding, find, list},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let (held, image) = (folder.join("held"), folder.join("image.png"));
//! let mut log = Log::open(folder.join("audit.jsonl"))?;
//! let mut holding = Holding::new(&held, b"the image", "png", Entry::new(Kind::Made), "nsfw 0.97")?;
//! let id = holding.id().to_owned();
//! holding.hold(&image, b"its blurred copy", None, |entry| log.append(&entry).map(drop))?;
//! std::fs::write(&image, b"its blurred copy")?;
//!
//! assert_eq!(list(&held)?.len(), 1);
//! let decision = Decision { who: "ada".into(), reason: Some("a statue".into()) };
//! find(&held, &id)?.release(&mut log, &decision, None)?;
//! assert_eq!(std::fs::read(&image)?, b"the image");
//! # Ok(())
//! # }
//! ```

mod decide;
mod hold;
mod lines;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audit::Entry;
use crate::digest::sha256;
use crate::error::{Error, Result};

pub use decide::Decision;
pub use hold::{Holding, make_folder};

/// What is known of a held image, in its folder.
const RECORD: &str = "record.json";
/// A record is far smaller.
const MAX_RECORD: u64 = 64 << 20;
/// What the names of folders that are not held images begin with: those that are being made or taken away.
const HIDDEN: &str = ".calotype-";
/// What the names of those end with that were decided on: nobody needs them.
const GONE: &str = ".gone";

/// What is known of a held image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldImage {
    /// Its id, 16 hexadecimal digits.
    pub id: String,
    /// When it was held, in UTC.
    pub time: String,
    /// The name that was asked for, under which the blurred copy stands.
    pub path: PathBuf,
    /// The name of the original's file in the folder of this image.
    pub original: String,
    /// SHA-256 of the blurred copy's file.
    pub shown_sha256: String,
    /// Which scores ask for it to be held.
    pub reason: String,
    /// The audit log that has its line, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// The line that the original gets when it is decided on, but for who and why: prompt, scores, hashes of its file and its pixels.
    pub entry: Entry,
}

/// A held image.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its folder.
    folder: PathBuf,
    image: HeldImage,
}

/// The held images of a folder, the oldest first; of a folder of images with a folder `held` in it those in there. What can't be read
/// is told for itself. What a killed decision left is tidied away.
///
/// # Errors
/// The folder can't be read.
pub fn list(folder: &Path) -> Result<Vec<Result<Held>>> {
    let folder = &held_folder(folder);
    let failed = |source| Error::Read { path: folder.clone(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(HIDDEN) {
            if name.ends_with(GONE) {
                let _ = fs::remove_dir_all(entry.path());
            }
            continue;
        }
        if !entry.path().is_dir() {
            continue;
        }
        match Held::open(entry.path()) {
            Ok(held) if held.is_released() => held.remove()?,
            held => found.push(held),
        }
    }
    let key = |held: &Result<Held>| held.as_ref().ok().map(|held| (held.image.time.clone(), held.image.id.clone()));
    found.sort_by_key(key);
    Ok(found)
}

/// The held image whose id is or begins with `id`, as [`list`] finds it.
///
/// # Errors
/// There is none, there are several, or it can't be read.
pub fn find(folder: &Path, id: &str) -> Result<Held> {
    let folder = &held_folder(folder);
    let refuse = |problem: String| Error::Held { path: folder.clone(), problem };
    let entries = fs::read_dir(folder).map_err(|source| Error::Read { path: folder.clone(), source })?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_meant = |name: &String| !id.is_empty() && !name.starts_with(HIDDEN) && name.starts_with(id);
    let mut found: Vec<String> = names.filter(is_meant).collect();
    match (found.pop(), found.len()) {
        (Some(name), 0) => Held::open(folder.join(name)),
        (None, _) => Err(refuse(format!("no image with the id {id} is held there"))),
        (Some(_), more) => Err(refuse(format!("{} ids begin with {id}: give more of it", more + 1))),
    }
}

/// The folder of held images that is meant by a folder: itself, or the one within.
fn held_folder(folder: &Path) -> PathBuf {
    let within = folder.join(FOLDER);
    if within.is_dir() { within } else { folder.to_owned() }
}

/// What the folder of held images is called where nobody says otherwise, beside the images.
pub const FOLDER: &str = "held";

impl Held {
    fn open(folder: PathBuf) -> Result<Self> {
        let path = folder.join(RECORD);
        let text = calotype_files::read_text(&path, MAX_RECORD)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        let refuse = |problem: String| Error::Held { path: path.clone(), problem };
        let image: HeldImage =
            serde_json::from_str(&text).map_err(|error| refuse(format!("not the record of a held image: {error}")))?;
        // It names a file of its folder, and nothing else.
        if Path::new(&image.original).file_name().is_none_or(|name| *name != *image.original) {
            return Err(refuse(format!("{:?} is no name of a file", image.original)));
        }
        Ok(Self { folder, image })
    }

    /// What is known of it.
    #[must_use]
    pub fn image(&self) -> &HeldImage {
        &self.image
    }

    /// Where its original is.
    #[must_use]
    pub fn original_path(&self) -> PathBuf {
        self.folder.join(&self.image.original)
    }

    /// The original's file.
    ///
    /// # Errors
    /// It can't be read, or was changed since it was held.
    pub fn original(&self) -> Result<Vec<u8>> {
        let path = self.original_path();
        let bytes = fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        match self.image.entry.file_sha256.as_ref() == Some(&sha256(&bytes)) {
            true => Ok(bytes),
            false => Err(Error::Held { path, problem: "it was changed since it was held".to_owned() }),
        }
    }

    /// Whether the original stands under its name already: a release was killed before it had tidied up.
    fn is_released(&self) -> bool {
        // Of images that are not of the same size nothing need be read.
        let size = |path: &Path| fs::metadata(path).ok().map(|data| data.len());
        let path = &self.image.path;
        size(path).is_some() && size(path) == size(&self.original_path()) && {
            fs::read(path).is_ok_and(|bytes| self.image.entry.file_sha256.as_ref() == Some(&sha256(&bytes)))
        }
    }

    /// Takes it away, all at once to see.
    fn remove(&self) -> Result<()> {
        let failed = |source| Error::Write { path: self.folder.clone(), source };
        let gone = self.folder.with_file_name(format!("{HIDDEN}{}{GONE}", self.image.id));
        match fs::rename(&self.folder, &gone) {
            // Another process has tidied it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(failed)?,
        }
        match fs::remove_dir_all(&gone) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Keeps other processes from deciding on it as long as the file is open.
    fn lock(&self) -> Result<File> {
        let path = self.folder.join(RECORD);
        let file = File::open(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let refuse = |problem: &str| Error::Held { path: self.folder.clone(), problem: problem.to_owned() };
        file.try_lock().map_err(|_| refuse("another process is deciding on it"))?;
        if path.exists() { Ok(file) } else { Err(refuse("it was decided on meanwhile")) }
    }
}
