//! What images are held to and what they carry.

use std::path::{Path, PathBuf};

use calotype::metadata::DigitalSourceType;
use calotype_safety::{
    policy::{Action, Policy},
    rules::Rules,
    watermark::Wanted,
};

use crate::{Error, Result};

/// The folder of the safety checker in that of a diffusers model.
const CHECKER: &str = "safety_checker";

/// What a [`Publisher`](crate::Publisher) does. By default images are neither judged nor recorded; they have our watermark and metadata, and
/// are not signed.
#[derive(Debug)]
pub struct Options {
    /// What is done with images by what they show ([`policy()`]).
    pub policy: Option<Policy>,
    /// Which prompts are refused.
    pub rules: Option<Rules>,
    /// The audit log; it is begun if it is not there.
    pub audit: Option<PathBuf>,
    /// Whether the log has the SHA-256 of prompts in place of their text.
    pub hash_prompts: bool,
    /// Whether the metadata of images say their scores.
    pub says_scores: bool,
    /// The watermark, if there is one.
    pub watermark: Option<Wanted>,
    /// Whether an image without its watermark is an error, besides where the policy says so.
    pub requires_watermark: bool,
    /// Whether files say how they were made and that they were generated.
    pub has_metadata: bool,
    /// Of an image that is made again as it was, what its file says of how it came to be: perhaps nothing. `None` for all other images.
    pub source_as_made: Option<Option<DigitalSourceType>>,
    /// What files are signed with.
    pub signing: Option<SigningOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: None,
            rules: None,
            audit: None,
            hash_prompts: false,
            says_scores: false,
            watermark: Some(Wanted::default()),
            requires_watermark: false,
            has_metadata: true,
            source_as_made: None,
            signing: None,
        }
    }
}

/// A key that files are signed with. It takes the feature `c2pa`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningOptions {
    /// The file of the private key (PEM, PKCS #8).
    pub key: PathBuf,
    /// The file of its certificate and of those that it comes from, without the root (PEM).
    pub chain: PathBuf,
}

/// The policy that `asked` names: none for `off`; a policy file, which ends in `.toml`; or for `flag`, `blur`, `hold` and `block` the one
/// that does this with what a safety checker flags: that at `checker`, or that in the folder of the model.
///
/// # Errors
/// [`Error::UnknownPolicy`]; [`Error::NoChecker`] where there is none; [`Error::CheckerBesideFile`]; what [`Policy::load`] gives.
pub fn policy(asked: &str, checker: Option<&Path>, model: Option<&Path>) -> Result<Option<Policy>> {
    let action = match asked {
        "off" => return Ok(None),
        "flag" => Action::Label,
        "blur" => Action::Blur,
        "hold" => Action::Hold,
        "block" => Action::Block,
        _ if Path::new(asked).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) => {
            return match checker {
                Some(_) => Err(Error::CheckerBesideFile),
                None => Ok(Some(Policy::load(Path::new(asked))?)),
            };
        }
        _ => return Err(Error::UnknownPolicy { given: asked.to_owned() }),
    };
    let beside = || model.map(|model| model.join(CHECKER)).filter(|folder| folder.is_dir());
    let checker = checker.map(Path::to_owned).or_else(beside).ok_or(Error::NoChecker)?;
    Ok(Some(Policy::of_checker(&checker, action)))
}
