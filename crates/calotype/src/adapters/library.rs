//! Files of adapters that are open: each is opened and matched with the model once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use calotype_checkpoint::{brief, hash::AdapterHashes, show};
use calotype_formats::{Checkpoint, TorchFile};
use calotype_models::{
    ModelConfig,
    adapters::{Adapter, AdapterWeights, Embedding, Hypernetwork},
};

use super::{
    AdapterFile, EmbeddingOptions,
    folders::{AdapterFolders, stem},
};
use crate::{Error, Model, Result};

/// What ComfyUI's prompts write before the name of an embedding.
pub(super) const COMFYUI_PREFIX: &str = "embedding:";

/// By whom a LoRA was called when it was trained, in its metadata.
const TRAINED_NAME: &str = "ss_output_name";

/// A file that is open.
pub(crate) struct Opened<T> {
    pub(crate) path: PathBuf,
    pub(crate) adapter: Arc<T>,
    /// The file, if it is in memory.
    bytes: Option<Bytes>,
    hashes: OnceLock<AdapterHashes>,
}

/// An embedding, and all that prompts may call it.
pub(crate) struct FoundEmbedding {
    pub(crate) opened: Arc<Opened<Embedding>>,
    pub(crate) names: Vec<String>,
    /// That of them which was given beside the file's own.
    pub(crate) given: Option<String>,
}

/// An embedding that can't be used.
pub(crate) struct Skipped {
    /// What prompts would call it.
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// The adapters of a model that were asked for so far.
#[derive(Default)]
pub(crate) struct Library {
    loras: HashMap<PathBuf, Arc<Opened<Adapter>>>,
    hypernetworks: HashMap<PathBuf, Arc<Opened<Hypernetwork>>>,
    embeddings: HashMap<PathBuf, Arc<Opened<Embedding>>>,
}

impl<T> Opened<T> {
    /// Its name: that of the file without its ending.
    pub(crate) fn name(&self) -> String {
        stem(&self.path)
    }

    /// Its hashes, computed at the first call.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn hashes(&self) -> Result<&AdapterHashes> {
        if let Some(hashes) = self.hashes.get() {
            return Ok(hashes);
        }
        let hashes = match &self.bytes {
            Some(bytes) => AdapterHashes::of_bytes(bytes),
            None => AdapterHashes::new(&self.path)?,
        };
        Ok(self.hashes.get_or_init(|| hashes))
    }
}

impl Library {
    pub(super) fn lora(
        &mut self,
        model: &Model,
        file: &AdapterFile,
        folders: &AdapterFolders,
    ) -> Result<Arc<Opened<Adapter>>> {
        let place = Place::of(file, |name| find_lora(name, folders))?;
        once(&mut self.loras, place, |Place { path, bytes }| {
            let weights = match bytes {
                Some(bytes) => Checkpoint::from_bytes(&stem(path), bytes.clone())?.into(),
                None => AdapterWeights::open(path)?,
            };
            let (unet, text_encoder) = (model.unet_config().specs()?, model.text_config().specs()?);
            Ok(Adapter::new(weights, &unet, &text_encoder)?)
        })
    }

    pub(super) fn hypernetwork(
        &mut self,
        file: &AdapterFile,
        folders: &AdapterFolders,
    ) -> Result<Arc<Opened<Hypernetwork>>> {
        let place = Place::of(file, |name| find_hypernetwork(name, folders))?;
        once(&mut self.hypernetworks, place, |Place { path, bytes }| {
            let file = match bytes {
                Some(bytes) => TorchFile::from_bytes(bytes.clone())?,
                None => TorchFile::open(path)?,
            };
            Ok(Hypernetwork::new(file)?)
        })
    }

