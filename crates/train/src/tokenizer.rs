//! The tokenizer that a run's captions are read with.

use std::path::Path;

use calotype_checkpoint::TokenizerFolder;
use calotype_text::{Tokenizer, clip_files};

use crate::{Result, metrics::write_file};

/// That of the model that the run starts from, if it has its own; else CLIP's.
pub(crate) struct RunTokenizer(Option<TokenizerFolder>);

impl RunTokenizer {
    /// For a run that starts from `init_from`.
    pub(crate) fn open(init_from: Option<&Path>) -> Result<Self> {
        let open = |from| TokenizerFolder::open(from);
        Ok(Self(init_from.map(open).transpose()?.flatten()))
    }

    pub(crate) fn get(&self) -> &Tokenizer {
        match &self.0 {
            Some(own) => &own.tokenizer,
            None => Tokenizer::clip(),
        }
    }

    /// Writes its files into a folder that is there.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        match &self.0 {
            Some(own) => own.files.iter().try_for_each(|(name, bytes)| write_file(&folder.join(name), bytes)),
            None => clip_files().iter().try_for_each(|(name, text)| write_file(&folder.join(name), text.as_bytes())),
        }
    }
}
