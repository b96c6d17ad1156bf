use std::path::PathBuf;

use crate::MarkFault;

/// Why something is not given out, or can't be. Each message is one line. Callers whose users know the settings by other names say the
/// variants that are about settings in their own words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule does not let the prompt, or a name in the request, through.
    #[error("the prompt is refused by the rule {rule:?}{}", in_brackets(reason.as_deref()))]
    Refused {
        /// The rule's id.
        rule: String,
        /// Why there is such a rule.
        reason: Option<String>,
    },
    /// The policy does not let the image to start from through.
    #[error("{}: not taken, by the policy: {reasons}", init(file))]
    InitRefused {
        /// Its file, as the request names it; empty if it has none.
        file: String,
        /// The scores that ask for that.
        reasons: String,
    },
    /// An image would be without the watermark that it must have.
    #[error("{fault}; not written, for the policy asks for a watermark (watermark = \"required\")")]
    WatermarkRequired {
        /// What is wrong with its mark.
        fault: MarkFault,
    },
    /// Images must have a watermark and are to have none.
    #[error("there is to be no watermark, and the policy asks for one (watermark = \"required\"): let images have one")]
    WatermarkOff,
    /// An image is made again that had a mark which this program can't make.
    #[error("the image has a watermark of the scheme {scheme:?}, which is not known here: choose another, or none")]
    UnknownScheme {
        /// The name of the mark's scheme.
        scheme: String,
    },
    /// Images are held, or decided on, and there is no audit log.
    #[error("images are held, and every decision on one has to be recorded: give an audit log")]
    HoldWithoutLog,
    /// A policy that is neither a word for one nor a file.
    #[error("the policy {given:?}: expected off, flag, blur, hold, block, or a policy file that ends in .toml")]
    UnknownPolicy {
        /// What was given.
        given: String,
    },
    /// A safety checker is given beside a policy file.
    #[error("a safety checker goes with flag, blur, hold or block: a policy file names its classifiers")]
    CheckerBesideFile,
    /// There is no safety checker.
    #[error(
        "the policy needs a safety checker, and the model has none: give the folder safety_checker of a Stable Diffusion 1 model"
    )]
    NoChecker,
    /// The file of a key or of certificates can't be read.
    #[error("{}: cannot be read: {source}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key that can't sign.
    #[error("the key {} with the certificates {}: {source}", key.display(), chain.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// The certificates' file.
        chain: PathBuf,
        /// Why not.
        source: Box<calotype_safety::Error>,
    },
    /// This build can't sign.
    #[error("this calotype was built without C2PA: build it with cargo build --release --features c2pa")]
    NoC2pa,
    /// The image to start from, which a signature has to name, can't be had.
    #[error("{}: is not there as it was when the image was begun, and the signature has to name it", init(file))]
    NoParent {
        /// Its file, as the request names it; empty if it has none.
        file: String,
    },
    /// Of metadata and images.
    #[error(transparent)]
    Calotype(#[from] calotype::Error),
    /// Of rules, classifiers, watermarks, signatures and the audit log.
    #[error(transparent)]
    Safety(#[from] calotype_safety::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn in_brackets(reason: Option<&str>) -> String {
    reason.map_or(String::new(), |reason| format!(" ({reason})"))
}

/// What an image to start from is called.
pub(crate) fn init(file: &str) -> &str {
    if file.is_empty() { "the image to start from" } else { file }
}
