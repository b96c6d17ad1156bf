//! Hashes that say which weights made a picture.

use std::{
    fmt::Write,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    thread,
};

use bytes::Bytes;
use calotype_models::adapters::AdapterWeights;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A file of weights.
pub(crate) struct WeightFile {
    /// What the list of hashes calls it: its path from the model's folder, with `/`.
    pub(crate) name: String,
    pub(crate) source: WeightSource,
}

impl WeightFile {
    /// Files of the folder `folder`, or one file that is given itself.
    pub(crate) fn of_files(folder: &Path, files: Vec<PathBuf>) -> Vec<Self> {
        let name = |file: &Path| {
            let within = file.strip_prefix(folder).ok().filter(|within| *within != Path::new(""));
            within.map(Path::as_os_str).or(file.file_name()).unwrap_or_default().to_string_lossy().replace('\\', "/")
        };
        files.into_iter().map(|file| Self { name: name(&file), source: WeightSource::Disk(file) }).collect()
    }
}

/// The hashes of an adapter's files, hexadecimal, as image metadata have them.
#[derive(Clone, Debug)]
pub struct AdapterHashes {
    /// The SHA-256 of the file; of a folder, as [`Model::hash`](crate::Model::hash) has it.
    pub sha256: String,
    /// A1111's hash of a network: the SHA-256 of a safetensors file without its header, so that changed metadata don't change
    /// it; of others that of the file.
    pub of_data: String,
}

impl AdapterHashes {
    /// Those of the adapter at `path`, a file or a folder.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn new(path: &Path) -> Result<Self> {
        Self::of_files(&WeightFile::of_files(path, AdapterWeights::files(path)))
    }

    /// Those of an adapter in memory.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        // A safetensors file begins with the length of its header.
        let length = bytes.first_chunk().map_or(u64::MAX, |length| u64::from_le_bytes(*length));
        let start = usize::try_from(length.saturating_add(8)).unwrap_or(usize::MAX);
        let is_safetensors = bytes.get(8) == Some(&b'{');
        let data = bytes.get(start..).filter(|_| is_safetensors).unwrap_or(bytes);
        Self { sha256: of_bytes(bytes), of_data: of_bytes(data) }
    }

    pub(crate) fn of_files(files: &[WeightFile]) -> Result<Self> {
        let sha256 = of_weights(files)?;
        let of_data = match files {
            [WeightFile { source: WeightSource::Disk(file), .. }] => {
                of_data(file).map_err(|e| Error::io(file, "read the file", e))?
            }
            _ => sha256.clone(),
        };
        Ok(Self { sha256, of_data })
    }
}

pub(crate) enum WeightSource {
    Disk(PathBuf),
    Memory(Bytes),
}

/// That of the file if there is one; else as `sha256sum FILE… | sha256sum`, over the files sorted by name. Each file in
/// its own thread.
pub(crate) fn of_weights(files: &[WeightFile]) -> Result<String> {
    if let [file] = files {
        return of_file(file);
    }
    let mut files: Vec<&WeightFile> = files.iter().collect();
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let hashes: Vec<Result<String>> = thread::scope(|scope| {
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(|| of_file(file))).collect();
        let lost = || Err(Error::file("model hash", "the thread that computes it stopped"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    });
    let mut list = String::new();
    for (file, hash) in files.iter().zip(hashes) {
        list.push_str(&format!("{}  {}\n", hash?, file.name));
    }
    Ok(of_bytes(list.as_bytes()))
}

/// A1111's hash of a model before 2023: the first 8 digits of the SHA-256 of 64 KiB at 1 MiB of the file
/// (its `sd_models.py`, `model_hash`). There is none of several files.
pub(crate) fn old(files: &[WeightFile]) -> Result<Option<String>> {
    const START: usize = 0x100000;
    const LENGTH: usize = 0x10000;
    const DIGITS: usize = 8;
    let [file] = files else { return Ok(None) };
    let hash = match &file.source {
        WeightSource::Memory(bytes) => {
            let part = bytes.get(START..).unwrap_or_default();
            of_bytes(&part[..part.len().min(LENGTH)])
        }
        WeightSource::Disk(path) => {
            let part = calotype_files::open(path).and_then(|mut file| {
                file.seek(SeekFrom::Start(START as u64))?;
                of_stream(file.take(LENGTH as u64))
            });
            part.map_err(|e| Error::io(path, "read the file", e))?
        }
    };
    Ok(Some(hash.chars().take(DIGITS).collect()))
}

fn of_file(file: &WeightFile) -> Result<String> {
    match &file.source {
        WeightSource::Memory(bytes) => Ok(of_bytes(bytes)),
        WeightSource::Disk(path) => {
            calotype_files::open(path).and_then(of_stream).map_err(|e| Error::io(path, "read the file", e))
        }
    }
}

/// The SHA-256 of a safetensors file without its header, as kohya's sd-scripts and A1111 hash networks, so that changed
/// metadata don't change it; that of the file for others.
fn of_data(path: &Path) -> io::Result<String> {
    let mut file = calotype_files::open(path)?;
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors")) {
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        file.seek(SeekFrom::Start(u64::from_le_bytes(length).saturating_add(8)))?;
    }
    of_stream(file)
}

/// The SHA-256 of what a reader gives.
pub(crate) fn of_stream(mut stream: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// The SHA-256 of bytes, as 64 hexadecimal digits.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    /// 64 KiB of zeros from 1 MiB on, among other bytes.
    #[test]
    fn old_hashes_are_of_a_part() {
        let mut bytes = vec![7; 0x120000];
        bytes[0x100000..0x110000].fill(0);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let weights = |source| WeightFile { name: "a".into(), source };
        let disk = || weights(WeightSource::Disk(file.path().to_owned()));
        assert_eq!(old(&[weights(WeightSource::Memory(bytes.into()))]).unwrap().as_deref(), Some("de2f2560"));
        assert_eq!(old(&[disk()]).unwrap().as_deref(), Some("de2f2560"));
        assert_eq!(old(&[disk(), disk()]).unwrap(), None);
        // Of less there is nothing to hash.
        assert_eq!(old(&[weights(WeightSource::Memory(Bytes::new()))]).unwrap().as_deref(), Some("e3b0c442"));
    }
}
