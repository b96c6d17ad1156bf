//! An image appears after its line.

use std::path::Path;

use calotype_formats::write_atomic_after;

use super::log::sync_folder;
use super::{Entry, Head, Log, Storage};
use crate::digest::sha256;
use crate::error::{Error, Result};

impl Entry {
    /// This entry for a file: with its name and the hash of its bytes.
    #[must_use]
    pub fn of_file(self, path: &Path, bytes: &[u8]) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { file_sha256: Some(sha256(bytes)), file: name, ..self }
    }
}

/// Writes an image's file so that it never stands under its name without its line in the log, nor in half: the bytes go into a
/// temporary file beside it, then the line is written and synced, then the file gets its name. The entry gets the file's name and hash.
///
/// After a crash in between there is a line without an image, and perhaps a temporary file, `.calotype-*.tmp`.
///
/// # Errors
/// [`Error::File`] when the file can't be written; of the log what [`Log::append`] gives. In both cases there is no image.
pub fn publish<S: Storage>(log: &mut Log<S>, entry: Entry, bytes: &[u8], path: &Path) -> Result<Head> {
    let entry = entry.of_file(path, bytes);
    let mut head = log.head().clone();
    write_atomic_after(
        path,
        |writer| writer.write_all(bytes),
        || -> Result<()> {
            head = log.append(&entry)?;
            Ok(())
        },
    )?;
    sync_folder(path).map_err(|source| Error::Write { path: path.into(), source })?;
    Ok(head)
}
