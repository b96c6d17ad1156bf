use std::path::PathBuf;

/// What can go wrong while making the data set. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The font file could not be read.
    #[error(
        "{}: cannot be read: {source}; install Debian's package fonts-noto-color-emoji or give the file with --font",
        path.display()
    )]
    FontFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The font file was read, but is not a font that can be used.
    #[error("{}: {error}", path.display())]
    InFontFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with its contents.
        error: Box<Error>,
    },
    /// The bytes are no font, or one without colour bitmaps in PNG.
    #[error("no colour bitmap font: {reason}; expected NotoColorEmoji.ttf with CBDT bitmaps")]
    Font {
        /// What is wrong or missing.
        reason: String,
    },
    /// The font has no picture for an object.
    #[error("the font has no PNG picture for U+{codepoint:04X}; a newer NotoColorEmoji.ttf may have it")]
    Glyph {
        /// The character.
        codepoint: u32,
    },
    /// The list of objects has a bad line.
    #[error("objects.txt line {line}: {reason}")]
    Objects {
        /// Line, from 1.
        line: usize,
        /// What is wrong and was expected.
        reason: String,
    },
    /// There are too few objects to hold one background of each out.
    #[error("{objects} objects are too few: at least {needed} are needed for the held-out pairs")]
    TooFewObjects {
        /// Objects there are.
        objects: usize,
        /// Objects needed.
        needed: usize,
    },
    /// The folder to write to has a data set already.
    #[error("{}: exists already; remove it or give another folder with --out", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model could not be opened, or not make a picture.
    #[error(transparent)]
    Model(#[from] calotype::Error),
    /// A picture could not be decoded, resized or encoded.
    #[error(transparent)]
    Image(#[from] calotype_image::Error),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
