//! Signed provenance: a C2PA manifest in an image's file, which says who made it by what, and by which every later change of the file is
//! found. Feature `c2pa`.
//!
//! A signature is worth what its certificate is. [`keys::TestKeys`] are for trying things out: files that they sign are valid, by a
//! signer whom no trust list knows.
//!
//! ```
//! use calotype_image::{RgbImage, encode_png};
//! use calotype_safety::provenance::{Made, Signer, keys::TestKeys, read};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = TestKeys::new("Example")?;
//! let signer = Signer::new(keys.chain.as_bytes(), keys.key.as_bytes())?;
//! let file = encode_png(&RgbImage::filled(8, 8, [9; 3]), &[])?;
//! let made = Made { generator: ("Example", "1.0"), source_type: "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia", ..Made::default() };
//! let signed = signer.sign(&file, &made)?;
//! let report = read(&signed, Some(&keys.root)).ok_or("no manifest")?;
//! assert!(report.is_valid && report.is_trusted);
//! # Ok(())
//! # }
//! ```

pub mod keys;
mod read;
mod sign;

pub use read::{Report, read};
pub use sign::{Made, Parent, Signer};

use crate::error::Error;

/// What C2PA calls a file's format.
fn mime_of(file: &[u8]) -> &'static str {
    match file {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        [b'G', b'I', b'F', ..] => "image/gif",
        [b'I', b'I', b'*', ..] | [b'M', b'M', 0, b'*', ..] => "image/tiff",
        [b'B', b'M', ..] => "image/bmp",
        _ => "application/octet-stream",
    }
}

/// A failure on one line.
fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    let problem = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::Provenance { problem: format!("{what}: {problem}") }
}
