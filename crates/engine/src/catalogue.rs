//! The models and adapters that jobs may name: by ids, never by paths.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use calotype::{
    Model, ModelOptions, Request,
    adapters::{AdapterFile, AdapterFolders},
    checkpoint::{Listed, ListedKind, list},
};

use crate::{Error, Result};

/// The id of the model inside the program.
pub const BUILT_IN: &str = "built-in";

/// A model, an autoencoder or an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// By which jobs name it.
    pub id: String,
    /// What it is for.
    pub kind: ListedKind,
    /// What it is, in words.
    pub what: String,
    /// The name of its licence, if it is known.
    pub license: Option<String>,
    /// Bytes of its files; 0 of the model inside the program.
    pub bytes: u64,
    path: Option<PathBuf>,
}

impl Entry {
    fn new(listed: Listed, id: String) -> Self {
        let Listed { kind, what, license, bytes, path, .. } = listed;
        Self { id, kind, what, license, bytes, path: Some(path) }
    }

    fn built_in() -> Self {
        let what = "the model inside this program".to_owned();
        Self { id: BUILT_IN.to_owned(), kind: ListedKind::Model, what, license: None, bytes: 0, path: None }
    }

    /// The name of its file or folder; for the model inside the program its id.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.path.as_deref().and_then(Path::file_name);
        name.map_or_else(|| self.id.clone(), |name| name.to_string_lossy().into_owned())
    }
}

/// What is in the folders of models.
#[derive(Debug)]
pub struct Catalogue {
    folders: Vec<PathBuf>,
    found: RwLock<Arc<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    entries: Vec<Entry>,
    adapters: AdapterFolders,
}

impl Catalogue {
    /// Looks into folders of models, beside the model inside the program.
    ///
    /// # Errors
    /// A folder is not there, or can't be understood.
    pub fn open(folders: Vec<PathBuf>) -> Result<Self> {
        if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
            return Err(Error::Folder { folder: missing.clone(), problem: "is no folder of models".to_owned() });
        }
        let catalogue = Self { folders, found: RwLock::default() };
        catalogue.refresh()?;
        Ok(catalogue)
    }

    /// Looks into the folders again.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn refresh(&self) -> Result<()> {
        let listed = list(&self.folders).map_err(calotype::Error::from)?;
        let mut adapters = AdapterFolders::default();
        let (mut entries, mut taken) = (vec![Entry::built_in()], HashMap::from([(BUILT_IN.to_owned(), 1)]));
        for listed in listed {
            let parent = listed.path.parent().map(Path::to_owned).unwrap_or_default();
            let folders = match listed.kind {
                ListedKind::Lora => Some(&mut adapters.loras),
                ListedKind::Embedding => Some(&mut adapters.embeddings),
                ListedKind::Hypernetwork => Some(&mut adapters.hypernetworks),
                _ => None,
            };
            if let Some(folders) = folders.filter(|folders| !folders.contains(&parent)) {
                folders.push(parent);
            }
            // A name that is there twice gets a number.
            let times: &mut usize = taken.entry(listed.name.clone()).or_default();
            *times += 1;
            let id = if *times == 1 { listed.name.clone() } else { format!("{}~{times}", listed.name) };
            entries.push(Entry::new(listed, id));
        }
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Found { entries, adapters });
        Ok(())
    }

    /// Everything that there is of a kind.
    #[must_use]
    pub fn all(&self, kind: ListedKind) -> Vec<Entry> {
        self.found().entries.iter().filter(|entry| entry.kind == kind).cloned().collect()
    }

    /// The model of jobs that name none: the first in the folders, or the one inside the program.
    #[must_use]
    pub fn default_model(&self) -> String {
        let models = self.all(ListedKind::Model);
        models.get(1).or(models.first()).map_or_else(|| BUILT_IN.to_owned(), |entry| entry.id.clone())
    }

    /// The entry of an id, or of a file's name.
    ///
    /// # Errors
    /// There is none of this kind.
    pub fn find(&self, kind: ListedKind, name: &str) -> Result<Entry> {
        let all = self.all(kind);
        let found = all.iter().find(|entry| entry.id == name);
        let found = found.or_else(|| all.iter().find(|entry| entry.file_name() == name));
        found.cloned().ok_or_else(|| Error::NoModel {
            kind: if kind == ListedKind::Vae { "VAE" } else { "model" },
            name: name.chars().take(100).collect(),
            known: all.into_iter().map(|entry| entry.id).collect(),
        })
    }

    /// Opens a model, with another autoencoder if one is named.
    pub(crate) fn model(&self, id: &str, vae: Option<&str>) -> Result<Model> {
        let entry = self.find(ListedKind::Model, id)?;
        let vae = vae.map(|vae| self.find(ListedKind::Vae, vae)).transpose()?.and_then(|entry| entry.path);
        match (&entry.path, vae) {
            (Some(path), vae) => Ok(Model::open_with(path, &ModelOptions { vae, ..ModelOptions::default() })
                .map_err(calotype::Error::from)?
                .named(entry.id)),
            (None, None) => built_in(),
            (None, Some(_)) => {
                Err(calotype::Error::Conflict(format!("the model {BUILT_IN} takes no other VAE: leave it out")).into())
            }
        }
    }

    /// Gives a request the folders of adapters, and takes every path out of it: what it asks for is found by its name or not at all.
    pub(crate) fn place_adapters(&self, request: &mut Request) -> Result<()> {
        let found = self.found();
        let adapters = &mut request.adapters;
        adapters.folders = found.adapters.clone();
        let loras = adapters.loras.iter_mut().map(|lora| &mut lora.file);
        let hypernetworks = adapters.hypernetworks.iter_mut().map(|network| &mut network.file);
        for file in loras.chain(hypernetworks) {
            if let AdapterFile::Path(path) = file {
                *file = AdapterFile::Name(stem(path));
            }
        }
        for embedding in &mut adapters.embeddings {
            let name = stem(&embedding.file);
            let known = found.entries.iter().find(|entry| entry.kind == ListedKind::Embedding && entry.id == name);
            embedding.file = known.and_then(|entry| entry.path.clone()).ok_or_else(|| {
                let message = format!("there is no embedding {:?}", name.chars().take(100).collect::<String>());
                calotype::Error::UnknownName { kind: "embedding", name, message }
            })?;
        }
        Ok(())
    }

    fn found(&self) -> Arc<Found> {
        Arc::clone(&self.found.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The name of a file that a client gave by its path.
fn stem(path: &Path) -> String {
    // Of Windows too: its separators are no separators here.
    let text = path.to_string_lossy();
    let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
    last.rsplit_once('.').map_or(last, |(stem, _)| stem).to_owned()
}

#[cfg(feature = "builtin")]
fn built_in() -> Result<Model> {
    Ok(Model::built_in().map_err(calotype::Error::from)?)
}

#[cfg(not(feature = "builtin"))]
fn built_in() -> Result<Model> {
    Err(Error::NoModel { kind: "model", name: BUILT_IN.to_owned(), known: Vec::new() })
}
