use std::{io, path::Path};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Each message is one line: what, where, what to do. No message has a token or a signed address in it,
/// and foreign text is escaped and cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for can't be: a wrong name, a pattern that matches nothing.
    #[error("{0}")]
    Request(String),
    /// A variable of the environment has a value that can't be used.
    #[error("{name}: {problem}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// `HF_HUB_OFFLINE` forbids the network.
    #[error("{id}: HF_HUB_OFFLINE is set, so the hub is not asked: unset it to download")]
    Offline {
        /// The model.
        id: String,
    },
    /// There is no such model, revision or file, or the token does not show it.
    #[error("{0}")]
    NotFound(String),
    /// The model's authors give it only to those who ask.
    #[error("{id} is gated: {problem}")]
    Gated {
        /// The model.
        id: String,
        /// What to do.
        problem: String,
    },
    /// The server could not be reached, or not for long enough, however often it was tried.
    #[error("{host}: {problem}")]
    Network {
        /// The server.
        host: String,
        /// What happened in the end.
        problem: String,
    },
    /// The server says something that a hub does not say.
    #[error("{what}: {problem}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// What was downloaded is not what the hub announced. The file is deleted.
    #[error("{path}: {problem}, twice: the file is deleted; try again later, or tell the model's authors")]
    Corrupt {
        /// The file, by its path in the repository.
        path: String,
        /// What differs.
        problem: String,
    },
    /// The disk has no room.
    #[error("{folder}: the disk is full: {problem}")]
    DiskFull {
        /// Where.
        folder: String,
        /// How much is needed, and what is kept.
        problem: String,
    },
    /// The operating system refused something.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A small file of the cache could not be written.
    #[error(transparent)]
    Write(#[from] calotype_formats::Error),
    /// The [`crate::Watch`] ended it.
    #[error("stopped; what is downloaded is kept, and the same command goes on from there")]
    Stopped,
}

impl Error {
    /// Whether the fault is in what was asked for, not in what happened.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Setting { .. })
    }

    pub(crate) fn answer(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Answer { what: what.into(), problem: problem.into() }
    }

    /// A failure of the file system: a full disk is told apart.
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            let folder = path.parent().unwrap_or(path);
            let problem = "make room; what is downloaded is kept, and the same command goes on from there".to_owned();
            return Self::DiskFull { folder: show_path(folder), problem };
        }
        Self::Io { path: show_path(path), action, source }
    }
}

/// The most characters of foreign text in a message.
const LIMIT: usize = 120;

/// Foreign text for a message: escaped, and cut if it is long.
pub(crate) fn show(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
    let mut shown: String = text.chars().take(LIMIT).map(|c| if plain(c) { c } else { '\u{fffd}' }).collect();
    if text.chars().nth(LIMIT).is_some() {
        shown.push('…');
    }
    shown
}

/// A path for a message: as the user typed it, but on one line.
pub(crate) fn show_path(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}

/// What the JSON parser says, which may quote its input at length.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    show(&error.to_string())
}
