//! The comment in a picture's EXIF block.

use std::io::Cursor;

use image::error::ImageError;
use image::{ImageDecoder, ImageFormat, ImageReader};

use crate::decode::known_format;
use crate::error::{Error, Result, one_line};
use crate::jpeg;

/// Where IFD 0 says that the EXIF directory is.
const EXIF_IFD: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
/// Longest comment that is read, in bytes.
const MAX_COMMENT_BYTES: usize = 4 << 20;
/// Bytes that say how the comment is encoded (EXIF 2.32, table 9).
const CODE: usize = 8;
const UNICODE: &[u8; CODE] = b"UNICODE\0";

/// The `UserComment` of a PNG, JPEG or WebP file, where A1111 writes how a JPEG or WebP was made; none if it has none that
/// can be read. The pixels are not decoded.
///
/// # Errors
/// [`Error::UnknownFormat`] or [`Error::Corrupt`].
pub fn read_user_comment(bytes: &[u8]) -> Result<Option<String>> {
    let block = match known_format(bytes)? {
        (ImageFormat::Jpeg, _) => jpeg::exif(bytes)?,
        (format, name) => {
            let failed = |error: ImageError| Error::Corrupt { format: name, reason: one_line(error) };
            let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed)?;
            decoder.exif_metadata().map_err(failed)?
        }
    };
    Ok(block.and_then(|block| user_comment(block.strip_prefix(b"Exif\0\0").unwrap_or(&block))))
}

/// A TIFF structure, of which EXIF is one.
struct Tiff<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let is_big_endian = match bytes.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        Some(Self { bytes, is_big_endian })
    }

    fn slice(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..at.checked_add(length)?)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.slice(at, 2)?.try_into().ok()?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<usize> {
        let bytes = self.slice(at, 4)?.try_into().ok()?;
        let number = if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(number).ok()
    }

    /// Where the entry for a tag lies in the directory at `at`: tag, type, count, value or offset.
    fn entry(&self, at: usize, tag: u16) -> Option<usize> {
        let count = usize::from(self.u16(at)?);
        (0..count).map(|n| at.saturating_add(2 + 12 * n)).find(|&entry| self.u16(entry) == Some(tag))
    }
}

fn user_comment(block: &[u8]) -> Option<String> {
    let tiff = Tiff::new(block)?;
    let exif = tiff.u32(tiff.entry(tiff.u32(4)?, EXIF_IFD)? + 8)?;
    let entry = tiff.entry(exif, USER_COMMENT)?;
    // More than fits into the entry itself lies elsewhere, and a comment with its code always does.
    let (count, offset) = (tiff.u32(entry + 4)?, tiff.u32(entry + 8)?);
    if count > MAX_COMMENT_BYTES {
        return None;
    }
    let (code, text) = tiff.slice(offset, count)?.split_at_checked(CODE)?;
    let text = match code == UNICODE {
        true => utf16(text),
        false => String::from_utf8_lossy(text).into_owned(),
    };
    let text = text.trim_matches('\0').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// UTF-16 of either byte order: A1111 writes it big-endian whatever the block is, others as the block. The right order
/// has more of ASCII, which settings are written in.
fn utf16(text: &[u8]) -> String {
    let zeros = |at: usize| text.iter().skip(at).step_by(2).filter(|&&byte| byte == 0).count();
    let (decode, mark): (fn([u8; 2]) -> u16, _) =
        if zeros(0) >= zeros(1) { (u16::from_be_bytes, [0xfe, 0xff]) } else { (u16::from_le_bytes, [0xff, 0xfe]) };
    let text = text.strip_prefix(&mark).unwrap_or(text);
    let units: Vec<u16> = text.chunks_exact(2).map(|pair| decode([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}
