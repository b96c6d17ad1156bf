//! What a file's signature says. A build without the feature `c2pa` does not look for one.

use std::path::Path;

use serde_json::Value;
#[cfg(feature = "c2pa")]
use serde_json::json;

/// What a file's signature says.
#[cfg(feature = "c2pa")]
pub(crate) struct Manifest(calotype_safety::provenance::Report);

#[cfg(feature = "c2pa")]
impl Manifest {
    /// That of a file, if it has one.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        let bytes = calotype_image::read_limited(file, &calotype_image::Limits::default()).ok()?;
        calotype_safety::provenance::read(&bytes, None).map(Self)
    }

    pub(crate) fn for_people(&self) -> String {
        match &self.0.signer {
            Some(signer) if self.0.is_valid => format!("valid, signed by {signer} (trust not checked)"),
            _ if self.0.is_valid => "valid".to_owned(),
            _ => format!("not valid: {}", self.0.problems.join(", ")),
        }
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({ "is_valid": self.0.is_valid, "signer": self.0.signer, "problems": self.0.problems })
    }
}

/// Not looked for.
#[cfg(not(feature = "c2pa"))]
pub(crate) enum Manifest {}

#[cfg(not(feature = "c2pa"))]
impl Manifest {
    pub(crate) fn read(_: &Path) -> Option<Self> {
        None
    }

    pub(crate) fn for_people(&self) -> String {
        match *self {}
    }

    pub(crate) fn as_json(&self) -> Value {
        match *self {}
    }
}
