//! Finding the lines of an image.

use std::io::{BufRead, BufReader};
use std::path::Path;

use calotype_image::{Limits, decode};
use serde_json::Value;

use crate::digest::sha256;
use crate::error::{Error, Result};

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// The id of a watermark.
    Watermark(u64),
    /// An image, by the hash of its file or of its RGB values.
    Image {
        /// SHA-256 of the file.
        file_sha256: String,
        /// SHA-256 of its values, if it is an image that can be read.
        pixels_sha256: Option<String>,
    },
}

impl Query {
    /// An image by its file's bytes. Its values are found again when only the metadata was changed, or the format without loss.
    #[must_use]
    pub fn image(bytes: &[u8]) -> Self {
        let pixels = decode(bytes, &Limits::default()).ok();
        Self::Image { file_sha256: sha256(bytes), pixels_sha256: pixels.map(|pixels| sha256(pixels.data())) }
    }

    fn matches(&self, line: &Value) -> bool {
        let is = |name: &str, expected: &str| line[name].as_str() == Some(expected);
        match self {
            Self::Watermark(id) => is("watermark_id", &format!("{id:016x}")),
            Self::Image { file_sha256, pixels_sha256 } => {
                is("file_sha256", file_sha256)
                    || is("original_sha256", file_sha256)
                    || pixels_sha256.as_ref().is_some_and(|pixels| is("pixels_sha256", pixels))
            }
        }
    }
}

/// The lines of a log that a query matches, in their order. They are not verified.
///
/// # Errors
/// [`Error::Audit`] when the log can't be read.
pub fn search(log: &Path, query: &Query) -> Result<Vec<Value>> {
    let failed = |error: std::io::Error| Error::Audit { path: log.into(), problem: format!("cannot be read: {error}") };
    let mut found = Vec::new();
    for line in BufReader::new(calotype_files::open(log).map_err(failed)?).split(b'\n') {
        // What is no line is told by `verify`.
        if let Ok(line) = serde_json::from_slice::<Value>(&line.map_err(failed)?)
            && query.matches(&line)
        {
            found.push(line);
        }
    }
    Ok(found)
}
