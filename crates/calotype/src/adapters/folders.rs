//! Folders of adapters, searched by name. A name is compared with those of files and never becomes part of a path.

use std::{
    fs,
    path::{Path, PathBuf},
};

use calotype_models::adapters::AdapterWeights;

/// Folders below one of these are searched so deep.
const MAX_DEPTH: usize = 8;
/// More files than any collection has.
const MAX_FILES: usize = 100_000;

const LORA_ENDINGS: &[&str] = &["safetensors", "pt", "ckpt", "bin"];
const HYPERNETWORK_ENDINGS: &[&str] = &["pt", "ckpt"];
const EMBEDDING_ENDINGS: &[&str] = &["safetensors", "pt", "bin"];

/// Where adapters are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterFolders {
    /// LoRA and LyCORIS.
    pub loras: Vec<PathBuf>,
    /// Hypernetworks.
    pub hypernetworks: Vec<PathBuf>,
    /// Embeddings.
    pub embeddings: Vec<PathBuf>,
}

impl AdapterFolders {
    /// Those of the tree of A1111 (`models/Stable-diffusion`) or ComfyUI (`models/checkpoints`) that a model is in, as far as
    /// they exist.
    #[must_use]
    pub fn beside(model: &Path) -> Self {
        let model = model.canonicalize().unwrap_or_else(|_| model.to_owned());
        let is = |path: &Path, name: &str| path.file_name().is_some_and(|last| last.eq_ignore_ascii_case(name));
        let existing = |path: Option<PathBuf>| path.into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
        for place in model.ancestors().skip(1) {
            let Some(models) = place.parent().filter(|models| is(models, "models")) else { continue };
            if is(place, "Stable-diffusion") {
                return Self {
                    loras: [existing(Some(models.join("Lora"))), existing(Some(models.join("LyCORIS")))].concat(),
                    hypernetworks: existing(Some(models.join("hypernetworks"))),
                    embeddings: existing(models.parent().map(|root| root.join("embeddings"))),
                };
            }
            if is(place, "checkpoints") {
                return Self {
                    loras: existing(Some(models.join("loras"))),
                    hypernetworks: existing(Some(models.join("hypernetworks"))),
                    embeddings: existing(Some(models.join("embeddings"))),
                };
            }
        }
        Self::default()
    }

    /// A folder of PEFT or diffusers counts as the file of its name.
    pub(super) fn lora_files(&self) -> Vec<PathBuf> {
        files(&self.loras, LORA_ENDINGS, |folder| !AdapterWeights::files(folder).is_empty())
    }

    pub(super) fn hypernetwork_files(&self) -> Vec<PathBuf> {
        files(&self.hypernetworks, HYPERNETWORK_ENDINGS, |_| false)
    }

    pub(super) fn embedding_files(&self) -> Vec<PathBuf> {
        files(&self.embeddings, EMBEDDING_ENDINGS, |_| false)
    }
}

/// A file's name without its ending, or a folder's name.
pub(super) fn stem(path: &Path) -> String {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// The files with these endings in folders and those below them, each folder's sorted; folders for which `is_one` holds
/// count as a file.
fn files(folders: &[PathBuf], endings: &[&str], is_one: fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        let first = found.len();
        collect(folder, endings, is_one, MAX_DEPTH, &mut found);
        found[first..].sort_unstable();
    }
    found
}

fn collect(folder: &Path, endings: &[&str], is_one: fn(&Path) -> bool, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if found.len() >= MAX_FILES {
            return;
        }
        let path = entry.path();
        let ending = path.extension().unwrap_or_default();
        // Links count as what they lead to; a ring of them ends at the depth.
        if path.is_dir() {
            if is_one(&path) {
                found.push(path);
            } else if depth > 0 {
                collect(&path, endings, is_one, depth - 1, found);
            }
        } else if endings.iter().any(|known| ending.eq_ignore_ascii_case(known)) {
            found.push(path);
        }
    }
}
