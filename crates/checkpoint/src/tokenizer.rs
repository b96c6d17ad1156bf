//! A tokenizer with the files that it is read from.

use std::path::Path;

use calotype_text::Tokenizer;

use crate::{Result, files::Files};

/// The tokenizer in a diffusers folder, with its files.
#[derive(Debug)]
pub struct TokenizerFolder {
    /// What they are read as.
    pub tokenizer: Tokenizer,
    /// `(name, contents)` of those that a tokenizer has.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl TokenizerFolder {
    /// Reads `model/tokenizer`; none where there is no such folder.
    ///
    /// # Errors
    /// Its files can't be read, or are no CLIP tokenizer's.
    pub fn open(model: &Path) -> Result<Option<Self>> {
        let files = Files::Folder(model.to_owned());
        let read = |tokenizer| Ok(Self { tokenizer, files: files.read_tokenizer()? });
        files.open_tokenizer()?.map(read).transpose()
    }
}
