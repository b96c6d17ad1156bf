//! Images that wait for a person.

use std::path::Path;

use calotype_image::FileFormat;
use calotype_safety::{
    audit::{Entry, Kind},
    policy::Verdict,
    review::{Decision, Holding},
};

use crate::{Error, Made, Origin, Publisher, Result};

/// An image that is held by somebody who keeps its files, and not in a folder of held images.
#[derive(Clone, Copy, Debug)]
pub struct HeldImage<'a> {
    /// What it is called as long as it is held.
    pub id: &'a str,
    /// What the policy says of it.
    pub verdict: &'a Verdict,
    /// Its file as it was made, with a mark of its own for when it is released.
    pub original: Made<'a>,
    /// The blurred copy's file.
    pub copy: Made<'a>,
}

impl Publisher {
    /// Stages an image to be held in a folder of held images ([`calotype_safety::review`]), whose file is `original`.
    ///
    /// # Errors
    /// Its files can't be written.
    pub fn stage(
        &self,
        folder: &Path,
        original: Made<'_>,
        format: FileFormat,
        verdict: &Verdict,
        origin: &Origin,
    ) -> Result<Holding> {
        let entry = self.of_original(original, verdict, origin);
        Ok(Holding::new(folder, original.file, format.endings()[0], entry, &verdict.reasons())?)
    }

    /// Holds a staged image, whose blurred copy is about to be seen at `path`, after its line.
    ///
    /// # Errors
    /// [`Error::HoldWithoutLog`]; its files can't be written; what the log gives. Nothing is held then.
    pub fn hold(&self, holding: &mut Holding, copy: Made<'_>, path: &Path) -> Result<()> {
        let log = Some(self.audit().ok_or(Error::HoldWithoutLog)?);
        holding.hold(path, copy.file, log, |entry| self.record.append(&copy.in_entry(entry)))
    }

    /// Writes the line of an image that is held elsewhere than in such a folder, before its blurred copy is seen at `place`, as in
    /// [`Self::record`]. What it gives is to be kept, and given to [`Self::release`] or [`Self::reject`].
    ///
    /// # Errors
    /// [`Error::HoldWithoutLog`]; what the log gives. The copy must not be seen then.
    pub fn record_held(&self, held: HeldImage<'_>, place: &Path, origin: &Origin) -> Result<Entry> {
        self.audit().ok_or(Error::HoldWithoutLog)?;
        let entry = self.of_original(held.original, held.verdict, origin);
        let mut entry = entry.of_original(held.id, held.original.file);
        self.record.append(&held.copy.in_entry(entry.held(place, held.copy.file)))?;
        Ok(entry)
    }

    /// Writes the line that a person gives a held image out, before it is. The line has who decided, and of who asked the ids.
    ///
    /// # Errors
    /// [`Error::HoldWithoutLog`]; what the log gives. It must not be given out then.
    pub fn release(&self, held: &Entry, decision: &Decision) -> Result<()> {
        self.audit().ok_or(Error::HoldWithoutLog)?;
        self.record.append(&held.released(decision))
    }

    /// Writes the line that a person takes a held image away, before it is.
    ///
    /// # Errors
    /// [`Error::HoldWithoutLog`]; what the log gives. It stays held then.
    pub fn reject(&self, held: &Entry, decision: &Decision) -> Result<()> {
        self.audit().ok_or(Error::HoldWithoutLog)?;
        self.record.append(&held.rejected(decision))
    }

    fn of_original(&self, original: Made<'_>, verdict: &Verdict, origin: &Origin) -> Entry {
        original.in_entry(self.record.of_image(Kind::Made, original.metadata, Some(verdict), origin))
    }
}
