use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use png::text_metadata::{ITXtChunk, TEXtChunk};

use crate::error::{Error, Result, one_line};
use crate::raster::RgbImage;
use crate::texts::XMP_KEYWORD;

/// Longest text that is read, per chunk and after decompression, in bytes.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// Most texts that are read from one file.
const MAX_TEXTS: usize = 256;
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The picture as a PNG file (8-bit RGB) with texts, each a keyword and its text, before the pixels.
///
/// A text goes into a `tEXt` chunk when it is Latin-1 and into an uncompressed `iTXt` chunk otherwise; PIL, and so
/// A1111, reads both (`parameters` is the keyword there). XMP ([`XMP_KEYWORD`]) is always `iTXt`. U+0000, which PNG texts cannot
/// hold, becomes U+FFFD.
///
/// # Errors
/// [`Error::Keyword`] for a keyword that PNG does not allow; [`Error::Encode`] when the encoder refuses.
pub fn encode_png(picture: &RgbImage, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let size = [picture.width(), picture.height()];
    let (colour, depth) = (png::ColorType::Rgb, png::BitDepth::Eight);
    write_png(&PngPixels { size, colour, depth, data: picture.data() }, texts)
}

/// What a PNG file shows.
pub(crate) struct PngPixels<'a> {
    /// Width and height.
    pub(crate) size: [u32; 2],
    pub(crate) colour: png::ColorType,
    pub(crate) depth: png::BitDepth,
    /// Of 16 bits each value, the high byte first.
    pub(crate) data: &'a [u8],
}

/// [`encode_png`] of pixels of any kind.
pub(crate) fn write_png(pixels: &PngPixels<'_>, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let failed = |error: png::EncodingError| Error::Encode { format: "PNG", reason: one_line(error) };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixels.size[0], pixels.size[1]);
    encoder.set_color(pixels.colour);
    encoder.set_depth(pixels.depth);
    let mut writer = encoder.write_header().map_err(failed)?;
    for (keyword, text) in texts {
        check_keyword(keyword)?;
        let text = text.replace('\0', "\u{fffd}");
        let is_plain = *keyword != XMP_KEYWORD && text.chars().all(|c| u32::from(c) < 256);
        let written = if is_plain {
            writer.write_text_chunk(&TEXtChunk::new(*keyword, text))
        } else {
            writer.write_text_chunk(&ITXtChunk::new(*keyword, text))
        };
        written.map_err(failed)?;
    }
    writer.write_image_data(pixels.data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// The texts of a PNG file in their order, each a keyword and its text, from `tEXt`, `zTXt` and `iTXt` chunks before
/// and after the pixels. The pixels are not decoded.
///
/// A text chunk that is damaged, longer than 4 MiB, or beyond the first 256 is passed over, and a file cut short gives
/// the texts before the cut: what can be read of a picture's history is worth having.
///
/// # Errors
/// [`Error::UnknownFormat`] when the bytes are no PNG file.
pub fn read_png_text(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let mut rest = bytes.strip_prefix(SIGNATURE).ok_or(Error::UnknownFormat)?;
    let mut texts = Vec::new();
    while texts.len() < MAX_TEXTS {
        let Some(chunk) = Chunk::read(&mut rest) else { break };
        match chunk.kind {
            b"tEXt" => texts.extend(chunk.text_data().and_then(plain_text)),
            b"zTXt" => texts.extend(chunk.text_data().and_then(compressed_text)),
            b"iTXt" => texts.extend(chunk.text_data().and_then(international_text)),
            b"IEND" => break,
            _ => {}
        }
    }
    Ok(texts)
}

/// One chunk of a PNG file.
struct Chunk<'a> {
    kind: &'a [u8; 4],
    /// The kind and the data, which the checksum is of.
    checked: &'a [u8],
    checksum: u32,
}

impl<'a> Chunk<'a> {
    /// The next chunk, after which `bytes` is what follows it; `None` when it is not whole.
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let kind = rest.first_chunk::<4>()?;
        let (checked, rest) = rest.split_at_checked(length.checked_add(4)?)?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        *bytes = rest;
        Some(Self { kind, checked, checksum: u32::from_be_bytes(*checksum) })
    }

    /// The data, if it is short enough for a text and the checksum is right.
    fn text_data(&self) -> Option<&'a [u8]> {
        let data = self.checked.get(4..)?;
        (data.len() <= MAX_TEXT_BYTES && crc32fast::hash(self.checked) == self.checksum).then_some(data)
    }
}

/// `keyword NUL text`, all Latin-1.
fn plain_text(data: &[u8]) -> Option<(String, String)> {
    let (keyword, text) = split_nul(data)?;
    Some((latin1(keyword), latin1(text)))
}

/// `keyword NUL method text`, the text Latin-1 and compressed.
fn compressed_text(data: &[u8]) -> Option<(String, String)> {
    let (keyword, rest) = split_nul(data)?;
    let (&method, text) = rest.split_first()?;
    let text = if method == 0 { decompress_to_vec_zlib_with_limit(text, MAX_TEXT_BYTES).ok()? } else { return None };
    Some((latin1(keyword), latin1(&text)))
}

/// `keyword NUL compressed method language NUL translated-keyword NUL text`, the text UTF-8 and perhaps compressed.
fn international_text(data: &[u8]) -> Option<(String, String)> {
    let (keyword, rest) = split_nul(data)?;
    let (&[compressed, method], rest) = rest.split_first_chunk::<2>()?;
    let (_language, rest) = split_nul(rest)?;
    let (_translated, text) = split_nul(rest)?;
    let text = match (compressed, method) {
        (0, _) => text.to_vec(),
        (1, 0) => decompress_to_vec_zlib_with_limit(text, MAX_TEXT_BYTES).ok()?,
        _ => return None,
    };
    Some((latin1(keyword), String::from_utf8(text).ok()?))
}

fn split_nul(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|&b| b == 0)?;
    Some((&data[..at], &data[at + 1..]))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

fn check_keyword(keyword: &str) -> Result<()> {
    if is_png_keyword(keyword) { Ok(()) } else { Err(Error::Keyword { keyword: keyword.into() }) }
}

/// Whether PNG allows a keyword (PNG 1.2, section 4.2.3): 1 to 79 printable Latin-1 characters, no space at either end, none doubled.
#[must_use]
pub fn is_png_keyword(keyword: &str) -> bool {
    let printable = |c: char| matches!(u32::from(c), 0x20..=0x7e | 0xa1..=0xff);
    let count = keyword.chars().count();
    (1..=79).contains(&count)
        && keyword.chars().all(printable)
        && keyword.trim_matches(' ') == keyword
        && !keyword.contains("  ")
}
