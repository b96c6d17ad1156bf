//! The texts in a picture's EXIF block.

use std::io::Cursor;

use image::error::ImageError;
use image::{ImageDecoder, ImageFormat, ImageReader};

use crate::decode::known_format;
use crate::error::{Error, Result, one_line};
use crate::exif_block::{EXIF_IFD, MAKER_NOTE, UNICODE, USER_COMMENT};
use crate::jpeg;

/// The tags of texts, and what they are called (EXIF 2.32, 4.6).
const TEXTS: [(u16, &str); 6] = [
    (USER_COMMENT, "UserComment"),
    (0x010e, "ImageDescription"),
    (0x010f, "Make"),
    (0x0110, "Model"),
    (0x0131, "Software"),
    (MAKER_NOTE, "MakerNote"),
];
/// Longest text that is read, in bytes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Bytes that say how the comment is encoded (EXIF 2.32, table 9).
const CODE: usize = 8;
/// The other codes; zeros leave it open.
const CODES: [&[u8; CODE]; 3] = [b"ASCII\0\0\0", b"JIS\0\0\0\0\0", &[0; CODE]];

/// The `UserComment` of a picture's file, where A1111 writes how a JPEG or WebP was made; none if it has none that
/// can be read. The pixels are not decoded.
///
/// # Errors
/// [`Error::UnknownFormat`] or [`Error::Corrupt`].
pub fn read_user_comment(bytes: &[u8]) -> Result<Option<String>> {
    let texts = exif_texts(bytes)?;
    Ok(texts.into_iter().find(|(name, _)| *name == TEXTS[0].1).map(|(_, text)| text))
}

/// The texts of a file's EXIF block, each with the name of its tag, the comment first. The pixels are not decoded.
///
/// # Errors
/// [`Error::UnknownFormat`] or [`Error::Corrupt`].
pub(crate) fn exif_texts(bytes: &[u8]) -> Result<Vec<(&'static str, String)>> {
    let block = match known_format(bytes)? {
        (ImageFormat::Jpeg, _) => jpeg::exif(bytes)?,
        // Such a structure itself.
        (ImageFormat::Tiff, _) => return Ok(texts(bytes)),
        (format, name) => {
            let failed = |error: ImageError| Error::Corrupt { format: name, reason: one_line(error) };
            let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed)?;
            decoder.exif_metadata().map_err(failed)?
        }
    };
    Ok(block.map(|block| texts(block.strip_prefix(b"Exif\0\0").unwrap_or(&block))).unwrap_or_default())
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

    /// The bytes of an entry. Four and fewer are in the entry itself.
    fn value(&self, entry: usize) -> Option<&'a [u8]> {
        let count = self.u32(entry + 4)?;
        let at = if count <= 4 { entry + 8 } else { self.u32(entry + 8)? };
        if count > MAX_TEXT_BYTES { None } else { self.slice(at, count) }
    }
}

fn texts(block: &[u8]) -> Vec<(&'static str, String)> {
    let Some(tiff) = Tiff::new(block) else { return Vec::new() };
    let first = tiff.u32(4);
    let exif = first.and_then(|at| tiff.u32(tiff.entry(at, EXIF_IFD)? + 8));
    // Pillow writes all tags into the first directory.
    let found = TEXTS.into_iter().filter_map(|(tag, name)| {
        let entry = [exif, first].into_iter().flatten().find_map(|at| tiff.entry(at, tag))?;
        let value = tiff.value(entry)?;
        let text = if tag == USER_COMMENT { comment(value) } else { text_of(value) };
        let text = text.trim_matches('\0').trim();
        (!text.is_empty()).then(|| (name, text.to_owned()))
    });
    found.collect()
}

/// A comment, which should begin with how it is encoded.
fn comment(bytes: &[u8]) -> String {
    let Some((code, text)) = bytes.split_at_checked(CODE) else { return text_of(bytes) };
    let is = |known: &[u8; CODE]| code.eq_ignore_ascii_case(known);
    if is(UNICODE) {
        // Some write UTF-8 under this code. UTF-16 has zeros, at the latest in the settings.
        let utf8 = std::str::from_utf8(text).ok().filter(|text| !text.trim_end_matches('\0').contains('\0'));
        return utf8.map_or_else(|| utf16(text), str::to_owned);
    }
    // Some write no code at all.
    if CODES.into_iter().any(is) { String::from_utf8_lossy(text).into_owned() } else { text_of(bytes) }
}

/// UTF-8, or UTF-16 where so many bytes are zero.
fn text_of(bytes: &[u8]) -> String {
    let zeros = bytes.iter().filter(|&&byte| byte == 0).count();
    if 4 * zeros >= bytes.len() { utf16(bytes) } else { String::from_utf8_lossy(bytes).into_owned() }
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
