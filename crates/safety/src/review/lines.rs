//! The lines of the audit log that a held image gets.

use std::path::Path;

use super::Decision;
use crate::audit::{Entry, Kind};
use crate::digest::sha256;

impl Entry {
    /// The entry of a held image, which the line of a decision on it comes from: with the hash of its file as it was made, and with `id`
    /// for as long as it is held.
    #[must_use]
    pub fn of_original(self, id: &str, original: &[u8]) -> Self {
        Self { file_sha256: Some(sha256(original)), held_id: Some(id.to_owned()), ..self }
    }

    /// The line that an image is held: of an entry by [`Self::of_original`], which gets the name of the blurred copy's file too, and of
    /// that file's bytes.
    #[must_use]
    pub fn held(&mut self, place: &Path, copy: &[u8]) -> Self {
        let original_sha256 = self.file_sha256.clone();
        let line = Self { kind: Kind::Held, original_sha256, ..self.clone() }.of_file(place, copy);
        self.file.clone_from(&line.file);
        line
    }

    /// The line that a held image was given out.
    #[must_use]
    pub fn released(&self, decision: &Decision) -> Self {
        self.decided(Kind::Released, decision)
    }

    /// The line that a held image was taken away.
    #[must_use]
    pub fn rejected(&self, decision: &Decision) -> Self {
        self.decided(Kind::Rejected, decision)
    }

    fn decided(&self, kind: Kind, decision: &Decision) -> Self {
        let Decision { who, reason } = decision.clone();
        Self { kind, who: Some(who), reason, ..self.clone() }
    }
}
