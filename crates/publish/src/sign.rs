//! Signing files. Without the feature `c2pa` asking for it is refused.

use calotype::metadata::Metadata;
use calotype_safety::watermark::Mark;

use crate::{Error, Parents, Result, SigningOptions};

/// A key that files are signed with.
#[cfg(feature = "c2pa")]
pub(crate) struct Signing(calotype_safety::provenance::Signer);

#[cfg(feature = "c2pa")]
impl Signing {
    /// What the key can't do is found out here.
    pub(crate) fn open(options: &SigningOptions) -> Result<Self> {
        let SigningOptions { key, chain } = options;
        let read = |path: &std::path::PathBuf| {
            calotype_files::read_text(path, MAX_PEM).map_err(|source| Error::KeyFile { path: path.clone(), source })
        };
        let (key_text, chain_text) = (read(key)?, read(chain)?);
        let signer = calotype_safety::provenance::Signer::new(chain_text.as_bytes(), key_text.as_bytes());
        let failed = |source| Error::Key { key: key.clone(), chain: chain.clone(), source: Box::new(source) };
        Ok(Self(signer.map_err(failed)?))
    }

    /// The file with its manifest.
    pub(crate) fn sign(
        &self,
        file: &[u8],
        metadata: &Metadata,
        mark: Option<Mark>,
        parents: Parents<'_>,
    ) -> Result<Vec<u8>> {
        use calotype_safety::provenance::{Made, Parent};

        let init = metadata.request.init.as_ref();
        let parent = init.map(|init| parents.find(init.picture.reference())).transpose()?;
        let source = metadata.source_type();
        let made = Made {
            generator: (calotype::metadata::Program::Calotype.name(), &metadata.version),
            source_type: &source.uri(),
            parent: parent.as_ref().map(|(name, file)| Parent { name, file }),
            mark,
        };
        Ok(self.0.sign(file, &made)?)
    }
}

/// Keys and certificates are far smaller.
#[cfg(feature = "c2pa")]
const MAX_PEM: u64 = 1 << 20;

/// There is no such key.
#[cfg(not(feature = "c2pa"))]
pub(crate) enum Signing {}

#[cfg(not(feature = "c2pa"))]
impl Signing {
    pub(crate) fn open(_: &SigningOptions) -> Result<Self> {
        Err(Error::NoC2pa)
    }

    pub(crate) fn sign(&self, _: &[u8], _: &Metadata, _: Option<Mark>, _: Parents<'_>) -> Result<Vec<u8>> {
        match *self {}
    }
}
