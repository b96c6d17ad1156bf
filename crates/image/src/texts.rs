//! Everything that a picture's file says in words.

use std::io::Cursor;

use image::error::ImageError;
use image::{ImageDecoder, ImageFormat, ImageReader};

use crate::decode::known_format;
use crate::error::{Error, Result, one_line};
use crate::exif::exif_texts;
use crate::jpeg;
use crate::png_text::read_png_text;

/// Under which keyword PNG has XMP (XMP specification, part 3); so it is called here for every format.
pub const XMP_KEYWORD: &str = "XML:com.adobe.xmp";
/// What a JPEG's comment is called.
const COMMENT: &str = "Comment";

/// What a picture's file says in words, and how large the picture is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PictureTexts {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Each a keyword and its text: those of PNG, then `Comment` of JPEG, then EXIF's by the names of their tags
    /// (`UserComment`, `ImageDescription`, `Make`, `Model`, `Software`, `MakerNote`), then XMP as PNG names it.
    pub texts: Vec<(String, String)>,
}

impl PictureTexts {
    /// Those of a file of any format that is read. The pixels are not decoded.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`] or [`Error::Corrupt`]; of a PNG file as much is read as can be.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let (format, name) = known_format(bytes)?;
        let failed = |error: ImageError| Error::Corrupt { format: name, reason: one_line(error) };
        let decoder = || ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed);
        let ([width, height], mut texts, exif, xmp) = match format {
            ImageFormat::Png => {
                let side =
                    |at: usize| bytes.get(at..at + 4).and_then(|side| side.try_into().ok()).map(u32::from_be_bytes);
                let size = [side(16), side(20)].map(Option::unwrap_or_default);
                (size, read_png_text(bytes)?, exif_texts(bytes).unwrap_or_default(), None)
            }
            ImageFormat::Jpeg => {
                let head = jpeg::head(bytes)?;
                let comments = head.comments.into_iter().map(|text| (COMMENT.to_owned(), text)).collect();
                (head.size, comments, exif_texts(bytes)?, head.xmp)
            }
            _ => {
                let mut decoder = decoder()?;
                let (width, height) = decoder.dimensions();
                let has_xmp = format == ImageFormat::WebP;
                let xmp = if has_xmp { decoder.xmp_metadata().map_err(failed)? } else { None };
                ([width, height], Vec::new(), exif_texts(bytes)?, xmp)
            }
        };
        texts.extend(exif.into_iter().map(|(name, text)| (name.to_owned(), text)));
        texts.extend(xmp.map(|xmp| (XMP_KEYWORD.to_owned(), String::from_utf8_lossy(&xmp).into_owned())));
        Ok(Self { width, height, texts })
    }

    /// The first text of a keyword.
    #[must_use]
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.texts.iter().find(|(key, _)| key == keyword).map(|(_, text)| text.as_str())
    }

    /// The XMP packet, an XML text.
    #[must_use]
    pub fn xmp(&self) -> Option<&str> {
        self.get(XMP_KEYWORD)
    }
}
