//! Signing the files of images. Without the feature `c2pa` asking for it is refused.

use std::path::{Path, PathBuf};

use calotype::metadata::Metadata;
use calotype_safety::watermark::Mark;
use serde_json::Value;
#[cfg(feature = "c2pa")]
use serde_json::json;

use crate::{args::MarkArgs, failure::Failure};

/// What a build without the feature says.
#[cfg(not(feature = "c2pa"))]
pub(crate) const NO_C2PA: &str =
    "this calotype was built without C2PA: build it with cargo build --release --features c2pa";

/// A key that files are signed with.
#[cfg(feature = "c2pa")]
pub(crate) struct Signing {
    signer: calotype_safety::provenance::Signer,
    /// Where images to start from may be, besides where they were.
    given: Vec<PathBuf>,
}

#[cfg(feature = "c2pa")]
impl Signing {
    /// The key of the command line, if there is one. What it can't do is found out here.
    pub(crate) fn open(args: &MarkArgs, given: &[PathBuf]) -> Result<Option<Self>, Failure> {
        let (Some(key), Some(chain)) = (&args.sign_key, &args.sign_cert) else { return Ok(None) };
        let read = |path: &PathBuf| {
            let failed = |error| Failure::Failed(format!("{}: cannot be read: {error}", path.display()));
            calotype_files::read_text(path, MAX_PEM).map_err(failed)
        };
        let (key_text, chain_text) = (read(key)?, read(chain)?);
        let signer = calotype_safety::provenance::Signer::new(chain_text.as_bytes(), key_text.as_bytes());
        let at =
            |error| Failure::Failed(format!("--sign-key {} --sign-cert {}: {error}", key.display(), chain.display()));
        Ok(Some(Self { signer: signer.map_err(at)?, given: given.to_vec() }))
    }

    /// The file with its manifest.
    pub(crate) fn sign(&self, file: &[u8], metadata: &Metadata, mark: Option<Mark>) -> Result<Vec<u8>, Failure> {
        use calotype_safety::provenance::{Made, Parent};

        let parent = metadata.request.init.as_ref().map(|init| self.parent(init.picture.reference())).transpose()?;
        let source = metadata.source_type();
        let made = Made {
            generator: (calotype::metadata::Program::Calotype.name(), &metadata.version),
            source_type: &source.uri(),
            parent: parent.as_ref().map(|(name, file)| Parent { name, file }),
            mark,
        };
        Ok(self.signer.sign(file, &made)?)
    }

    /// The name and the bytes of the image that another began with.
    fn parent(&self, reference: &calotype::request::FileRef) -> Result<(String, Vec<u8>), Failure> {
        let candidates = std::iter::once(PathBuf::from(&reference.file)).chain(self.given.iter().cloned());
        for path in candidates {
            let read = calotype_image::read_limited(&path, &calotype_image::Limits::default());
            if let Ok(bytes) = read
                && calotype_checkpoint::hash::of_bytes(&bytes) == reference.sha256
            {
                let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                return Ok((name, bytes));
            }
        }
        let problem = "is not there as it was when the image was begun, and the signature has to name it";
        Err(Failure::Failed(format!("{}: {problem}", reference.file)))
    }
}

/// Keys and certificates are far smaller.
#[cfg(feature = "c2pa")]
const MAX_PEM: u64 = 1 << 20;

/// What a file's signature says.
#[cfg(feature = "c2pa")]
pub(crate) struct Manifest(calotype_safety::provenance::Report);

#[cfg(feature = "c2pa")]
impl Manifest {
    /// That of a file, if it has one.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        let bytes = calotype_image::read_limited(file, &calotype_image::Limits::default()).ok()?;
        calotype_safety::provenance::read(&bytes, None).map(Self)
    }

    pub(crate) fn for_people(&self) -> String {
        match &self.0.signer {
            Some(signer) if self.0.is_valid => format!("valid, signed by {signer} (trust not checked)"),
            _ if self.0.is_valid => "valid".to_owned(),
            _ => format!("not valid: {}", self.0.problems.join(", ")),
        }
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({ "is_valid": self.0.is_valid, "signer": self.0.signer, "problems": self.0.problems })
    }
}

/// Not looked for.
#[cfg(not(feature = "c2pa"))]
pub(crate) enum Manifest {}

#[cfg(not(feature = "c2pa"))]
impl Manifest {
    pub(crate) fn read(_: &Path) -> Option<Self> {
        None
    }

    pub(crate) fn for_people(&self) -> String {
        match *self {}
    }

    pub(crate) fn as_json(&self) -> Value {
        match *self {}
    }
}

/// There is no such key.
#[cfg(not(feature = "c2pa"))]
pub(crate) enum Signing {}

#[cfg(not(feature = "c2pa"))]
impl Signing {
    pub(crate) fn open(args: &MarkArgs, _: &[PathBuf]) -> Result<Option<Self>, Failure> {
        match &args.sign_key {
            None => Ok(None),
            Some(_) => Err(Failure::usage(format!("--sign-key: {NO_C2PA}"))),
        }
    }

    pub(crate) fn sign(&self, _: &[u8], _: &Metadata, _: Option<Mark>) -> Result<Vec<u8>, Failure> {
        match *self {}
    }
}
