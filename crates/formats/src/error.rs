use std::{io, path::Path};

use crate::DType;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a checkpoint file. Each message is one line: the file, the tensor, what was expected, what to do.
///
/// Names that come out of a file are quoted, escaped and cut to a bounded length, so a hostile one can't forge a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read.
    #[error("{file}: cannot {action}: {source}")]
    Read {
        /// The file or folder.
        file: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The operating system, or the caller's own writer, failed while a file was written. The old file is untouched.
    #[error("{file}: not written, any earlier file is untouched: cannot {action}: {source}")]
    Write {
        /// The file that was to be written.
        file: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The file breaks a rule of the format outside any one tensor.
    #[error("{file}: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// One tensor of the file breaks a rule of the format.
    #[error("{file}: tensor {tensor}: {problem}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name, quoted.
        tensor: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// A tensor was asked for that the file does not have.
    #[error("{file}: tensor {tensor} is missing: use a checkpoint of the model that was asked for")]
    Missing {
        /// The file.
        file: String,
        /// The tensor's name, quoted.
        tensor: String,
    },
    /// A tensor's numbers can't be given, or written, in the form asked for.
    #[error("{context}: {from} cannot be converted to {to}: store the tensor in a dtype that can")]
    Convert {
        /// File and tensor, or what was converted.
        context: String,
        /// The dtype there is.
        from: DType,
        /// The dtype asked for.
        to: DType,
    },
}

impl Error {
    /// Whether a file or folder does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } | Self::Write { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn read(file: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Read { file: show_path(file), action, source }
    }

    pub(crate) fn file(file: &str, problem: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), problem: problem.into() }
    }

    pub(crate) fn tensor(file: &str, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { file: file.to_owned(), tensor: quote(tensor), problem: problem.into() }
    }
}

/// The most characters of foreign text in a message.
const LIMIT: usize = 120;

/// A name from a file, in quotes and escaped, cut if it is long.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(LIMIT) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
    }
}

/// What the JSON parser says, which may quote the file at length.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mut shown: String = text.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push_str(&format!("… at line {} column {}", error.line(), error.column()));
    }
    shown
}

/// What to do about a file whose JSON can't be used: a download that broke off or was garbled leaves no JSON; JSON that says
/// something else was written so.
pub(crate) fn json_advice(error: &serde_json::Error, what: &str) -> String {
    if error.is_data() { format!("do not use this {what}") } else { "download it again".to_owned() }
}

/// A path for a message: as the user typed it, but on one line.
pub(crate) fn show_path(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}
