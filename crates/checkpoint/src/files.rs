//! Where the files of a diffusers folder come from: a folder on disk, or bytes in the program.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use calotype_formats::Checkpoint;
use calotype_models::{Component, WeightSet};
use calotype_text::Tokenizer;

use crate::{
    Error, Result,
    error::show,
    hash::{WeightFile, WeightSource},
};

/// The files of a diffusers folder in memory: by their paths in it, with `/`.
pub(crate) type MemoryFiles = BTreeMap<String, Bytes>;

/// Larger than any config file; a larger one is something else.
const MAX_CONFIG: u64 = 1 << 20;
/// CLIP's largest tokenizer file has 4 MB.
const MAX_TOKENIZER: u64 = 32 << 20;

/// Where diffusers' training scripts keep the UNet's moving average beside the UNet.
pub(crate) const UNET_EMA: &str = "unet_ema";

/// The variant of the weights as the last training step left them, beside their moving average.
pub(crate) const NON_EMA: &str = "non_ema";
/// The variant in half precision.
const FP16: &str = "fp16";

/// The files of a tokenizer, as transformers saves them.
const TOKENIZER_FILES: [&str; 6] = [
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];

/// The files of a diffusers folder.
#[derive(Clone)]
pub(crate) enum Files {
    Folder(PathBuf),
    /// In memory; what messages call them.
    Memory(String, MemoryFiles),
}

/// The weights of one network, opened.
pub(crate) struct Weights {
    pub(crate) checkpoint: Checkpoint,
    /// Their files; names are from the network's folder.
    pub(crate) files: Vec<WeightFile>,
}

impl Files {
    /// How messages call the file at `path` in the folder.
    pub(crate) fn label(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => show(&folder.join(path)),
            Self::Memory(name, _) => format!("{name}: {path}"),
        }
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(path).exists(),
            Self::Memory(_, files) => files.contains_key(path),
        }
    }

    /// A text file, such as a config.
    pub(crate) fn read_text(&self, path: &str) -> Result<String> {
        let bytes = match self {
            Self::Folder(folder) => read_small(&folder.join(path))?,
            Self::Memory(_, files) => self.in_memory(files, path)?.to_vec(),
        };
        String::from_utf8(bytes).map_err(|_| Error::file(self.label(path), "not UTF-8 text: download the model again"))
    }

    /// The weights of a network in `folder`. Reads their headers only.
    pub(crate) fn open_weights(&self, folder: &str, component: Component, set: WeightSet) -> Result<Weights> {
        match self {
            Self::Folder(root) => {
                let mut weights = open_weights(&root.join(folder), component, set)?;
                weights.files.iter_mut().for_each(|file| file.name = format!("{folder}/{}", file.name));
                Ok(weights)
            }
            Self::Memory(_, files) => {
                let names = component.weight_files().map(|(stem, ending)| format!("{folder}/{stem}.{ending}"));
                let [first, second] = &names;
                let name =
                    if files.contains_key(second) && !files.contains_key(first) { second } else { first }.clone();
                let bytes = self.in_memory(files, &name)?;
                let checkpoint = Checkpoint::from_bytes(&self.label(&name), bytes.clone())?;
                Ok(Weights { checkpoint, files: vec![WeightFile { name, source: WeightSource::Memory(bytes) }] })
            }
        }
    }

    /// The tokenizer in `tokenizer/`, if there is one.
    pub(crate) fn open_tokenizer(&self) -> Result<Option<Tokenizer>> {
        Ok(match self {
            Self::Folder(root) if self.exists("tokenizer") => Some(Tokenizer::from_folder(&root.join("tokenizer"))?),
            Self::Memory(_, files) if files.keys().any(|path| path.starts_with("tokenizer/")) => {
                let read = |name: &str| files.get(&format!("tokenizer/{name}")).map(|bytes| bytes.to_vec());
                Some(Tokenizer::from_memory(&self.label("tokenizer"), &read)?)
            }
            Self::Folder(_) | Self::Memory(..) => None,
        })
    }

    /// The files of that tokenizer, by their names, and their bytes.
    pub(crate) fn read_tokenizer(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut read = Vec::new();
        for name in TOKENIZER_FILES {
            let path = format!("tokenizer/{name}");
            if self.exists(&path) {
                let bytes = match self {
                    Self::Folder(root) => {
                        let path = root.join(path);
                        calotype_files::read(&path, MAX_TOKENIZER).map_err(|e| Error::io(&path, "read the file", e))?
                    }
                    Self::Memory(_, files) => self.in_memory(files, &path)?.to_vec(),
                };
                read.push((name, bytes));
            }
        }
        Ok(read)
    }

    fn in_memory(&self, files: &MemoryFiles, path: &str) -> Result<Bytes> {
        let missing = || Error::file(self.label(path), "it is not among the files in memory: give it, too");
        files.get(path).cloned().ok_or_else(missing)
    }
}

