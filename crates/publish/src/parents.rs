//! Where the images are that others began with, which signatures name.

use std::path::PathBuf;

/// Where the file of an image to start from is looked for. Only one with the SHA-256 that the request has of it is taken.
#[derive(Clone, Copy, Debug)]
pub enum Parents<'a> {
    /// On the disk: where the request says, or one of these files, wherever it is now.
    Files(&'a [PathBuf]),
    /// Among these; no file is read, so this is for the requests of strangers.
    Memory(&'a [InputFile<'a>]),
}

/// The file of an image that came with a request.
#[derive(Clone, Copy, Debug)]
pub struct InputFile<'a> {
    /// What it is called in a signature.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

#[cfg(feature = "c2pa")]
mod find {
    use std::{
        borrow::Cow,
        path::{Path, PathBuf},
    };

    use calotype::request::FileRef;
    use calotype_checkpoint::hash;
    use calotype_image::{Limits, read_limited};

    use super::Parents;
    use crate::{Error, Result};

    impl<'a> Parents<'a> {
        /// The name and the bytes of an image.
        pub(crate) fn find(self, reference: &FileRef) -> Result<(String, Cow<'a, [u8]>)> {
            let is_it = |bytes: &[u8]| hash::of_bytes(bytes) == reference.sha256;
            let read = |path: &Path| {
                let bytes = read_limited(path, &Limits::default()).ok().filter(|bytes| is_it(bytes))?;
                let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                Some((name, Cow::from(bytes)))
            };
            let found = match self {
                Self::Files(given) => {
                    let named = PathBuf::from(&reference.file);
                    std::iter::once(&named).chain(given).find_map(|path| read(path))
                }
                Self::Memory(given) => {
                    let found = given.iter().find(|file| is_it(file.bytes));
                    found.map(|file| (file.name.to_owned(), Cow::from(file.bytes)))
                }
            };
            found.ok_or_else(|| Error::NoParent { file: reference.file.clone() })
        }
    }
}
