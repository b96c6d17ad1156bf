//! Files that pictures are written to, and what they say beside their pixels.

use std::path::Path;

use image_webp::WebPEncoder;
use jpeg_encoder::{ColorType, Encoder};

use crate::error::{Error, Result, one_line};
use crate::exif_block::{ExifTexts, check_segment};
use crate::png_text::encode_png;
use crate::raster::RgbImage;
use crate::texts::XMP_KEYWORD;

/// How XMP begins in a JPEG's segment (XMP specification, part 3).
const XMP_PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// A format that pictures are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// Without loss, with texts of their own.
    #[default]
    Png,
    /// With loss, with texts in EXIF.
    Jpeg,
    /// Without loss, with texts in EXIF.
    WebP,
}

impl FileFormat {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::WebP];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }

    /// What the names of such files end with; the first is what is written.
    #[must_use]
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Png => &["png"],
            Self::Jpeg => &["jpg", "jpeg", "jfif"],
            Self::WebP => &["webp"],
        }
    }

    /// The format that a file's name ends with.
    #[must_use]
    pub fn of_name(file: &Path) -> Option<Self> {
        let ending = file.extension()?;
        Self::ALL.into_iter().find(|format| format.endings().iter().any(|known| ending.eq_ignore_ascii_case(known)))
    }

    /// The longest side that a picture may have, in pixels.
    #[must_use]
    pub fn max_side(self) -> u32 {
        match self {
            Self::Png => i32::MAX as u32,
            Self::Jpeg => 65_535,
            Self::WebP => 16_383,
        }
    }
}

/// The picture as a file with texts, each a keyword and its text, as [`encode_png`] has them. A JPEG or WebP has the text
/// `parameters` where A1111 writes it, in the EXIF tag `UserComment`, and the others in `MakerNote`, each as `keyword: text`. A JPEG is the
/// more like the picture the higher `quality`, 1 to 100; from 90 on its colours are as fine as its brightness. A WebP is without loss.
/// The text of [`XMP_KEYWORD`] is an XMP packet, and goes where each format has one.
///
/// # Errors
/// [`Error::Keyword`]; [`Error::LongTexts`] if the texts are more than a JPEG holds; [`Error::Encode`] if a side is longer than
/// [`FileFormat::max_side`], or the encoder refuses.
pub fn encode(picture: &RgbImage, format: FileFormat, quality: u8, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let longest = picture.width().max(picture.height());
    if longest > format.max_side() {
        let reason =
            format!("its side of {longest} pixels is more than the {} of a {}", format.max_side(), format.name());
        return Err(Error::Encode { format: format.name(), reason });
    }
    let is_xmp = |(keyword, _): &&(&str, &str)| *keyword == XMP_KEYWORD;
    let xmp = texts.iter().find(is_xmp).map(|(_, xmp)| *xmp);
    let others: Vec<_> = texts.iter().filter(|text| !is_xmp(text)).copied().collect();
    let exif = ExifTexts { texts: &others };
    match format {
        FileFormat::Png => encode_png(picture, texts),
        FileFormat::Jpeg => encode_jpeg(picture, quality, &exif, xmp),
        FileFormat::WebP => encode_webp(picture, &exif, xmp),
    }
}

fn encode_jpeg(picture: &RgbImage, quality: u8, exif: &ExifTexts<'_>, xmp: Option<&str>) -> Result<Vec<u8>> {
    let failed = |error: jpeg_encoder::EncodingError| Error::Encode { format: "JPEG", reason: one_line(error) };
    // A side that is longer was refused.
    let [width, height] = [picture.width(), picture.height()].map(|side| u16::try_from(side).unwrap_or(u16::MAX));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality.clamp(1, 100));
    if !exif.is_empty() {
        encoder.add_app_segment(1, exif.jpeg_segment()?).map_err(failed)?;
    }
    if let Some(xmp) = xmp {
        encoder.add_app_segment(1, check_segment([XMP_PREFIX, xmp.as_bytes()].concat())?).map_err(failed)?;
    }
    encoder.encode(picture.data(), width, height, ColorType::Rgb).map_err(failed)?;
    Ok(bytes)
}

fn encode_webp(picture: &RgbImage, exif: &ExifTexts<'_>, xmp: Option<&str>) -> Result<Vec<u8>> {
    let failed = |error: image_webp::EncodingError| Error::Encode { format: "WebP", reason: one_line(error) };
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new(&mut bytes);
    if !exif.is_empty() {
        encoder.set_exif_metadata(exif.block());
    }
    encoder.set_xmp_metadata(xmp.unwrap_or_default().as_bytes().to_vec());
    encoder.encode(picture.data(), picture.width(), picture.height(), image_webp::ColorType::Rgb8).map_err(failed)?;
    Ok(bytes)
}
