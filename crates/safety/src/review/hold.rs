//! Holding an image.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{HIDDEN, HeldImage, RECORD};
use crate::audit::{Entry, rfc3339};
use crate::digest::sha256;
use crate::error::{Error, Result};

/// An image that is about to be held. Its original is on the disk, in a folder that does not have its name yet; that folder goes away
/// if the image is not held.
#[derive(Debug)]
pub struct Holding {
    /// Where its files are.
    staged: PathBuf,
    /// Where they are to be.
    folder: PathBuf,
    image: HeldImage,
    is_held: bool,
}

impl Holding {
    /// Stages an image in the folder of held images, which is made if need be: `original` is its file, which ends in `ending`, `entry`
    /// the line of that file in the audit log but for its hash, and `reason` why it is held.
    ///
    /// # Errors
    /// [`Error::Write`] when the files can't be written, [`Error::Random`] when there is no random id.
    pub fn new(folder: &Path, original: &[u8], ending: &str, entry: Entry, reason: &str) -> Result<Self> {
        make_folder(folder)?;
        let id = format!("{:016x}", crate::watermark::random_id()?);
        let staged = folder.join(format!("{HIDDEN}{id}.tmp"));
        private_folder(&staged).map_err(|source| Error::Write { path: staged.clone(), source })?;
        let image = HeldImage {
            time: rfc3339(SystemTime::now()),
            path: PathBuf::new(),
            original: format!("original.{ending}"),
            shown_sha256: String::new(),
            reason: reason.to_owned(),
            log: None,
            entry: entry.of_original(&id, original),
            id,
        };
        let holding = Self { folder: folder.join(&image.id), staged, image, is_held: false };
        let path = holding.staged.join(&holding.image.original);
        write_private(&path, original).map_err(|source| Error::Write { path, source })?;
        Ok(holding)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.image.id
    }

    /// Holds it: `shown` is the file of the blurred copy that is about to stand at `path`, `log` where the audit log is, and `record`
    /// writes the line that it is given. After an error of that nothing is held. Where the name turns out to be taken it is called
    /// again with another.
    ///
    /// # Errors
    /// [`Error::Write`] when the files can't be written, or what `record` gives.
    pub fn hold<E: From<Error>>(
        &mut self,
        path: &Path,
        shown: &[u8],
        log: Option<&Path>,
        record: impl FnOnce(Entry) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let image = &mut self.image;
        image.path = absolute(path);
        image.shown_sha256 = sha256(shown);
        image.log = log.map(absolute);
        let entry = image.entry.held(path, shown);
        self.write_record()?;
        record(entry)?;
        if !self.is_held {
            let failed = |source| Error::Write { path: self.folder.clone(), source };
            fs::rename(&self.staged, &self.folder).map_err(failed)?;
            self.is_held = true;
            sync(&self.folder).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the record whole, and brings the names of the image's files onto the disk.
    fn write_record(&self) -> Result<()> {
        let folder = if self.is_held { &self.folder } else { &self.staged };
        let (path, new) = (folder.join(RECORD), folder.join(format!("{HIDDEN}{RECORD}")));
        let write = || {
            write_private(&new, &serde_json::to_vec(&self.image)?)?;
            fs::rename(&new, &path)?;
            sync(&path)
        };
        write().map_err(|source| Error::Write { path: path.clone(), source })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if !self.is_held {
            let _ = fs::remove_dir_all(&self.staged);
        }
    }
}

/// Makes a folder of held images, readable by its owner alone, and finds out whether something can be written there. One that is there
/// stays as it is: what is held in it has a folder of its own.
///
/// # Errors
/// [`Error::Write`] when it can't be made.
pub fn make_folder(folder: &Path) -> Result<()> {
    let failed = |source| Error::Write { path: folder.to_owned(), source };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match private_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made.map_err(failed)?,
    }
    let probe = folder.join(format!("{HIDDEN}{}.probe", std::process::id()));
    write_private(&probe, &[]).map_err(failed)?;
    fs::remove_file(&probe).map_err(failed)
}

/// Makes a folder that its owner alone can look into.
fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that its owner alone can read, onto the disk.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(file: &Path) -> io::Result<()> {
    crate::audit::sync_folder(file)
}
