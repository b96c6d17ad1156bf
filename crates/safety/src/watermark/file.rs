//! An image's file with a mark that was read back from it: what whoever gives out generated images calls last.

use calotype_image::RgbImage;
use sha2::{Digest, Sha256};

use super::package::{self, DEFAULT_TEXT, Scheme};
use super::{Marked, mark_from, tiled, written};

/// A mark that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Our own, with the id of [`id_of`], and at least this strength.
    Tiled {
        /// From 0 to [`tiled::STRENGTHS`] − 1.
        strength: usize,
    },
    /// One of the package's, with the text of Stable Diffusion's scripts.
    Package(Scheme),
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Tiled { strength: 0 }
    }
}

impl Wanted {
    /// The scheme's name: `tiled`, `dwtDct`, `dwtDctSvd`.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tiled { .. } => "tiled",
            Self::Package(scheme) => scheme.name(),
        }
    }

    /// The mark of a scheme's name, as faint as can be.
    #[must_use]
    pub fn of_scheme(name: &str) -> Option<Self> {
        let package = [Scheme::DwtDct, Scheme::DwtDctSvd].map(Self::Package);
        [Self::default()].into_iter().chain(package).find(|wanted| wanted.scheme() == name)
    }

    /// Whether a picture of this size has room for it.
    #[must_use]
    pub fn fits(self, width: u32, height: u32) -> bool {
        match self {
            Self::Tiled { .. } => tiled::fits(width, height),
            Self::Package(_) => package::fits(width, height),
        }
    }

    /// How large a picture must be, in words.
    #[must_use]
    pub fn smallest(self) -> &'static str {
        match self {
            Self::Tiled { .. } => "96 x 96",
            Self::Package(_) => "256 x 256",
        }
    }
}

/// A mark that a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Our own.
    Tiled {
        /// What it says.
        id: u64,
        /// From 0 to [`tiled::STRENGTHS`] − 1.
        strength: usize,
    },
    /// One of the package's.
    Package(Scheme),
}

/// What is not as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The picture has no room for the mark, and none.
    TooSmall,
    /// The id can't be read back at any strength. The picture has no mark.
    Unreadable,
    /// Of a package's mark only this share of the bits can be read back. The picture has it as it is.
    Damaged {
        /// From 0 to 1.
        right: f64,
    },
}

/// A picture's file.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkedFile {
    /// The file.
    pub file: Vec<u8>,
    /// Its mark, if it has one.
    pub mark: Option<Mark>,
    /// What is wrong with that, if something is.
    pub fault: Option<Fault>,
}

/// The id of a picture: the first 64 bits of the SHA-256 of its RGB values, rows from the top, before it is marked. So the same request
/// gives the same file twice, and nobody who has the marked picture alone can tell anything by the id but that it was there.
#[must_use]
pub fn id_of(picture: &RgbImage) -> u64 {
    let digest: [u8; 32] = Sha256::digest(picture.data()).into();
    digest.iter().take(8).fold(0, |id, &byte| id << 8 | u64::from(byte))
}

/// Makes the file of a picture with a mark, and reads the mark back from it. `write_file` is told the mark, so that the file can say it
/// in words too, and is called again where the mark has to be stronger.
///
/// # Errors
/// What `write_file` gives.
pub fn mark_file<E>(
    picture: &RgbImage,
    wanted: Wanted,
    mut write_file: impl FnMut(&RgbImage, Option<Mark>) -> Result<Vec<u8>, E>,
) -> Result<MarkedFile, E> {
    let fault = match wanted {
        _ if !wanted.fits(picture.width(), picture.height()) => Fault::TooSmall,
        Wanted::Tiled { strength } => {
            let id = id_of(picture);
            let mark = |strength| Some(Mark::Tiled { id, strength });
            let Marked { file, strength, is_readable } =
                mark_from(picture, id, strength, |picture, strength| write_file(picture, mark(strength)))?;
            if is_readable {
                return Ok(MarkedFile { file, mark: mark(strength), fault: None });
            }
            Fault::Unreadable
        }
        Wanted::Package(scheme) => match package::write(picture, DEFAULT_TEXT.as_bytes(), scheme) {
            Ok(marked) => {
                let mark = Some(Mark::Package(scheme));
                let file = write_file(&marked, mark)?;
                let right = written(&file).map_or(0.0, |written| package::right(&written, DEFAULT_TEXT, scheme));
                return Ok(MarkedFile { file, mark, fault: (right < 1.0).then_some(Fault::Damaged { right }) });
            }
            // Of this text the size is all that can be wrong.
            Err(_) => Fault::TooSmall,
        },
    };
    Ok(MarkedFile { file: write_file(picture, None)?, mark: None, fault: Some(fault) })
}
