//! The models of this machine.

use std::{
    collections::HashSet,
    env, fs,
    path::{Path, PathBuf},
};

use calotype_formats::{Checkpoint, parse_yaml};
use calotype_models::{Component, FileKind, Layout, SD1, SD2, WeightSet, adapters::AdapterWeights};
use serde::Serialize;

use crate::{
    Result,
    error::show,
    files::{self, Files},
    license::License,
    open,
};

/// How deep folders are searched.
const MAX_DEPTH: usize = 8;
/// How many folders and files are looked at, so that a listing of a whole disk ends.
const MAX_ENTRIES: usize = 200_000;
/// Endings of files that hold weights: one of these that is none is said to be unreadable, another is passed over.
const ENDINGS: [&str; 5] = ["safetensors", "ckpt", "pt", "pth", "bin"];

const UNREADABLE: &str = "cannot be read: see models inspect";

/// Folders of A1111's tree, and of ComfyUI's.
const A1111: &str = "models/Stable-diffusion";
const A1111_FOLDERS: [&str; 13] = [
    A1111,
    "models/Lora",
    "models/LyCORIS",
    "models/VAE",
    "models/hypernetworks",
    "embeddings",
    "models/ESRGAN",
    "models/RealESRGAN",
    "models/BSRGAN",
    "models/SwinIR",
    "models/DAT",
    "models/HAT",
    "models/SPAN",
];
const COMFYUI: &str = "models/checkpoints";
const COMFYUI_EXTRA: &str = "extra_model_paths.yaml";
/// What `extra_model_paths.yaml` has beside folders of models.
const NO_MODELS: [&str; 4] = ["base_path", "is_default", "custom_nodes", "configs"];
/// Folders of a hub cache.
const HUB_PREFIX: &str = "models--";

/// What a file of weights is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListedKind {
    /// A whole model.
    Model,
    /// An autoencoder alone.
    Vae,
    /// LoRA or LyCORIS.
    Lora,
    /// A textual inversion.
    Embedding,
    /// A hypernetwork.
    Hypernetwork,
    /// A network for super-resolution.
    Upscaler,
    /// Anything else.
    Other,
}

/// A model, or another file of weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// How it may be called: its file's name without the ending, its folder's name, or `organisation/name` of the hub.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whose tree it is in: `a1111`, `comfyui`, `hub` or `folder`.
    pub tree: &'static str,
    /// What it is for.
    pub kind: ListedKind,
    /// What it is, in words.
    pub what: String,
    /// The name of its licence, if its files or its name tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Bytes of the file, or of all files of the folder.
    pub bytes: u64,
}

/// The models in `folders`, as far as they exist.
///
/// A folder is taken for what it has in it: A1111's or ComfyUI's own folder, a hub cache, or any other with models.
///
/// # Errors
/// ComfyUI's `extra_model_paths.yaml` can't be understood.
pub fn list(folders: &[PathBuf]) -> Result<Vec<Listed>> {
    let mut search = Search { found: Vec::new(), seen: HashSet::new(), left: MAX_ENTRIES };
    folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| search.root(folder))?;
    search.found.sort_by(|a, b| (a.tree, &a.path).cmp(&(b.tree, &b.path)));
    Ok(search.found)
}

/// Where models usually are, the hub's cache aside: `$CALOTYPE_MODELS` (else `calotype/models` in the user's data folder),
/// `models` in this folder, A1111's and ComfyUI's folders in the home folder.
#[must_use]
pub fn usual_places() -> Vec<PathBuf> {
    let home = home();
    vec![
        var("CALOTYPE_MODELS").unwrap_or_else(|| data_folder().join("models")),
        PathBuf::from("models"),
        home.join("stable-diffusion-webui"),
        home.join("ComfyUI"),
    ]
}

/// What this program keeps of a user lies here: `calotype` in the user's data folder.
#[must_use]
pub fn data_folder() -> PathBuf {
    var("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share")).join("calotype")
}

/// What this program can make again lies here: `CALOTYPE_CACHE`, else `calotype` in the user's cache folder; none without a home.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let of_user = || {
        var("XDG_CACHE_HOME")
            .or_else(|| Some(home()).filter(|home| home != Path::new("")).map(|home| home.join(".cache")))
    };
    var("CALOTYPE_CACHE").or_else(|| Some(of_user()?.join("calotype")))
}

fn home() -> PathBuf {
    var("HOME").or_else(|| var("USERPROFILE")).unwrap_or_default()
}

