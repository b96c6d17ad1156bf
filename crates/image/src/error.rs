use std::path::PathBuf;

/// What can go wrong with a picture. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read, but is not a picture that can be used.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with its contents.
        error: Box<Error>,
    },
    /// The bytes are of no format that is read.
    #[error("not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these")]
    UnknownFormat,
    /// The bytes start as one of these and then break its rules.
    #[error("not a valid {format} picture: {reason}")]
    Corrupt {
        /// `PNG`, `JPEG` and so on.
        format: &'static str,
        /// What the decoder found, on one line.
        reason: String,
    },
    /// The bytes are of a kind of this format that is not read.
    #[error("a {format} of a kind that is not read ({reason}); convert it to PNG")]
    Unsupported {
        /// `PNG`, `JPEG` and so on.
        format: &'static str,
        /// What the decoder found, on one line.
        reason: String,
    },
    /// The picture is larger than [`Limits`](crate::Limits) allow.
    #[error("the picture has {found} {unit}, more than the limit of {limit}; make it smaller")]
    TooLarge {
        /// Size of the picture; 0 where the decoder did not say.
        found: u64,
        /// The limit.
        limit: u64,
        /// `pixels` or `bytes`.
        unit: &'static str,
    },
    /// Sizes that do not fit: a buffer with its width and height, or two pictures with each other.
    #[error("{what}: expected {expected}, got {got}")]
    Size {
        /// What was asked for.
        what: &'static str,
        /// The size that was expected.
        expected: String,
        /// The size that came.
        got: String,
    },
    /// A PNG keyword that the format cannot hold.
    #[error("PNG keyword {keyword:?} must be 1 to 79 Latin-1 characters without space at either end or doubled")]
    Keyword {
        /// The keyword.
        keyword: String,
    },
    /// More text than a JPEG's EXIF block holds.
    #[error("the texts take {found} bytes, more than the {limit} of a JPEG: write a PNG or WebP")]
    LongTexts {
        /// Bytes of the texts.
        found: usize,
        /// Bytes that a JPEG holds.
        limit: usize,
    },
    /// A picture could not be written.
    #[error("the {format} cannot be written: {reason}")]
    Encode {
        /// `PNG`, `JPEG` or `WebP`.
        format: &'static str,
        /// What the encoder said.
        reason: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A message of another crate on one line.
pub(crate) fn one_line(message: impl std::fmt::Display) -> String {
    message.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
