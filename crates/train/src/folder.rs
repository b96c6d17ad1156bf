//! Where a run is kept.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The output folder of a run, locked against a second process.
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder, or opens that of a run to be resumed.
    pub(crate) fn open(path: &Path, resume: bool) -> Result<Self> {
        let samples = path.join("samples");
        fs::create_dir_all(&samples).map_err(|e| Error::io(&samples, "make the folder", e))?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(|e| Error::io(&lock_path, "make the lock", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::run(path, "is in use by another run: stop that one or choose another output"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(&lock_path, "lock the run", e)),
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        if !resume && (folder.checkpoint().exists() || folder.metrics().exists()) {
            return Err(Error::run(path, "holds a run already: give --resume to go on, or choose another output"));
        }
        Ok(folder)
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    pub(crate) fn chart(&self) -> PathBuf {
        self.path.join("loss.png")
    }

    pub(crate) fn sample(&self, step: u64) -> PathBuf {
        self.path.join("samples").join(format!("step_{step:06}.png"))
    }

    /// Where the latents of a set of pictures are kept.
    pub(crate) fn cache(&self, set: &str) -> PathBuf {
        self.path.join(format!("latents_{set}.safetensors"))
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.path.join("model")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_neither_shared_nor_overwritten() {
        let output = tempfile::tempdir().unwrap();
        let message = |resume| RunFolder::open(output.path(), resume).err().map(|e| e.to_string());
        let first = RunFolder::open(output.path(), false).unwrap();
        assert!(message(true).unwrap().contains("in use by another run"));
        fs::write(first.metrics(), "").unwrap();
        drop(first);
        assert!(message(false).unwrap().contains("--resume"));
        assert_eq!(message(true), None);
    }
}
