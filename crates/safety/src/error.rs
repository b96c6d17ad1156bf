use std::path::PathBuf;

/// What can go wrong. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A picture that is too small for a mark.
    #[error(
        "the picture of {width} x {height} is too small for this watermark, which takes {pixels} pixels; make a larger one"
    )]
    SmallPicture {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The fewest pixels.
        pixels: u64,
    },
    /// A text that a mark can't hold.
    #[error("a watermark's text must have 1 to {limit} bytes, not {bytes}")]
    Payload {
        /// Bytes of the text.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// A file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An image's file that can't be written.
    #[error(transparent)]
    File(#[from] calotype_formats::Error),
    /// An audit log, or its anchor, that can't be read or written.
    #[error("audit log {}: {problem}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A file of rules that can't be used. None of its rules holds.
    #[error("{}: {problem}", path.display())]
    RulesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Rules that can't be used.
    #[error("no valid rules: {problem}")]
    Rules {
        /// What is wrong, and where.
        problem: String,
    },
    /// A policy that can't be used.
    #[error("policy {}: {problem}", path.display())]
    Policy {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// A held image that can't be used or decided on.
    #[error("{}: {problem}", path.display())]
    Held {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The weights of a watermark that can't be used.
    #[error("watermark {}: {problem}", path.display())]
    Watermark {
        /// Their file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A classifier of images that can't be used.
    #[error("classifier {}: {problem}", path.display())]
    Classifier {
        /// Its file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A classifier gave no finite numbers.
    #[error("the classifier gives no finite numbers: check that its weights are sound")]
    NotFinite,
    /// A network can't be computed.
    #[error(transparent)]
    Tensor(#[from] calotype_tensor::Error),
    /// A C2PA manifest can't be written, or a key can't sign.
    #[error("{problem}")]
    Provenance {
        /// What, and why.
        problem: String,
    },
    /// The system gives no random numbers.
    #[error("no random numbers from the system: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
    /// A picture can't be read, made or written.
    #[error(transparent)]
    Image(#[from] calotype_image::Error),
}

impl Error {
    pub(crate) fn classifier(path: &std::path::Path, problem: String) -> Self {
        Self::Classifier { path: path.to_owned(), problem }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
