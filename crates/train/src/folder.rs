//! Where a run is kept.

use std::{
    cell::Cell,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The sets whose latents are kept.
pub(crate) const CACHES: [&str; 2] = ["train", "held_out"];
/// What the names of the checkpoints before the last one begin with, and of all tensors end with.
const KEPT: &str = "checkpoint_";
const ENDING: &str = "safetensors";

/// The output folder of a run, locked against a second process. What was made for a run that did not begin goes with it.
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
    /// Folders and files that were not there before, the innermost first.
    made: Vec<PathBuf>,
    begun: Cell<bool>,
}

impl RunFolder {
    /// Makes the folder, or opens that of a run to be resumed.
    pub(crate) fn open(path: &Path, resume: bool) -> Result<Self> {
        let [samples, lock_path] = [path.join("samples"), path.join(".lock")];
        let is_new = |path: &&Path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err();
        let folders: Vec<PathBuf> = samples.ancestors().take_while(is_new).map(Path::to_owned).collect();
        let files = [CACHES.map(|set| cache(path, set)).as_slice(), std::slice::from_ref(&lock_path)].concat();
        let made = files.into_iter().filter(|file| is_new(&file.as_path())).chain(folders).collect();
        fs::create_dir_all(&samples).map_err(|e| Error::io(&samples, "make the folder", e))?;
        let lock = File::create(&lock_path).map_err(|e| Error::io(&lock_path, "make the lock", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::run(path, "is in use by another run: stop that one or choose another output"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(&lock_path, "lock the run", e)),
        }
        let folder = Self { path: path.to_owned(), _lock: lock, made, begun: Cell::new(false) };
        if !resume && (folder.checkpoint().exists() || folder.metrics().exists()) {
            return Err(Error::run(path, "holds a run already: give --resume to go on, or choose another output"));
        }
        Ok(folder)
    }

    /// From now on the folder stays.
    pub(crate) fn begin(&self) {
        self.begun.set(true);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the checkpoint of step `step`, which is to be written over, under its own name, and of those that were kept the
    /// last `keep`.
    pub(crate) fn keep_checkpoint(&self, step: u64, keep: usize) -> Result<()> {
        let (last, kept) = (self.checkpoint(), self.path.join(format!("{KEPT}{step:06}.{ENDING}")));
        if keep > 0 && last.exists() {
            // One that is there is of another try.
            let _ = fs::remove_file(&kept);
            // Not every file system has links.
            if fs::hard_link(&last, &kept).is_err() {
                fs::copy(&last, &kept).map_err(|e| Error::io(&kept, "keep the checkpoint", e))?;
            }
        }
        let all = self.kept_checkpoints();
        for old in all.iter().take(all.len().saturating_sub(keep)) {
            fs::remove_file(old).map_err(|e| Error::io(old, "remove the old checkpoint", e))?;
        }
        Ok(())
    }

    /// The checkpoints before the last one, by their steps.
    pub(crate) fn kept_checkpoints(&self) -> Vec<PathBuf> {
        let step = |path: &Path| -> Option<u64> {
            let name = path.file_name()?.to_str()?.strip_prefix(KEPT)?;
            name.strip_suffix(ENDING)?.strip_suffix('.')?.parse().ok()
        };
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut kept: Vec<(u64, PathBuf)> =
            entries.map(|entry| entry.path()).filter_map(|path| Some((step(&path)?, path))).collect();
        kept.sort_unstable();
        kept.into_iter().map(|(_, path)| path).collect()
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.path.join(format!("checkpoint.{ENDING}"))
    }

    /// All settings of the run, which make it again.
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("run.toml")
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
        cache(&self.path, set)
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.path.join("model")
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.begun.get() {
            return;
        }
        for path in &self.made {
            // What can't be removed, or has somebody else's files in it, stays.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

fn cache(folder: &Path, set: &str) -> PathBuf {
    folder.join(format!("latents_{set}.{ENDING}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_neither_shared_nor_overwritten() {
        let output = tempfile::tempdir().unwrap();
        let message = |resume| RunFolder::open(output.path(), resume).err().map(|e| e.to_string());
        let first = RunFolder::open(output.path(), false).unwrap();
        first.begin();
        assert!(message(true).unwrap().contains("in use by another run"));
        fs::write(first.metrics(), "").unwrap();
        drop(first);
        assert!(message(false).unwrap().contains("--resume"));
        assert_eq!(message(true), None);
    }

    #[test]
    fn what_was_made_for_no_run_goes() {
        let place = tempfile::tempdir().unwrap();
        let output = place.path().join("runs/first");
        let folder = RunFolder::open(&output, false).unwrap();
        fs::write(folder.cache("train"), "latents").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);

        // What was there stays, and what somebody put there.
        fs::create_dir_all(&output).unwrap();
        fs::write(output.join("latents_train.safetensors"), "before").unwrap();
        let folder = RunFolder::open(&output, false).unwrap();
        fs::write(output.join("samples/mine.txt"), "").unwrap();
        drop(folder);
        let mut left: Vec<_> = fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["latents_train.safetensors", "samples"]);

        let folder = RunFolder::open(&output, false).unwrap();
        folder.begin();
        drop(folder);
        assert!(output.join(".lock").exists());
    }

    #[test]
    fn so_many_checkpoints_are_kept() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(place.path(), false).unwrap();
        let names = |folder: &RunFolder| -> Vec<String> {
            let names = folder.kept_checkpoints();
            names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        for step in [5u64, 10, 15, 1_000_000] {
            fs::write(folder.checkpoint(), step.to_string()).unwrap();
            folder.keep_checkpoint(step, 2).unwrap();
            fs::remove_file(folder.checkpoint()).unwrap();
        }
        assert_eq!(names(&folder), ["checkpoint_000015.safetensors", "checkpoint_1000000.safetensors"]);
        assert_eq!(fs::read_to_string(place.path().join("checkpoint_000015.safetensors")).unwrap(), "15");
        folder.keep_checkpoint(1_000_001, 0).unwrap();
        assert_eq!(names(&folder), Vec::<String>::new());
    }
}