    /// The embeddings that were asked for, and those in the folders that fit the model. What is wrong with one of a folder
    /// is told to `skipped`, with its name.
    pub(super) fn embeddings(
        &mut self,
        model: &Model,
        options: &[EmbeddingOptions],
        folders: &AdapterFolders,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Vec<FoundEmbedding>> {
        let mut found: Vec<FoundEmbedding> = Vec::new();
        let files = folders.embedding_files();
        for path in &files {
            // As A1111, which has folders for all families.
            let fitting = self.embedding(path.clone()).and_then(|opened| {
                opened.adapter.check(model.text_config())?;
                Ok(opened)
            });
            match fitting {
                Ok(opened) => found.push(FoundEmbedding { names: names(&opened, None), opened, given: None }),
                Err(error) => skipped.push(Skipped { name: stem(path), reason: error.to_string() }),
            }
        }
        for EmbeddingOptions { file, name } in options {
            // A file that is elsewhere now, or a name.
            let moved = if file.exists() { None } else { by_stem(&files, &stem(file)) };
            if moved.is_none() && !file.exists() {
                let problem = "there is no such file, and none of its name in the folders of embeddings";
                return Err(Error::file(show(file), problem));
            }
            let opened = self.embedding(moved.unwrap_or_else(|| file.clone()))?;
            opened.adapter.check(model.text_config())?;
            found.push(FoundEmbedding { names: names(&opened, name.as_deref()), opened, given: name.clone() });
        }
        Ok(found)
    }

    fn embedding(&mut self, path: PathBuf) -> Result<Arc<Opened<Embedding>>> {
        once(&mut self.embeddings, Place { path, bytes: None }, |place| {
            Ok(Embedding::read(&Checkpoint::open(&place.path, "")?)?)
        })
    }
}

/// What prompts may call an embedding: also as ComfyUI does, `embedding:name` with or without the file's ending.
fn names(opened: &Opened<Embedding>, given: Option<&str>) -> Vec<String> {
    let own = [Some(opened.name()), opened.adapter.token.clone()].into_iter().flatten();
    let file = opened.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let prefixed = [Some(opened.name()), file, given.map(str::to_owned)].into_iter().flatten();
    let prefixed = prefixed.map(|name| format!("{COMFYUI_PREFIX}{name}"));
    // The file's own names still serve beside the one that was given.
    let mut names: Vec<String> = own.chain(given.map(str::to_owned)).chain(prefixed).collect();
    names.dedup();
    names
}

/// Where an adapter is: on disk, or in memory.
struct Place {
    /// The file or folder; of one in memory what it is kept by, the end of which is its name.
    path: PathBuf,
    bytes: Option<Bytes>,
}

impl Place {
    /// That of a file; `find` looks a name up.
    fn of(file: &AdapterFile, find: impl FnOnce(&str) -> Result<PathBuf>) -> Result<Self> {
        Ok(match file {
            AdapterFile::Path(path) => Self { path: path.clone(), bytes: None },
            AdapterFile::Name(name) => Self { path: find(name)?, bytes: None },
            AdapterFile::Memory { name, bytes } => {
                // Another file of that name is another adapter.
                let folder = Path::new("memory").join(calotype_checkpoint::hash::of_bytes(bytes));
                let path = folder.join(name.replace(['/', '\\'], "_") + ".memory");
                Self { path, bytes: Some(bytes.clone()) }
            }
        })
    }
}

/// What was opened from a place, or is now.
fn once<T>(
    opened: &mut HashMap<PathBuf, Arc<Opened<T>>>,
    place: Place,
    open: impl FnOnce(&Place) -> Result<T>,
) -> Result<Arc<Opened<T>>> {
    if let Some(opened) = opened.get(&place.path) {
        return Ok(Arc::clone(opened));
    }
    if place.bytes.is_none() && !place.path.exists() {
        return Err(Error::file(show(&place.path), "there is no such file"));
    }
    let adapter = Arc::new(open(&place)?);
    let Place { path, bytes } = place;
    let new = Arc::new(Opened { path: path.clone(), adapter, bytes, hashes: OnceLock::new() });
    opened.insert(path, Arc::clone(&new));
    Ok(new)
}

/// The LoRA of a name, which may be the one that it was trained under.
pub(super) fn find_lora(name: &str, folders: &AdapterFolders) -> Result<PathBuf> {
    let files = folders.lora_files();
    let by_training = || files.iter().find(|path| trained_name(path).as_deref() == Some(name)).cloned();
    by_stem(&files, name).or_else(by_training).ok_or_else(|| unknown("LoRA", name, &files))
}

/// The hypernetwork of a name.
pub(super) fn find_hypernetwork(name: &str, folders: &AdapterFolders) -> Result<PathBuf> {
    let files = folders.hypernetwork_files();
    by_stem(&files, name).ok_or_else(|| unknown("hypernetwork", name, &files))
}

/// The embedding of a file, or of its name in the folders.
pub(super) fn find_embedding(file: &Path, folders: &AdapterFolders) -> Option<PathBuf> {
    if file.exists() { Some(file.to_owned()) } else { by_stem(&folders.embedding_files(), &stem(file)) }
}

/// The file of a name, which may say the folders that it is in below the one that was given: `sub/name`. The name is compared
/// with the end of each path and never becomes part of one.
fn by_stem(files: &[PathBuf], name: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = name.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    let (last, folders) = parts.split_last()?;
    let is_it = |path: &&PathBuf| {
        let mut above = path.ancestors().skip(1).map(|folder| folder.file_name().unwrap_or_default());
        stem(path) == name
            || (stem(path) == *last
                && folders.iter().rev().all(|folder| above.next().is_some_and(|name| name == *folder)))
    };
    files.iter().find(is_it).cloned()
}

fn trained_name(path: &Path) -> Option<String> {
    AdapterWeights::open(path).ok()?.file().metadata().get(TRAINED_NAME).cloned()
}

fn unknown(kind: &'static str, name: &str, files: &[PathBuf]) -> Error {
    let shown = brief(name);
    let refused = |message| Error::UnknownName { kind, name: name.to_owned(), message };
    if files.is_empty() {
        return refused(format!("the {kind} {shown:?} can't be looked up: give the folder that it is in"));
    }
    let in_lower = shown.to_lowercase();
    let stems = || files.iter().map(|path| stem(path));
    let similar = stems().find(|stem| stem.to_lowercase() == in_lower).or_else(|| {
        stems().find(|stem| {
            let stem = stem.to_lowercase();
            stem.contains(&in_lower) || in_lower.contains(&stem)
        })
    });
    let hint = similar.map_or(String::new(), |similar| format!(" (there is {:?})", brief(&similar)));
    refused(format!("there is no {kind} {shown:?} among {} files{hint}", files.len()))
}
