//! Deciding on a held image.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use calotype_formats::{write_atomic_after, write_new};

use super::Held;
use crate::audit::{Log, Storage, sync_folder};
use crate::digest::sha256;
use crate::error::{Error, Result};

/// Who decides, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The id of a person.
    pub who: String,
    /// Why, in that person's words.
    pub reason: Option<String>,
}

impl Held {
    /// Gives the original out, byte for byte: after the decision is in the log it takes the blurred copy's place, or stands at `output`,
    /// where nothing may be yet. Gives its path. A release that was killed is finished by another one.
    ///
    /// # Errors
    /// [`Error::Held`] when the original was changed, or something else stands under its name; [`Error::Audit`] of the log. Then the
    /// image is held as before.
    pub fn release<S: Storage>(&self, log: &mut Log<S>, decision: &Decision, output: Option<&Path>) -> Result<PathBuf> {
        let _lock = self.lock()?;
        let original = self.original()?;
        let path = output.unwrap_or(&self.image.path);
        let mut record = || log.append(&self.image.entry.released(decision)).map(drop);
        let refuse = |problem: &str| Error::Held { path: path.to_owned(), problem: problem.to_owned() };
        if output.is_some() {
            if !write_new(path, |writer| writer.write_all(&original), &mut record)? {
                return Err(refuse("there is a file already: give another name"));
            }
        } else if !self.is_released() {
            match fs::read(path) {
                Ok(bytes) if sha256(&bytes) == self.image.shown_sha256 => {}
                Ok(_) => {
                    let problem =
                        "it is not the blurred copy of the held image any more: release that one under another name";
                    return Err(refuse(problem));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
            }
            write_atomic_after(path, |writer| writer.write_all(&original), record)?;
        }
        sync_folder(path).map_err(|source| Error::Write { path: path.to_owned(), source })?;
        self.remove()?;
        Ok(path.to_owned())
    }

    /// Takes the original away after the decision is in the log. The blurred copy stays.
    ///
    /// # Errors
    /// [`Error::Held`] when the original stands under its name already; [`Error::Audit`] of the log. Then the image is held as before.
    pub fn reject<S: Storage>(&self, log: &mut Log<S>, decision: &Decision) -> Result<()> {
        let _lock = self.lock()?;
        if self.is_released() {
            let problem = "it was released already, and stands under its name".to_owned();
            return Err(Error::Held { path: self.image.path.clone(), problem });
        }
        log.append(&self.image.entry.rejected(decision))?;
        self.remove()
    }
}
