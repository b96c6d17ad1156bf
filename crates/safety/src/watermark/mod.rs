//! Invisible marks in pictures: [`tiled`], our own, and those of the [`package`] that Stable Diffusion's scripts use, of which
//! [`rivagan`] needs its weights.
//!
//! ```
//! use calotype_image::{Limits, RgbImage, decode, encode_png};
//! use calotype_safety::watermark::{self, tiled::Effort};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let picture = RgbImage::filled(256, 256, [90, 120, 200]);
//! let marked = watermark::mark(&picture, 42, |picture| encode_png(picture, &[]))?;
//! assert!(marked.is_readable);
//! let read = watermark::tiled::read(&decode(&marked.file, &Limits::default())?, Effort::Quick);
//! assert_eq!(read.map(|found| found.id), Some(42));
//! # Ok(())
//! # }
//! ```

mod file;
pub mod package;
pub mod rivagan;
pub mod tiled;

use calotype_image::{Limits, RgbImage, decode};

use crate::error::{Error, Result};
pub use file::{Fault, Mark, MarkedFile, Wanted, id_of, mark_file};
use package::Scheme;
use tiled::{Effort, Found, STRENGTHS};

/// A picture's file with a mark.
#[derive(Clone, Debug)]
pub struct Marked {
    /// The file.
    pub file: Vec<u8>,
    /// The strength of the mark, from 0 to [`STRENGTHS`] − 1.
    pub strength: usize,
    /// Whether the mark can be read back from the file. If not, the strongest was tried.
    pub is_readable: bool,
}

/// Marks a picture as strongly as it takes for the id to be read back from the file that `write_file` makes of it.
///
/// # Errors
/// What `write_file` gives.
pub fn mark<E>(
    picture: &RgbImage,
    id: u64,
    mut write_file: impl FnMut(&RgbImage) -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<Marked, E> {
    mark_from(picture, id, 0, |picture, _| write_file(picture))
}

/// [`mark`] with at least this strength; `write_file` is told each.
fn mark_from<E>(
    picture: &RgbImage,
    id: u64,
    strength: usize,
    mut write_file: impl FnMut(&RgbImage, usize) -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<Marked, E> {
    let mut strength = strength.min(STRENGTHS - 1);
    loop {
        let mut marked = picture.clone();
        tiled::write(&mut marked, id, strength);
        let file = write_file(&marked, strength)?;
        let read = written(&file).and_then(|written| tiled::read(&written, Effort::Quick));
        let is_readable = read.is_some_and(|found| found.id == id);
        if is_readable || strength + 1 == STRENGTHS {
            return Ok(Marked { file, strength, is_readable });
        }
        strength += 1;
    }
}

/// The picture of a file that was just written, however large.
fn written(file: &[u8]) -> Option<RgbImage> {
    decode(file, &Limits { max_pixels: u64::MAX, max_bytes: u64::MAX }).ok()
}

/// An id that nobody else has, from the system's random numbers.
///
/// # Errors
/// [`Error::Random`] when the system gives none.
pub fn random_id() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::Random { reason: error.to_string() })
}

/// A mark that was found in a picture.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reading {
    /// Our own.
    Tiled(Found),
    /// One of the package's.
    Package {
        /// Which.
        scheme: Scheme,
        /// What was read.
        text: Vec<u8>,
        /// The share of its bits that are those of the text looked for.
        right: f64,
    },
}

/// Fewer of the bits right are chance: of 136 bits three quarters are right by chance in one of half a billion pictures.
const FEWEST_RIGHT: f64 = 0.75;

/// All marks of a picture: our own, and the package's if most of `text` is there.
///
/// A short text is there by chance: of 4 bytes, in one of three hundred pictures.
#[must_use]
pub fn read(picture: &RgbImage, text: &[u8], effort: Effort) -> Vec<Reading> {
    let tiled = tiled::read(picture, effort).map(Reading::Tiled);
    let package = [Scheme::DwtDct, Scheme::DwtDctSvd].into_iter().filter_map(|scheme| {
        let read = package::read(picture, text.len(), scheme).ok()?;
        let right = package::share(&read, text);
        (right >= FEWEST_RIGHT).then_some(Reading::Package { scheme, text: read, right })
    });
    tiled.into_iter().chain(package).collect()
}
