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
    Ok(match start {
        [0x80, 0..=5, ..] => Seems::Pickle,
        // The text pickles of protocol 0 and 1 start with some letter; no one saved weights so, but attackers do.
        [b'(' | b']' | b'}' | b')' | b'c' | b'I' | b'L' | b'i', ..] if !could_be_header => Seems::Pickle,
        _ if could_be_header || start.len() < 8 => Seems::SafeTensors,
        _ => Seems::Other("a damaged file, or one of a format that is not known here"),
    })
}

const ZIP: &str = "a zip archive (perhaps a PyTorch .ckpt or .pt)";

/// Names the common files that are given in place of weights.
pub(crate) fn other_format(start: &[u8]) -> Option<&'static str> {
    const KNOWN: &[(&[u8], &str)] = &[
        (b"version ", "a Git LFS pointer (run `git lfs pull` to get the weights)"),
        (b"PK\x03\x04", ZIP),
        (b"GGUF", "a GGUF file"),
        (b"<!DOCTYP", "a web page (the download failed)"),
        (b"<!doctyp", "a web page (the download failed)"),
        (b"<html", "a web page (the download failed)"),
        (b"{\"error\"", "an error message from a web server (the download failed)"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it first)"),
        (b"Rar!\x1a\x07", "a RAR archive (unpack it first)"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89HDF\r\n", "an HDF5 file (of Keras, perhaps)"),
        (b"\x89PNG\r\n", "a PNG picture"),
    ];
    KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, kind)| *kind)
}

/// Formats told by so few bytes that a header's length could be the same.
const KNOWN_BY_LITTLE: [(&[u8], &str); 2] =
    [(b"\x1f\x8b\x08", "a gzip file (unpack it first)"), (b"\xff\xd8\xff", "a JPEG picture")];
