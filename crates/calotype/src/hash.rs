//! Hashes that say which weights made a picture.

use std::{fmt::Write, io::Read, thread};

use sha2::{Digest, Sha256};

use crate::{Error, Result, files::Files};

/// As `sha256sum FILE… | sha256sum`, over the weight files sorted by path. Each file in its own thread.
pub(crate) fn of_weights(files: &Files, places: &[(&str, &str)]) -> Result<String> {
    let mut paths = Vec::new();
    for &(folder, basename) in places {
        paths.extend(files.weight_paths(folder, basename)?);
    }
    paths.sort_unstable();
    let hashes: Vec<Result<String>> = thread::scope(|scope| {
        let threads: Vec<_> = paths.iter().map(|path| scope.spawn(|| of_file(files, path))).collect();
        let lost = || Err(Error::file("model hash", "the thread that computes it stopped"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    });
    let mut list = String::new();
    for (path, hash) in paths.iter().zip(hashes) {
        list.push_str(&format!("{}  {path}\n", hash?));
    }
    Ok(of_bytes(list.as_bytes()))
}

fn of_file(files: &Files, path: &str) -> Result<String> {
    let read = |e| Error::Io { file: files.label(path), action: "read the file", source: e };
    of_stream(files.stream(path)?).map_err(read)
}

/// The SHA-256 of what a reader gives.
pub(crate) fn of_stream(mut stream: impl Read) -> std::io::Result<String> {
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
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
