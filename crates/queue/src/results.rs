//! The files that jobs end in.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A folder of files by the SHA-256 of their bytes: `ab/cdef…`. The same bytes are there once, whoever made them.
#[derive(Clone, Debug)]
pub struct Results {
    folder: PathBuf,
}

impl Results {
    /// Those in `folder`, which is made if it isn't there.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| Error::results(folder, "make the folder", error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Keeps bytes, and gives their SHA-256. They are on the disk under their name when this returns.
    ///
    /// # Errors
    /// The disk is full or fails: nothing is left under the name.
    pub fn put(&self, bytes: &[u8]) -> Result<String> {
        let sha256 = sha256_of(bytes);
        let path = self.path(&sha256)?;
        let fail = |error: &dyn ToString| Error::results(&path, "be written", error.to_string());
        if fs::read(&path).is_ok_and(|found| found == bytes) {
            // It is as new as its youngest user.
            let file = fs::File::options().append(true).open(&path).map_err(|error| fail(&error))?;
            file.set_modified(SystemTime::now()).map_err(|error| fail(&error))?;
            return Ok(sha256);
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder).map_err(|error| fail(&error))?;
            // That the folder is there must outlive a power cut too.
            sync(&self.folder).map_err(|error| fail(&error))?;
        }
        calotype_formats::write_atomic(&path, |file: &mut dyn Write| file.write_all(bytes))
            .map_err(|error| fail(&error))?;
        Ok(sha256)
    }

    /// The bytes of a result.
    ///
    /// # Errors
    /// There is none of this name, or its bytes are no longer those that were put.
    pub fn get(&self, sha256: &str) -> Result<Vec<u8>> {
        let path = self.path(sha256)?;
        let bytes = fs::read(&path).map_err(|error| Error::results(&path, "be read", error))?;
        if sha256_of(&bytes) == sha256 {
            Ok(bytes)
        } else {
            Err(Error::results(&path, "be read", "its bytes have changed"))
        }
    }

    /// How long ago a result was put.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn age(&self, sha256: &str) -> Result<Duration> {
        let path = self.path(sha256)?;
        let changed = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let changed = changed.map_err(|error| Error::results(&path, "be read", error))?;
        // A clock that was set back makes it new.
        Ok(changed.elapsed().unwrap_or_default())
    }

    /// Removes a result, if it is there.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, sha256: &str) -> Result<()> {
        let path = self.path(sha256)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::results(&path, "be removed", error)),
            _ => Ok(()),
        }
    }

    /// Every result there is, and removes what a write that was cut off has left. For when nobody writes.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn all(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for folder in entries(&self.folder)?.into_iter().filter(|path| path.is_dir()) {
            for path in entries(&folder)? {
                let name =
                    |path: &Path| path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
                let sha256 = name(&folder) + &name(&path);
                if is_sha256(&sha256) {
                    all.push(sha256);
                } else if name(&path).ends_with(".tmp") {
                    fs::remove_file(&path).map_err(|error| Error::results(&path, "be removed", error))?;
                }
            }
        }
        all.sort();
        Ok(all)
    }

    fn path(&self, sha256: &str) -> Result<PathBuf> {
        match sha256.split_at_checked(2) {
            Some((folder, name)) if is_sha256(sha256) => Ok(self.folder.join(folder).join(name)),
            _ => Err(Error::Results(format!(
                "{:?} is not the SHA-256 of a result",
                sha256.chars().take(80).collect::<String>()
            ))),
        }
    }
}

/// In hexadecimal.
fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error| Error::results(folder, "be read", error);
    fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.path())).collect()
}

fn sync(folder: &Path) -> io::Result<()> {
    // Only Unix lets a folder be synced.
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_by_their_hash() {
        let folder = tempfile::tempdir().unwrap();
        let results = Results::open(&folder.path().join("results")).unwrap();
        let fox = results.put(b"fox").unwrap();
        assert_eq!(fox, "776cb326ab0cd5f0a974c1b9606044d8485201f2db19cf8e3749bdee5f36e200");
        assert_eq!(results.put(b"fox").unwrap(), fox);
        assert!(results.age(&fox).unwrap() < Duration::from_secs(600));
        assert_eq!(results.get(&fox).unwrap(), b"fox");
        assert_eq!(results.all().unwrap(), std::slice::from_ref(&fox));

        // What was cut off goes, what has changed is told, and is mended by putting it again.
        let path = results.path(&fox).unwrap();
        fs::write(path.with_file_name(".calotype-1.tmp"), "f").unwrap();
        assert_eq!(results.all().unwrap().len(), 1);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&path, "fix").unwrap();
        assert!(results.get(&fox).unwrap_err().to_string().ends_with("its bytes have changed"));
        results.put(b"fox").unwrap();
        assert_eq!(results.get(&fox).unwrap(), b"fox");

        results.remove(&fox).unwrap();
        results.remove(&fox).unwrap();
        assert!(results.get(&fox).is_err());
    }

    #[test]
    fn only_hashes_are_names() {
        let folder = tempfile::tempdir().unwrap();
        let results = Results::open(folder.path()).unwrap();
        for name in ["", "a", "../../etc/passwd", &"A".repeat(64), &format!("..{}", "a".repeat(62)), "ä"] {
            assert!(results.get(name).unwrap_err().to_string().contains("is not the SHA-256"), "{name}");
        }
    }
}
