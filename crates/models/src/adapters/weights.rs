//! Where an adapter is: a file, or a folder of PEFT or diffusers.

use std::path::{Path, PathBuf};

use calotype_formats::Checkpoint;

use super::peft::PeftConfig;
use crate::{Component, Error, Result};

/// What stands beside the weights of PEFT, and what these are called.
const CONFIG: &str = "adapter_config.json";
const PEFT: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// What diffusers' scripts call a LoRA in a folder of its own.
const DIFFUSERS: [&str; 2] = ["pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"];
/// A config is far smaller.
const MAX_CONFIG: u64 = 1 << 20;

/// The tensors of an adapter, and PEFT's config if there is one. Its data is on disk.
pub struct AdapterWeights {
    pub(super) file: Checkpoint,
    pub(super) peft: PeftConfig,
}

impl From<Checkpoint> for AdapterWeights {
    fn from(file: Checkpoint) -> Self {
        Self { file, peft: PeftConfig::default() }
    }
}

impl AdapterWeights {
    /// Opens a file; or a folder of PEFT (`adapter_config.json` beside `adapter_model.safetensors`, as it is, or in folders
    /// `unet` and `text_encoder`), or of diffusers (`pytorch_lora_weights.safetensors`). The config beside PEFT's file is read
    /// where the file itself is given, too.
    ///
    /// # Errors
    /// There is no such file or folder, it can't be read, or its config is of a kind of adapter that is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        let mut parts = Self::places(path)
            .into_iter()
            .map(|(file, target)| Self::open_file(&file, target))
            .collect::<Result<Vec<_>>>()?;
        let peft = parts.iter().fold(PeftConfig::default(), |peft, part| peft.or(part.peft.clone()));
        match (parts.pop(), parts.len()) {
            (Some(only), 0) => Ok(only),
            (Some(last), _) => {
                let files = parts.into_iter().chain([last]).map(|part| part.file).collect();
                Ok(Self { file: Checkpoint::join(path, files)?, peft })
            }
            (None, _) => {
                let (peft, diffusers) = (PEFT[0], DIFFUSERS[0]);
                let problem = format!("no {peft} in this folder, nor {diffusers}: give the file of the adapter");
                Err(Error::Adapter { source_label: path.display().to_string(), problem })
            }
        }
    }

    /// The files that [`open`](Self::open) reads; none of a folder that has no adapter.
    #[must_use]
    pub fn files(path: &Path) -> Vec<PathBuf> {
        Self::places(path).into_iter().map(|(file, _)| file).collect()
    }

    /// The files, and the network that each is for where its folder says it.
    fn places(path: &Path) -> Vec<(PathBuf, Option<Component>)> {
        if !path.is_dir() {
            return vec![(path.to_owned(), None)];
        }
        let within =
            |folder: &Path| PEFT.iter().chain(&DIFFUSERS).map(|name| folder.join(name)).find(|file| file.is_file());
        if let Some(file) = within(path) {
            return vec![(file, None)];
        }
        let networks = [Component::UNet, Component::TextEncoder];
        let in_folder = |component: Component| Some((within(&path.join(component.id()))?, Some(component)));
        networks.into_iter().filter_map(in_folder).collect()
    }

    /// The tensors.
    #[must_use]
    pub fn file(&self) -> &Checkpoint {
        &self.file
    }

    /// The tensors, without the config.
    #[must_use]
    pub fn into_file(self) -> Checkpoint {
        self.file
    }

    fn open_file(path: &Path, component: Option<Component>) -> Result<Self> {
        let file = Checkpoint::open(path, "")?;
        let is_peft = path.file_name().is_some_and(|name| PEFT.iter().any(|known| name == *known));
        let config = path.with_file_name(CONFIG);
        if !is_peft || !config.is_file() {
            return Ok(file.into());
        }
        let label = config.display().to_string();
        let refuse = |problem: String| Error::Adapter { source_label: label.clone(), problem };
        let text = calotype_files::read_text(&config, MAX_CONFIG)
            .map_err(|error| refuse(format!("cannot read the config: {error}")))?;
        Ok(Self { file, peft: PeftConfig::from_json(&text, &label, component)? })
    }
}
