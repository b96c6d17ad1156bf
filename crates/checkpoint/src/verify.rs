//! Whether weights are whole: every number read.

use std::path::{Path, PathBuf};

use calotype_formats::{Checkpoint, DType};
use serde::Serialize;

use crate::{
    Error, Model, ModelOptions, Progress, Result,
    error::{brief, show},
    hash,
};

/// Numbers read at a time.
const PIECE: usize = 1 << 16;

/// What was found sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The file or folder.
    pub path: String,
    /// Whether it is a whole model, whose parts fit each other.
    pub whole_model: bool,
    /// Tensors read.
    pub tensors: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that were held to checksums in the files, which only PyTorch's zip form has.
    pub summed_bytes: u64,
    /// The hash ([`Model::hash`], or that of the file).
    pub sha256: String,
    /// What the hash was held to, if to anything.
    pub checked_against: Option<String>,
    /// Whether a file ends in 64 KiB of zeros, as one may whose download was cut off.
    pub ends_in_zeros: bool,
}

/// Reads every tensor of the model or file at `path`, and checks that its data matches the checksum that the file has of it
/// (if it has one), that its numbers are finite, its shapes those of a model (if it is one), and its hash the one `expected`
/// (64 hexadecimal digits), or that of the file `PATH.sha256` beside it.
///
/// # Errors
/// It is not so: the message names the first tensor, or both hashes.
pub fn verify(
    path: &Path,
    options: &ModelOptions,
    expected: Option<&str>,
    progress: Progress<'_>,
) -> Result<Verification> {
    let sidecar = sidecar(path);
    let expected = match expected {
        Some(given) => Some((digits(given, "--sha256")?, "--sha256".to_owned())),
        None if sidecar.is_file() => {
            let text = String::from_utf8_lossy(&crate::files::read_small(&sidecar)?).into_owned();
            let label = show(&sidecar);
            Some((digits(text.split_whitespace().next().unwrap_or_default(), &label)?, label))
        }
        None => None,
    };
    let (files, sha256, whole_model) = match Model::open_any(path, options) {
        Ok(model) => {
            let mut files = vec![model.unet.weights.clone()];
            for other in [&model.text_encoder.weights, &model.vae.weights] {
                if !files.iter().any(|file| std::sync::Arc::ptr_eq(file, other)) {
                    files.push(other.clone());
                }
            }
            (files, model.hash()?.to_owned(), true)
        }
        Err(_) if path.is_file() && is_no_whole_model(path)? => {
            let read = |e| Error::io(path, "read the file", e);
            let sha256 = calotype_files::open(path).and_then(hash::of_stream).map_err(read)?;
            (vec![Checkpoint::open(path, "")?.into()], sha256, false)
        }
        Err(error) => return Err(error),
    };
    if let Some((expected, from)) = expected.as_ref().filter(|(expected, _)| *expected != sha256) {
        let problem = format!("its SHA-256 is {sha256}, expected {expected} ({from}): download it again");
        return Err(Error::file(show(path), problem));
    }
    let bytes: u64 = files.iter().flat_map(|file| file.tensors()).map(|tensor| tensor.byte_count()).sum();
    let summed_bytes: u64 = files.iter().map(|file| file.summed_bytes()).sum();
    let total = bytes + summed_bytes;
    let (mut done, mut tensors) = (0, 0);
    for file in &files {
        file.check_sums(|read| {
            done += read;
            progress(done, total)
        })?;
        for tensor in file.tensors() {
            check(file, &tensor.name, tensor.dtype)?;
            tensors += 1;
            done += tensor.byte_count();
            if !progress(done, total) {
                return Err(Error::file(show(path), "stopped"));
            }
        }
    }
    let checked_against = expected.map(|(_, from)| from);
    let ends_in_zeros = files.iter().any(|file| file.ends_in_zeros());
    Ok(Verification {
        path: show(path),
        whole_model,
        tensors,
        bytes,
        summed_bytes,
        sha256,
        checked_against,
        ends_in_zeros,
    })
}

/// Whether a file is sound for what it is, though it is no whole model.
fn is_no_whole_model(path: &Path) -> Result<bool> {
    use calotype_models::{Component, FileKind};
    let whole = FileKind::Networks(Component::ALL.to_vec());
    Ok(FileKind::of(&Checkpoint::open(path, "")?) != whole)
}

/// `PATH.sha256`.
fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

fn digits(text: &str, from: &str) -> Result<String> {
    if text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Error::Sha256 { from: from.to_owned(), text: brief(text) })
}

/// Reads a tensor; its numbers must be finite if they are floats.
fn check(file: &Checkpoint, name: &str, dtype: DType) -> Result<()> {
    if !dtype.is_float() {
        file.read(name)?;
        return Ok(());
    }
    let Some((value, place)) = first_not_finite(file, name)? else { return Ok(()) };
    let problem = format!(
        "tensor {:?} has {value} at its place {place}: the weights are damaged, compare their SHA-256 with the publisher's",
        brief(name),
    );
    Err(Error::file(file.label(), problem))
}

/// The first number of a tensor of floats that is none, and its place. Reads it all.
pub(crate) fn first_not_finite(file: &Checkpoint, name: &str) -> Result<Option<(f32, usize)>> {
    let floats = file.floats(name)?;
    let mut numbers = vec![0.0f32; PIECE.min(floats.count())];
    let mut start = 0;
    while start < floats.count() {
        let length = PIECE.min(floats.count() - start);
        let piece = numbers.get_mut(..length).unwrap_or_default();
        floats.read(start, piece)?;
        if let Some(n) = piece.iter().position(|x| !x.is_finite()) {
            return Ok(Some((piece.get(n).copied().unwrap_or_default(), start + n)));
        }
        start += length;
    }
    Ok(None)
}