/// The weights in `folder`, which is one network's: of what there is, the first of the plain file, its `fp16` variant,
/// those of PyTorch and, if any set will do, `non_ema`; each whole or in shards.
pub(crate) fn open_weights(folder: &Path, component: Component, set: WeightSet) -> Result<Weights> {
    let is_unet = component == Component::UNet;
    let average_beside = is_unet && folder.with_file_name(UNET_EMA).is_dir();
    let variants: &[&str] = match set {
        WeightSet::Raw if average_beside => &[NON_EMA, "", FP16],
        WeightSet::Raw if is_unet => &[NON_EMA],
        WeightSet::Auto => &["", FP16, NON_EMA],
        _ => &["", FP16],
    };
    for (stem, ending) in component.weight_files() {
        for variant in variants {
            let dotted = if variant.is_empty() { String::new() } else { format!(".{variant}") };
            let whole = format!("{stem}{dotted}.{ending}");
            let path = folder.join(&whole);
            if path.exists() {
                let checkpoint = Checkpoint::open(&path, "")?;
                return Ok(Weights {
                    checkpoint,
                    files: vec![WeightFile { name: whole, source: WeightSource::Disk(path) }],
                });
            }
            // diffusers puts the variant before the last ending.
            let index = folder.join(format!("{stem}.{ending}.index{dotted}.json"));
            if index.exists() {
                let checkpoint = Checkpoint::open(&index, "")?;
                return Ok(Weights { checkpoint, files: shards(folder, stem, &dotted, ending)? });
            }
        }
    }
    if !(set == WeightSet::Raw && is_unet)
        && let Some((file, variant)) = only_variant(folder, component)
        && !(set == WeightSet::Ema && variant == NON_EMA)
    {
        let checkpoint = Checkpoint::open(&folder.join(&file), "")?;
        let files = match file.ends_with(".json") {
            true => {
                let [safetensors, torch] = component.weight_files();
                let (stem, ending) = if file.contains(".bin.") { torch } else { safetensors };
                shards(folder, stem, &format!(".{variant}"), ending)?
            }
            false => vec![WeightFile { name: file.clone(), source: WeightSource::Disk(folder.join(file)) }],
        };
        return Ok(Weights { checkpoint, files });
    }
    let [(basename, _), _] = component.weight_files();
    let problem = match set {
        WeightSet::Raw if is_unet => {
            format!(
                "no {basename}.{NON_EMA}.safetensors in this folder, so there are no raw weights: leave out --weights raw"
            )
        }
        _ => format!(
            "no {basename}.safetensors in this folder (nor its {FP16} variant, index or .bin): download the weights"
        ),
    };
    Err(Error::file(show(folder), problem))
}

/// The file or the index of the only variant of a network's weights in `folder`, whatever it is called, and its name:
/// `diffusion_pytorch_model.ema.safetensors`, `ema`.
fn only_variant(folder: &Path, component: Component) -> Option<(String, String)> {
    let variant = |name: &str| {
        component.weight_files().into_iter().find_map(|(stem, ending)| {
            let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
            let whole = rest.strip_suffix(ending).and_then(|rest| rest.strip_suffix('.'));
            let index = || rest.strip_prefix(&format!("{ending}.index."))?.strip_suffix(".json");
            let variant = whole.or_else(index)?;
            (!variant.is_empty() && !variant.contains('.')).then(|| variant.to_owned())
        })
    };
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<(String, String)> = names.filter_map(|name| Some((name.clone(), variant(&name)?))).collect();
    // safetensors before PyTorch's.
    found.sort_by_key(|(name, _)| (name.contains(".bin"), name.clone()));
    let first = found.first()?.clone();
    found.iter().all(|(_, variant)| *variant == first.1).then_some(first)
}

/// The files that an index of this name lists: `STEM-00001-of-00002.safetensors`, with a variant before or after the number.
fn shards(folder: &Path, stem: &str, dotted: &str, ending: &str) -> Result<Vec<WeightFile>> {
    let list = |e| Error::io(folder, "list the folder", e);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(list)? {
        let path = entry.map_err(list)?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let number = |before: &str, after: &str| {
            let number = name.strip_prefix(before)?.strip_prefix('-')?.strip_suffix(after)?;
            (!number.contains('.')).then_some(())
        };
        let (early, late) = (format!("{stem}{dotted}"), format!("{dotted}.{ending}"));
        if number(&early, &format!(".{ending}")).or_else(|| number(stem, &late)).is_some() {
            files.push(WeightFile { name, source: WeightSource::Disk(path) });
        }
    }
    Ok(files)
}

/// A file that has to be small and regular.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    calotype_files::read(path, MAX_CONFIG).map_err(|e| Error::io(path, "read the file", e))
}
