use std::io::{Cursor, Read};
use std::path::Path;

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use crate::error::{Error, Result, one_line};
use crate::jpeg;
use crate::raster::{RgbImage, RgbaImage};

/// How large a picture may be. Checked from the header, before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels (width times height).
    pub max_pixels: u64,
    /// Most bytes of a file, and most bytes that its decoded form may take.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 8192 x 8192 pixels and 256 MiB.
    fn default() -> Self {
        Self { max_pixels: 8192 * 8192, max_bytes: 256 << 20 }
    }
}

/// Reads a file as [`decode`] does.
///
/// # Errors
/// [`Error::Read`] when the file cannot be read; [`Error::InFile`] with the file's name for all that [`decode`] refuses.
pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<RgbImage> {
    let path = path.as_ref();
    decode(&read_limited(path, limits)?, limits)
        .map_err(|error| Error::InFile { path: path.into(), error: Box::new(error) })
}

/// The bytes of a picture's file; of one larger than `limits` no more than is needed to see that.
///
/// # Errors
/// [`Error::Read`] when the file cannot be read.
pub fn read_limited(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    calotype_files::open(path)
        .and_then(|file| file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|source| Error::Read { path: path.into(), source })?;
    Ok(bytes)
}

/// A picture from the bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file (told by content), transparent parts laid over white.
///
/// # Errors
/// As [`decode_rgba`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<RgbImage> {
    Ok(decode_rgba(bytes, limits)?.over([255; 3]))
}

/// A picture with its alpha from the bytes of a PNG, JPEG, WebP, GIF, BMP or TIFF file (told by content).
///
/// Grey and palette pictures become RGB, 16-bit values are scaled to 8, the EXIF orientation is applied, colour
/// profiles are not. Of an animated file the still or first picture is taken, of several pages the first.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::TooLarge`] or [`Error::Corrupt`].
pub fn decode_rgba(bytes: &[u8], limits: &Limits) -> Result<RgbaImage> {
    let picture = decoded(bytes, limits)?;
    RgbaImage::new(picture.width(), picture.height(), picture.into_rgba8().into_raw())
}

/// A picture as its file has it, turned as EXIF says.
pub(crate) fn decoded(bytes: &[u8], limits: &Limits) -> Result<DynamicImage> {
    check(bytes.len() as u64, limits.max_bytes, "bytes")?;
    let (mut picture, orientation) = match known_format(bytes)? {
        (ImageFormat::Jpeg, _) => jpeg::decode(bytes, limits)?,
        (format, name) => decode_as(format, name, bytes, limits)?,
    };
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// A file of another format than JPEG.
fn decode_as(
    format: ImageFormat,
    name: &'static str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(DynamicImage, Orientation)> {
    let failed = |error: ImageError| match error {
        ImageError::Limits(_) => Error::TooLarge { found: 0, limit: limits.max_bytes, unit: "bytes" },
        ImageError::Unsupported(what) => Error::Unsupported { format: name, reason: one_line(what) },
        other => Error::Corrupt { format: name, reason: one_line(other) },
    };
    if format == ImageFormat::Tiff {
        check_tiff(bytes)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc = Some(limits.max_bytes);
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check(u64::from(width) * u64::from(height), limits.max_pixels, "pixels")?;
    check(decoder.total_bytes(), limits.max_bytes, "bytes")?;
    let orientation = decoder.orientation().map_err(failed)?;
    Ok((DynamicImage::from_decoder(decoder).map_err(failed)?, orientation))
}

/// Refuses JPEG in TIFF, which few write: `tiff` has it decoded by `zune-jpeg`, which panics at what fuzzing found.
fn check_tiff(bytes: &[u8]) -> Result<()> {
    const JPEG: [u16; 2] = [6, 7];
    let failed = |error: tiff::TiffError| Error::Corrupt { format: "TIFF", reason: one_line(error) };
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let compression = decoder.find_tag_unsigned::<u16>(tiff::tags::Tag::Compression).map_err(failed)?;
    match compression.is_some_and(|method| JPEG.contains(&method)) {
        true => Err(Error::Unsupported { format: "TIFF", reason: "it is compressed as JPEG".to_owned() }),
        false => Ok(()),
    }
}

/// The format of a file that is read, by its content, and its name.
pub(crate) fn known_format(bytes: &[u8]) -> Result<(ImageFormat, &'static str)> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => Ok((ImageFormat::Png, "PNG")),
        Ok(ImageFormat::Jpeg) => Ok((ImageFormat::Jpeg, "JPEG")),
        Ok(ImageFormat::WebP) => Ok((ImageFormat::WebP, "WebP")),
        Ok(ImageFormat::Gif) => Ok((ImageFormat::Gif, "GIF")),
        Ok(ImageFormat::Bmp) => Ok((ImageFormat::Bmp, "BMP")),
        Ok(ImageFormat::Tiff) => Ok((ImageFormat::Tiff, "TIFF")),
        _ => Err(Error::UnknownFormat),
    }
}

pub(crate) fn check(found: u64, limit: u64, unit: &'static str) -> Result<()> {
    if found > limit { Err(Error::TooLarge { found, limit, unit }) } else { Ok(()) }
}
