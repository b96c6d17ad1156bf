//! Images that a request comes with: from files, or from memory.

use std::{path::Path, sync::Arc};

use calotype_checkpoint::{hash, show};
use calotype_image::{Limits, RgbImage, RgbaImage, decode_rgba, read_limited};
use serde::{Deserialize, Serialize};

use super::Request;
use crate::{Error, Result};

/// A file, and what must be in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its path, as it was given; empty for an image that came from memory.
    #[serde(default)]
    pub file: String,
    /// The SHA-256 of its bytes, 64 hexadecimal digits; of an image that had no file, of its RGBA values. Empty if any will do.
    #[serde(default)]
    pub sha256: String,
}

/// An image to start from, or a mask: what its file is, and what is in it, as soon as it is read. Clones share the pixels;
/// JSON has the reference alone, and two are equal if their references are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "FileRef", into = "FileRef")]
pub struct InputImage {
    reference: FileRef,
    pixels: Option<Arc<RgbaImage>>,
}

impl InputImage {
    /// Reads a PNG, JPEG, WebP, GIF, BMP or TIFF file.
    ///
    /// # Errors
    /// It can't be read, is too large, or is no such image.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_limited(path, &Limits::default())?;
        let opened = Self::from_bytes(&bytes).map_err(|error| Error::file(show(path), error.to_string()))?;
        let file = path.display().to_string();
        Ok(Self { reference: FileRef { file, ..opened.reference }, ..opened })
    }

    /// The image in the bytes of such a file.
    ///
    /// # Errors
    /// They are too many, or no such image.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let pixels = decode_rgba(bytes, &Limits::default())?;
        let reference = FileRef { file: String::new(), sha256: hash::of_bytes(bytes) };
        Ok(Self { reference, pixels: Some(Arc::new(pixels)) })
    }

    /// What it is a reference to.
    #[must_use]
    pub fn reference(&self) -> &FileRef {
        &self.reference
    }

    /// Its pixels.
    ///
    /// # Errors
    /// They were not read: see [`Request::open_images`].
    pub fn rgba(&self) -> Result<&RgbaImage> {
        self.pixels.as_deref().ok_or_else(|| Error::ImageNotOpen { file: self.reference.file.clone() })
    }

    /// Its pixels, transparent parts laid over white.
    ///
    /// # Errors
    /// As [`Self::rgba`].
    pub fn rgb(&self) -> Result<RgbImage> {
        Ok(self.rgba()?.over([255; 3]))
    }

    /// Takes the pixels from one of `given`, if it is that image, else from the file.
    fn reopen(&mut self, given: &[Self]) -> Result<()> {
        if self.pixels.is_some() {
            return Ok(());
        }
        let expected = &self.reference.sha256;
        if let Some(same) = given.iter().find(|image| !expected.is_empty() && image.reference.sha256 == *expected) {
            self.pixels.clone_from(&same.pixels);
            return Ok(());
        }
        let opened = Self::open(&self.reference.file)?;
        if !expected.is_empty() && opened.reference.sha256 != *expected {
            let [found, expected] =
                [&opened.reference.sha256, expected].map(|hash| hash.chars().take(10).collect::<String>());
            let problem = format!(
                "its SHA-256 begins {found}, but the picture was made from one that begins {expected}: give that file"
            );
            return Err(Error::file(show(Path::new(&self.reference.file)), problem));
        }
        *self = opened;
        Ok(())
    }
}

impl Request {
    /// The images that it comes with: the one to start from, and its mask.
    pub fn images_mut(&mut self) -> impl Iterator<Item = &mut InputImage> {
        self.init.iter_mut().flat_map(|init| {
            let mask = init.inpaint.as_mut().and_then(|inpaint| inpaint.mask.as_mut());
            std::iter::once(&mut init.picture).chain(mask)
        })
    }

    /// Reads the images of a request that came as JSON: each is one of `given`, by its SHA-256, or its file is read. Where
    /// requests come from strangers, give them their images and let no file be read: see [`Request::images_mut`].
    ///
    /// # Errors
    /// A file can't be read, is no image, or is not the one that the request says.
    pub fn open_images(&mut self, given: &[InputImage]) -> Result<()> {
        self.images_mut().try_for_each(|image| image.reopen(given))
    }
}

impl PartialEq for InputImage {
    fn eq(&self, other: &Self) -> bool {
        self.reference == other.reference
    }
}

impl From<RgbaImage> for InputImage {
    fn from(image: RgbaImage) -> Self {
        let reference = FileRef { file: String::new(), sha256: hash::of_bytes(image.data()) };
        Self { reference, pixels: Some(Arc::new(image)) }
    }
}

impl From<RgbImage> for InputImage {
    fn from(image: RgbImage) -> Self {
        RgbaImage::from(&image).into()
    }
}

impl From<FileRef> for InputImage {
    /// Not read yet.
    fn from(reference: FileRef) -> Self {
        Self { reference, pixels: None }
    }
}

impl From<InputImage> for FileRef {
    fn from(image: InputImage) -> Self {
        image.reference
    }
}
