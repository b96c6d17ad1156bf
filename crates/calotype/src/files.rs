//! Where the files of a model come from: a folder on disk, or bytes in the program.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use calotype_formats::{Checkpoint, SafeTensors};
use calotype_text::Tokenizer;

use crate::{Error, Result, error::show};

/// A model's file held in memory: its path in the diffusers folder, with `/`, and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// Larger than any config file; a larger one is something else.
const MAX_CONFIG: u64 = 1 << 20;

/// The files of a diffusers folder.
pub(crate) enum Files {
    Folder(PathBuf),
    Embedded(&'static [EmbeddedFile]),
}

impl Files {
    /// How messages call the file at `path` in the folder.
    pub(crate) fn label(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => show(&folder.join(path)),
            Self::Embedded(_) => format!("built-in model: {path}"),
        }
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(path).exists(),
            Self::Embedded(files) => files.iter().any(|(name, _)| *name == path),
        }
    }

    /// A text file, such as a config.
    pub(crate) fn read_text(&self, path: &str) -> Result<String> {
        let bytes = match self {
            Self::Folder(folder) => read_small(&folder.join(path))?,
            Self::Embedded(_) => self.embedded(path)?.to_vec(),
        };
        String::from_utf8(bytes).map_err(|_| Error::file(self.label(path), "not UTF-8 text: download the model again"))
    }

    /// The weights `folder/basename.safetensors`, or their index and shards. Reads their headers only.
    pub(crate) fn open_weights(&self, folder: &str, basename: &str) -> Result<Checkpoint> {
        match self {
            Self::Folder(root) => Ok(Checkpoint::open(&root.join(folder), basename)?),
            Self::Embedded(_) => {
                let bytes = self.embedded(&format!("{folder}/{basename}.safetensors"))?;
                Ok(SafeTensors::from_bytes(bytes)?.into())
            }
        }
    }

    /// The tokenizer in `tokenizer/`, if there is one.
    pub(crate) fn open_tokenizer(&self) -> Result<Option<Tokenizer>> {
        match self {
            Self::Folder(root) if self.exists("tokenizer") => {
                Ok(Some(Tokenizer::from_folder(&root.join("tokenizer"))?))
            }
            Self::Folder(_) | Self::Embedded(_) => Ok(None),
        }
    }

    /// The paths of the files that [`open_weights`](Self::open_weights) reads tensors from, sorted.
    pub(crate) fn weight_paths(&self, folder: &str, basename: &str) -> Result<Vec<String>> {
        let single = format!("{folder}/{basename}.safetensors");
        let Self::Folder(root) = self else { return Ok(vec![single]) };
        if self.exists(&single) {
            return Ok(vec![single]);
        }
        let shard_prefix = format!("{basename}-");
        let place = root.join(folder);
        let mut paths = Vec::new();
        for entry in fs::read_dir(&place).map_err(|e| Error::io(&place, "list the folder", e))? {
            let name = entry.map_err(|e| Error::io(&place, "list the folder", e))?.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&shard_prefix) && name.ends_with(".safetensors") {
                paths.push(format!("{folder}/{name}"));
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    /// The bytes of a file, as a stream.
    pub(crate) fn stream(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(path);
                let file = File::open(&path).map_err(|e| Error::io(&path, "open the file", e))?;
                Ok(Box::new(file))
            }
            Self::Embedded(_) => Ok(Box::new(self.embedded(path)?)),
        }
    }

    fn embedded(&self, path: &str) -> Result<&'static [u8]> {
        let files = match self {
            Self::Embedded(files) => *files,
            Self::Folder(_) => &[],
        };
        let found = files.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes);
        found.ok_or_else(|| Error::file(self.label(path), "not in this program: give a model folder"))
    }
}

/// A file that has to be small and regular: to open a pipe would wait for its writer.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let metadata = fs::metadata(path).map_err(|e| Error::io(path, "read the file", e))?;
    if !metadata.is_file() {
        return Err(Error::file(show(path), "not a regular file: download the model again"));
    }
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_CONFIG + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| Error::io(path, "read the file", e))?;
    if bytes.len() as u64 > MAX_CONFIG {
        return Err(Error::file(show(path), format!("more than {MAX_CONFIG} bytes, too large for a config file")));
    }
    Ok(bytes)
}
