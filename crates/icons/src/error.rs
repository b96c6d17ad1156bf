use std::path::PathBuf;

/// What can go wrong while making the data set. Each message is one line.
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
    /// A package's file could not be read.
    #[error("{}: cannot be read: {source}; unpack the npm package {package} there", path.display())]
    Package {
        /// The file.
        path: PathBuf,
        /// The package's name.
        package: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not in the form that is expected.
    #[error("{}: {reason}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// A set has no icon for a subject.
    #[error("the icon set {set} has no icon for U+{code}: a newer package may have it")]
    Missing {
        /// The set's package.
        set: &'static str,
        /// The code points.
        code: String,
    },
    /// An icon could not be drawn.
    #[error("the icon of U+{code} in {set} can't be drawn: {reason}")]
    Icon {
        /// The set's package.
        set: &'static str,
        /// The code points.
        code: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The list of subjects has a bad line.
    #[error("subjects.txt line {line}: {reason}")]
    Subjects {
        /// Line, from 1.
        line: usize,
        /// What is wrong and was expected.
        reason: String,
    },
    /// No scene of a kind follows the rules.
    #[error("no scene of the kind {kind} can be made of {subjects} subjects: give more subjects")]
    NoScene {
        /// The kind.
        kind: &'static str,
        /// Subjects there are.
        subjects: usize,
    },
    /// The folder to write to has a data set already.
    #[error("{}: exists already; remove it or choose another folder", path.display())]
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
    /// A part of the model could not be read.
    #[error(transparent)]
    Checkpoint(#[from] calotype_checkpoint::Error),
    /// The network that features are taken from could not be read.
    #[error(transparent)]
    Format(#[from] calotype_formats::Error),
    /// It is not the network that was expected.
    #[error(transparent)]
    Network(#[from] calotype_models::Error),
    /// A network could not be computed.
    #[error(transparent)]
    Tensor(#[from] calotype_tensor::Error),
    /// A picture could not be decoded, resized or encoded.
    #[error(transparent)]
    Image(#[from] calotype_image::Error),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
