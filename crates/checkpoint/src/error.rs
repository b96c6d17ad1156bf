use std::{io, path::Path};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with a model's files. Each message is one line: what, where, what was expected, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder is not what it should be.
    #[error("{file}: {problem}")]
    File {
        /// Which file or folder.
        file: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// The operating system refused.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A text that was given as a SHA-256 is none.
    #[error("{from}: {text:?} is no SHA-256: expected 64 hexadecimal digits")]
    Sha256 {
        /// Where it comes from: a file, or what the caller calls it.
        from: String,
        /// The text, cut if it is long.
        text: String,
    },
    /// The noise schedule of a model can't be used.
    #[error(transparent)]
    Sampling(#[from] calotype_diffusion::Error),
    /// A weights file can't be read or written.
    #[error(transparent)]
    Formats(#[from] calotype_formats::Error),
    /// A network's config or parameters can't be used.
    #[error(transparent)]
    Models(#[from] calotype_models::Error),
    /// The tokenizer's files can't be used.
    #[error(transparent)]
    Text(#[from] calotype_text::Error),
}

impl Error {
    /// An error of a file or folder, for what the caller finds wrong with it.
    pub fn file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::File { file: file.into(), problem: problem.into() }
    }

    /// An error of the operating system at `path`; `action` is what was tried, as a verb phrase.
    pub fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { file: show(path), action, source }
    }

    /// Whether another call would have worked: the fault is in what was asked for, not in a file or the machine.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Sha256 { .. })
    }

    /// Whether a file or folder does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Formats(error) => error.is_not_found(),
            _ => false,
        }
    }
}

/// A path for a message: as the user typed it, but on one line.
pub fn show(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}

/// Foreign text for a message: one line, not long.
pub fn brief(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
