//! Upscalers, which are one file in every program, by the names that Real-ESRGAN gives their tensors.

use std::path::Path;

use calotype_formats::Checkpoint;
use calotype_models::{FileKind, UpscalerFile};

use super::{ConvertOptions, ConvertTo, Progress, stage::Stage, tensors::Tensors};
use crate::{Error, Result};

/// The upscaler in the file at `path`, if it has one.
///
/// # Errors
/// The file can't be read, or its upscaler is not whole.
pub(super) fn open(path: &Path) -> Result<Option<(Checkpoint, UpscalerFile)>> {
    if !path.is_file() {
        return Ok(None);
    }
    let file = Checkpoint::open(path, "")?;
    match FileKind::of(&file) {
        FileKind::Upscaler(_) => {
            let found = UpscalerFile::of(&file)?;
            Ok(Some((file, found)))
        }
        _ => Ok(None),
    }
}

/// Writes it as one file of safetensors.
///
/// # Errors
/// A folder is asked for, or it can't be written.
pub(super) fn write(
    file: &Checkpoint,
    found: &UpscalerFile,
    output: &Path,
    how: ConvertOptions,
    progress: Progress<'_>,
) -> Result<Vec<String>> {
    if how.to == ConvertTo::Diffusers {
        let problem =
            "this is an upscaler, which is one file in every program: convert it to compvis, which writes one";
        return Err(Error::file(file.label(), problem));
    }
    let mut tensors = Tensors::new();
    for (name, key) in found.names(file)? {
        tensors.keep(file, &key, name, how.dtype);
    }
    let stage = Stage::beside(output)?;
    let total = tensors.bytes();
    tensors.write(&stage.path().join("weights"), &mut 0, total, progress)?;
    stage.publish("weights", output)?;
    Ok(Vec::new())
}
