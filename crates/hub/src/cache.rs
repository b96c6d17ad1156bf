//! The cache's layout, as `huggingface_hub` has it:
//!
//! ```text
//! models--org--name/blobs/<SHA-256, or git's SHA-1>    the files, each once
//! models--org--name/snapshots/<commit>/<path>          relative links to them
//! models--org--name/refs/<revision>                    which commit a branch or tag was
//! .locks/models--org--name/<blob>.lock                 held while the blob is downloaded
//! ```
//!
//! `.calotype-licenses.json` beside `refs` is our own. A blob under way is `<blob>.incomplete`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use calotype_formats::write_atomic;

use crate::{Error, Event, ModelId, Result, Watch, id::is_commit, select::INDEX};

/// How often a lock is tried that another process holds.
const TICK: Duration = Duration::from_millis(50);

/// So that programs for backups leave the cache out: <https://bford.info/cachedir/>.
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of models of the Hugging Face hub.\n";

/// The longest file that says which commit a revision is.
const LONGEST_REF: u64 = 1024;

/// A cache of models.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in a folder, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a pulled model is: its folder, or its file if the folder has one single model file and no index.
    #[must_use]
    pub fn find(&self, id: &ModelId) -> Option<PathBuf> {
        let repository = self.repository(id.repository());
        let commit = repository.commit(id.revision())?;
        let snapshot = repository.snapshot(&commit);
        snapshot.is_dir().then(|| model_in(snapshot))
    }

    /// The folder of a model.
    pub(crate) fn repository(&self, repository: &str) -> Repository {
        let name = format!("models--{}", repository.replace('/', "--"));
        Repository { folder: self.root.join(&name), locks: self.root.join(".locks").join(&name) }
    }

    /// Makes the folder.
    pub(crate) fn create(&self) -> Result<()> {
        create_folder(&self.root)?;
        let tag = self.root.join("CACHEDIR.TAG");
        // Somebody else's is as good, and none does no harm.
        if let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(tag) {
            let _ = file.write_all(TAG.as_bytes());
        }
        Ok(())
    }
}

/// What to open of a snapshot.
fn model_in(snapshot: PathBuf) -> PathBuf {
    if snapshot.join(INDEX).exists() || snapshot.join("config.json").exists() {
        return snapshot;
    }
    let entries = fs::read_dir(&snapshot).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_model = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors" || ending == "ckpt");
    let mut models = entries.filter(is_model);
    match (models.next(), models.next()) {
        (Some(model), None) => model,
        _ => snapshot,
    }
}

/// A model's folder in the cache.
pub(crate) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    /// The commit that a revision was when it was pulled.
    fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let file = self.reference(revision);
        let text = calotype_files::read_text(&file, LONGEST_REF).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// What to open of the snapshot of a commit.
    pub(crate) fn model(&self, commit: &str) -> PathBuf {
        model_in(self.snapshot(commit))
    }

    /// Where a file of a commit is seen.
    pub(crate) fn pointer(&self, commit: &str, path: &str) -> PathBuf {
        self.snapshot(commit).join(path)
    }

    pub(crate) fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    pub(crate) fn incomplete(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{name}.incomplete"))
    }

    /// The notes of accepted licences.
    pub(crate) fn licenses(&self) -> PathBuf {
        self.folder.join(".calotype-licenses.json")
    }

    /// Makes the folders that every model has.
    pub(crate) fn create(&self) -> Result<()> {
        ["blobs", "snapshots", "refs"].iter().try_for_each(|name| create_folder(&self.folder.join(name)))
    }

    /// Waits until no other process downloads the blob, and keeps others from it until the file is dropped.
    pub(crate) fn lock(&self, blob: &str, path: &str, watch: &mut dyn Watch) -> Result<File> {
        create_folder(&self.locks)?;
        let name = self.locks.join(format!("{blob}.lock"));
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&name);
        let file = open.map_err(|error| Error::io(&name, "create it", error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks: the rename at the end is atomic all the same.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(Error::io(&name, "lock it", error)),
            }
            if watch.event(Event::Locked { path }).is_break() {
                return Err(Error::Stopped);
            }
            thread::sleep(TICK);
        }
    }

    /// Shows a blob as a file of a commit.
    pub(crate) fn link(&self, blob: &str, commit: &str, path: &str) -> Result<()> {
        let pointer = self.pointer(commit, path);
        if let Some(folder) = pointer.parent() {
            create_folder(folder)?;
        }
        let target = self.blob(blob);
        // Up from the file's folder to the commit, to `snapshots`, to the model's folder.
        let mut relative: PathBuf = ["..", ".."].iter().collect();
        path.split('/').skip(1).for_each(|_| relative.push(".."));
        relative.push("blobs");
        relative.push(blob);
        // Whatever was there points to nothing, or to another content.
        match fs::remove_file(&pointer) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(&pointer, "replace it", error)),
            _ => {}
        }
        let linked = symlink(&relative, &pointer).or_else(|error| match error.kind() {
            // Another process was faster.
            ErrorKind::AlreadyExists => Ok(()),
            // Without symbolic links: a second name, else a copy.
            _ => fs::hard_link(&target, &pointer).or_else(|_| fs::copy(&target, &pointer).map(|_| ())),
        });
        linked.map_err(|error| Error::io(&pointer, "link it", error))
    }

    /// Notes which commit a revision is.
    pub(crate) fn set_reference(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let file = self.reference(revision);
        if let Some(folder) = file.parent() {
            create_folder(folder)?;
        }
        Ok(write_atomic(&file, |writer| writer.write_all(commit.as_bytes()))?)
    }
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create it", error))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
