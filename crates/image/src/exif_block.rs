//! EXIF blocks with texts.

use crate::error::{Error, Result};

/// Where IFD 0 says that the EXIF directory is.
pub(crate) const EXIF_IFD: u16 = 0x8769;
pub(crate) const USER_COMMENT: u16 = 0x9286;
/// What the maker of a file says in a form of its own.
pub(crate) const MAKER_NOTE: u16 = 0x927c;
/// How EXIF blocks begin in a JPEG's segment.
pub(crate) const JPEG_PREFIX: &[u8] = b"Exif\0\0";
/// The keyword of the text that is the comment.
const COMMENT_KEYWORD: &str = "parameters";
/// Says that a comment is in UTF-16 (EXIF 2.32, table 9).
pub(crate) const UNICODE: &[u8; 8] = b"UNICODE\0";
/// The most bytes of a segment of a JPEG, without its length.
const LONGEST_SEGMENT: usize = 65_533;

/// The type of bytes of no other type.
const UNDEFINED: u16 = 7;
const LONG: u16 = 4;
/// Bytes of a directory with one entry, and of the header before the first.
const DIRECTORY: usize = 2 + 12 + 4;
const HEADER: usize = 8;

/// Texts with their keywords, for an EXIF block.
pub(crate) struct ExifTexts<'a> {
    pub(crate) texts: &'a [(&'a str, &'a str)],
}

impl ExifTexts<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// A big-endian TIFF structure as piexif's, by which A1111 writes it: the comment in UTF-16, big-endian, without a mark.
    pub(crate) fn block(&self) -> Vec<u8> {
        let is_comment = |(keyword, _): &&(&str, &str)| *keyword == COMMENT_KEYWORD;
        let comment = self.texts.iter().find(is_comment).map(|(_, text)| {
            let utf16 = text.encode_utf16().flat_map(u16::to_be_bytes);
            UNICODE.iter().copied().chain(utf16).collect::<Vec<u8>>()
        });
        let others = self.texts.iter().filter(|text| !is_comment(text));
        let others: Vec<String> =
            others.map(|(keyword, text)| format!("{keyword}: {}", text.replace('\0', "\u{fffd}"))).collect();
        let maker_note = (!others.is_empty()).then(|| others.join("\0").into_bytes());
        // In the order of the tags.
        let values: Vec<(u16, Vec<u8>)> = [(MAKER_NOTE, maker_note), (USER_COMMENT, comment)]
            .into_iter()
            .filter_map(|(tag, value)| Some((tag, value?)))
            .collect();
        let exif = HEADER + DIRECTORY;
        let mut block = b"MM\0*".to_vec();
        block.extend((HEADER as u32).to_be_bytes());
        directory(&mut block, &[entry(EXIF_IFD, LONG, 1, exif)]);
        let mut place = exif + 2 + 12 * values.len() + 4;
        let mut entries = Vec::new();
        for (tag, value) in &values {
            entries.push(entry(*tag, UNDEFINED, value.len(), place));
            // What does not fit into an entry begins at an even place.
            place += value.len().next_multiple_of(2);
        }
        directory(&mut block, &entries);
        for (_, value) in values {
            block.extend(&value);
            block.resize(block.len().next_multiple_of(2), 0);
        }
        block
    }

    /// The block as the segment APP1 of a JPEG.
    ///
    /// # Errors
    /// [`Error::LongTexts`].
    pub(crate) fn jpeg_segment(&self) -> Result<Vec<u8>> {
        check_segment([JPEG_PREFIX, &self.block()].concat())
    }
}

/// A segment of a JPEG, if it is short enough for one.
///
/// # Errors
/// [`Error::LongTexts`].
pub(crate) fn check_segment(segment: Vec<u8>) -> Result<Vec<u8>> {
    match segment.len() <= LONGEST_SEGMENT {
        true => Ok(segment),
        false => Err(Error::LongTexts { found: segment.len(), limit: LONGEST_SEGMENT }),
    }
}

/// Tag, type, count, and where the value is.
fn entry(tag: u16, kind: u16, count: usize, place: usize) -> [u8; 12] {
    let [count, place] = [count, place].map(|n| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
    let mut entry = [0; 12];
    entry[..2].copy_from_slice(&tag.to_be_bytes());
    entry[2..4].copy_from_slice(&kind.to_be_bytes());
    entry[4..8].copy_from_slice(&count);
    entry[8..].copy_from_slice(&place);
    entry
}

/// A directory, after which there is no other.
fn directory(block: &mut Vec<u8>, entries: &[[u8; 12]]) {
    block.extend((entries.len() as u16).to_be_bytes());
    entries.iter().for_each(|entry| block.extend(entry));
    block.extend([0; 4]);
}
