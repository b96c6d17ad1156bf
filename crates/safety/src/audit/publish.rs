//! An image appears after its line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::log::sync_folder;
use super::{Entry, Head, Log, Storage};
use crate::digest::sha256;
use crate::error::{Error, Result};

/// Writes an image's file so that it never stands under its name without its line in the log, nor in half: the bytes go into a
/// hidden file beside it, then the line is written and synced, then the file gets its name. The entry gets the file's name and hash.
///
/// After a crash in between there is a line without an image, and perhaps a hidden file that ends in `.partial`.
///
/// # Errors
/// [`Error::Write`] when the file can't be written; of the log what [`Log::append`] gives. In both cases there is no image.
pub fn publish<S: Storage>(log: &mut Log<S>, entry: Entry, bytes: &[u8], path: &Path) -> Result<Head> {
    let failed = |source: io::Error| Error::Write { path: path.into(), source };
    let name = path.file_name().ok_or_else(|| failed(io::Error::other("it names no file")))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".partial");
    let partial = path.with_file_name(hidden);

    let write = || {
        let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let remove = |error: Error| {
        // What is left of it does no harm.
        let _ = fs::remove_file(&partial);
        error
    };
    write().map_err(|source| remove(failed(source)))?;
    let entry = Entry { file_sha256: Some(sha256(bytes)), file: Some(name.to_string_lossy().into_owned()), ..entry };
    let head = log.append(&entry).map_err(remove)?;
    fs::rename(&partial, path).map_err(|source| remove(failed(source)))?;
    sync_folder(path).map_err(failed)?;
    Ok(head)
}
