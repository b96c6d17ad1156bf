//! A place beside the output where it is made, and from which it is moved when it is whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, Result};

/// A folder that is removed in the end, with what is still in it.
pub(super) struct Stage(PathBuf);

impl Stage {
    /// Makes it in the folder of `output`.
    pub(super) fn beside(output: &Path) -> Result<Self> {
        let parent = match output.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, "make the folder", e))?;
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!(".calotype-{}-{count}.tmp", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a killed process that had the same number.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(&path, "make the folder", e)),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a small file; folders on the way to it are made.
    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make the folder", e))?;
        }
        fs::write(&path, contents).map_err(|e| Error::io(&path, "write the file", e))
    }

    /// Moves what is `within` here to `output`.
    pub(super) fn publish(&self, within: &str, output: &Path) -> Result<()> {
        let from = if within.is_empty() { self.0.clone() } else { self.0.join(within) };
        fs::rename(&from, output).map_err(|e| Error::io(output, "move the finished files to it", e))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nothing is there when the whole folder was moved; else what is left is of no use.
        let _ = fs::remove_dir_all(&self.0);
    }
}
