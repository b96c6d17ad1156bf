//! Which format a file has, told by its first bytes and never by its name.

use crate::{Result, header::MAX_HEADER, source::Source};

/// A format that holds weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// safetensors.
    SafeTensors,
    /// What `torch.save` writes since 1.6: a zip archive of a pickle and the tensors' data.
    TorchZip,
    /// What `torch.save` wrote before 1.6: pickles, then the tensors' data.
    TorchLegacy,
    /// ONNX' protocol buffer.
    Onnx,
}

/// Bytes that are looked at.
const START: usize = 512;

/// What a file seems to be.
pub(crate) enum Seems {
    SafeTensors,
    Zip,
    /// It starts as pickles do.
    Pickle,
    /// Something else, named.
    Other(&'static str),
}

pub(crate) fn sniff(source: &Source) -> Result<Seems> {
    let mut start = [0; START];
    let start = &mut start[..START.min(usize::try_from(source.len).unwrap_or(START))];
    source.read_at(start, 0)?;
    // A header of some length makes a safetensors file that starts as another format does; of 640 bytes, as a pickle.
    let could_be_header = start.first_chunk().is_some_and(|length| u64::from_le_bytes(*length) <= MAX_HEADER);
    if could_be_header && start.get(8) == Some(&b'{') {
        return Ok(Seems::SafeTensors);
    }
    if start.len() == START && start.iter().all(|&byte| byte == 0) {
        return Ok(Seems::Other("a file of zeros (a download that was not finished: download it again)"));
    }
    let known = || KNOWN_BY_LITTLE.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, kind)| *kind);
    if let Some(kind) = other_format(start).filter(|kind| *kind != ZIP).or_else(known) {
        return Ok(Seems::Other(kind));
    }
    if start.get(257..262) == Some(b"ustar") {
        return Ok(Seems::Other(
            "a tar archive (if it is a PyTorch file from before 0.1.10, load it with torch and save it as safetensors)",
        ));
    }
    if start.starts_with(b"PK") {
        return Ok(Seems::Zip);
    }
    let kind = match start {
        [0x80, 0..=5, ..] => return Ok(Seems::Pickle),
        // The text pickles of protocol 0 and 1 start with some letter; no one saved weights so, but attackers do. Words are
        // no opcode with its argument.
        [b'c' | b'I' | b'L' | b'i', ..] if is_text(start) && has_words(start) => TEXT,
        [b'(' | b']' | b'}' | b')' | b'c' | b'I' | b'L' | b'i', ..] if !could_be_header => return Ok(Seems::Pickle),
        _ if could_be_header || start.len() < 8 => return Ok(Seems::SafeTensors),
        _ if is_onnx(start) => ONNX,
        _ if is_text(start) => TEXT,
        _ => UNKNOWN,
    };
    Ok(Seems::Other(kind))
}

pub(crate) const ONNX: &str = "an ONNX model (get the model as safetensors)";
pub(crate) const UNKNOWN: &str = "a damaged file, or one of a format that is not known here";
const TEXT: &str = "a text file (give the file of the weights, which may be beside it)";

/// Whether these bytes are the beginning of a text.
fn is_text(start: &[u8]) -> bool {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // Cut within a letter.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
}

/// Whether the first line is words, or a key and its value.
fn has_words(start: &[u8]) -> bool {
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.windows(2).any(|pair| pair == b": ") || line.iter().filter(|&&byte| byte == b' ').count() > 1
}

/// ONNX' protocol buffer: the version of its form, then the name of the program that wrote it, or the graph.
fn is_onnx(start: &[u8]) -> bool {
    match start {
        [0x08, 1..=20, 0x12, length @ 1..=64, rest @ ..] => {
            rest.get(..usize::from(*length)).is_some_and(|name| name.iter().all(|byte| byte.is_ascii_graphic()))
        }
        [0x08, 1..=20, 0x3a, ..] => true,
        _ => false,
    }
}

const ZIP: &str = "a zip archive (perhaps a PyTorch .ckpt or .pt)";

/// Names the common files that are given in place of weights.
pub(crate) fn other_format(start: &[u8]) -> Option<&'static str> {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"version ", "a Git LFS pointer (run `git lfs pull` to get the weights)"),
        (b"PK\x03\x04", ZIP),
        (b"GGUF", "a GGUF file (get the model as safetensors)"),
        (b"GGML", "a GGML file (get the model as safetensors)"),
        (b"{\"error\"", "an error message from a web server (the download failed)"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"),
        (b"Rar!\x1a\x07", "a RAR archive (unpack it first)"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89HDF\r\n", "an HDF5 file (of Keras, perhaps)"),
        (b"\x89PNG\r\n", "a PNG picture"),
        (b"RIFF", "a WebP picture or a recording"),
        (b"GIF8", "a GIF picture"),
        (b"%PDF", "a PDF document"),
    ];
    let found = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, kind)| *kind);
    found.or_else(|| is_web_page(start).then_some("a web page (the download failed)"))
}

/// Whether it starts as pages of the web do, in any case, after a byte order mark and white space.
fn is_web_page(start: &[u8]) -> bool {
    const STARTS: [&[u8]; 5] = [b"<!doctyp", b"<html", b"<head", b"<?xml", b"<!--"];
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    STARTS.iter().any(|known| start.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known)))
}

/// Formats told by so few bytes that a header's length could be the same.
const KNOWN_BY_LITTLE: [(&[u8], &str); 2] =
    [(b"\x1f\x8b\x08", "a gzip file (unpack it first)"), (b"\xff\xd8\xff", "a JPEG picture")];
