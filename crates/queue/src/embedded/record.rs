//! Records as bytes: the number of the form, then JSON.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// The form that this version writes, and the newest that it reads.
pub(super) const FORM: u8 = 1;

pub(super) fn encode(record: &impl Serialize, what: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![FORM];
    serde_json::to_writer(&mut bytes, record).map_err(|error| Error::record(what, error))?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: impl Fn() -> String) -> Result<T> {
    match bytes.split_first() {
        Some((&FORM, json)) => calotype_files::json::from_slice(json)
            .map_err(|error| Error::record(what(), format!("it is damaged: {error}"))),
        Some((&form, _)) if form > FORM => Err(Error::record(
            what(),
            format!("a newer version of Calotype wrote it (form {form}, this one knows {FORM}): use that version"),
        )),
        _ => Err(Error::record(what(), "it is damaged")),
    }
}