fn var(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

struct Search {
    found: Vec<Listed>,
    /// Files and folders listed already, by their real paths.
    seen: HashSet<PathBuf>,
    left: usize,
}

impl Search {
    /// A folder given, by what it has in it.
    fn root(&mut self, root: &Path) -> Result<()> {
        let is_hub = children(root).iter().any(|path| file_name(path).starts_with(HUB_PREFIX));
        if root.join(A1111).is_dir() {
            A1111_FOLDERS.iter().for_each(|folder| self.walk(&root.join(folder), "a1111", 0));
        }
        if root.join(COMFYUI).is_dir() || root.join(COMFYUI_EXTRA).is_file() {
            self.walk(&root.join("models"), "comfyui", 0);
            return self.comfyui_extra(root);
        }
        match is_hub {
            true => self.hub(root),
            false if !root.join(A1111).is_dir() => self.walk(root, "folder", 0),
            false => {}
        }
        Ok(())
    }

    /// Folders that ComfyUI is told of in a YAML file: sections with a `base_path` and folders below it.
    fn comfyui_extra(&mut self, root: &Path) -> Result<()> {
        let path = root.join(COMFYUI_EXTRA);
        if !path.is_file() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&files::read_small(&path)?).into_owned();
        let config = parse_yaml(&text, &show(&path))?;
        let sections = config.as_object().into_iter().flatten().filter_map(|(_, section)| section.as_object());
        for section in sections {
            let base = section.get("base_path").and_then(|base| base.as_str()).unwrap_or_default();
            // `join` keeps a path that is absolute by itself.
            let base = root.join(expand_home(base));
            for (_, folders) in section.iter().filter(|(key, _)| !NO_MODELS.contains(&key.as_str())) {
                for folder in folders.as_str().into_iter().flat_map(str::lines).filter(|line| !line.trim().is_empty()) {
                    self.walk(&base.join(expand_home(folder.trim())), "comfyui", 0);
                }
            }
        }
        Ok(())
    }

    /// The hub's cache: `models--org--name/snapshots/REVISION`, the revision being that of `refs/main` if it is there.
    fn hub(&mut self, root: &Path) {
        for repository in children(root) {
            let file_name = file_name(&repository);
            let Some(name) = file_name.strip_prefix(HUB_PREFIX) else { continue };
            let main = fs::read_to_string(repository.join("refs/main")).unwrap_or_default();
            let mut snapshots = children(&repository.join("snapshots"));
            if snapshots.iter().any(|path| self::file_name(path) == main.trim()) {
                snapshots.retain(|path| self::file_name(path) == main.trim());
            }
            for snapshot in snapshots {
                let before = self.found.len();
                self.walk(&snapshot, "hub", 0);
                for listed in self.found.iter_mut().skip(before).filter(|listed| listed.path == snapshot) {
                    listed.name = name.replacen("--", "/", 1);
                    let last = listed.name.rsplit('/').next().unwrap_or_default();
                    listed.license = listed.license.take().or_else(|| of_name(last));
                }
            }
        }
    }

    fn walk(&mut self, path: &Path, tree: &'static str, depth: usize) {
        if self.left == 0 || depth > MAX_DEPTH {
            return;
        }
        self.left -= 1;
        // A link may lead to what is listed already, or back.
        let Ok(real) = path.canonicalize() else { return };
        if !self.seen.insert(real) {
            return;
        }
        let mut folder = |(kind, what): (ListedKind, String)| {
            let (name, path, bytes) = (file_name(path), path.to_owned(), size(path, 0));
            let stated = License::of_folder(&Files::Folder(path.clone())).map(|license| license.name);
            let license = stated.or_else(|| of_name(&name));
            self.found.push(Listed { name, path, tree, kind, what, license, bytes });
        };
        if path.is_file() {
            self.found.extend(weights(path, tree));
        } else if path.join("model_index.json").is_file() {
            folder((ListedKind::Model, "diffusers model".to_owned()));
        } else if !AdapterWeights::files(path).is_empty() {
            let weights = AdapterWeights::open(path);
            folder(weights.map_or_else(|_| unreadable(), |weights| describe(weights.file())));
        } else {
            children(path)
                .iter()
                .filter(|child| !file_name(child).starts_with('.'))
                .for_each(|child| self.walk(child, tree, depth + 1));
        }
    }
}

/// What a file is, if it is one of weights.
fn weights(path: &Path, tree: &'static str) -> Option<Listed> {
    let ((kind, what), stated) = match Checkpoint::open(path, "") {
        Ok(file) => (describe(&file), License::of_file(path, &file).map(|license| license.name)),
        Err(_) => {
            let ending = path.extension()?.to_string_lossy().to_ascii_lowercase();
            (ENDINGS.contains(&ending.as_str()).then(unreadable)?, None)
        }
    };
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned())?;
    let license = stated.or_else(|| of_name(&name));
    let bytes = fs::metadata(path).map_or(0, |m| m.len());
    Some(Listed { name, path: path.to_owned(), tree, kind, what, license, bytes })
}

/// The name of the licence of the public model of a name.
fn of_name(name: &str) -> Option<String> {
    License::of_name(name).map(|license| license.name)
}

fn unreadable() -> (ListedKind, String) {
    (ListedKind::Other, UNREADABLE.to_owned())
}

fn describe(file: &Checkpoint) -> (ListedKind, String) {
    match FileKind::of(file) {
        FileKind::Networks(networks) if networks == Component::ALL => {
            let layout = Layout::detect(file, Component::TextEncoder, WeightSet::Auto);
            let family = if layout.is_some_and(|layout| layout.is_open_clip()) { &SD2 } else { &SD1 };
            (ListedKind::Model, format!("{} checkpoint", family.name))
        }
        FileKind::Networks(networks) => {
            let kind = if networks == [Component::Vae] { ListedKind::Vae } else { ListedKind::Other };
            (kind, networks.into_iter().map(Component::name).collect::<Vec<_>>().join(" and "))
        }
        kind => {
            let listed = match kind {
                FileKind::Adapter(_) => ListedKind::Lora,
                FileKind::TextualInversion => ListedKind::Embedding,
                FileKind::Hypernetwork => ListedKind::Hypernetwork,
                FileKind::Upscaler(_) => ListedKind::Upscaler,
                _ => ListedKind::Other,
            };
            (listed, open::describe(kind, file))
        }
    }
}

/// Bytes of all files below a folder.
fn size(path: &Path, depth: usize) -> u64 {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) if depth <= MAX_DEPTH => children(path).iter().map(|child| size(child, depth + 1)).sum(),
        _ => 0,
    }
}

/// What is in a folder, sorted; nothing if it can't be listed.
fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// `~/…` in the home folder.
fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}
