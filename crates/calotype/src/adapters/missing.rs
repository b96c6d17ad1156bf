//! Adapters that are asked for and are not there.

use calotype_text::{ExtraNetworkTag, extra_networks_of};

use super::{AdapterFile, AdapterFolders, AdapterKind, library};
use crate::Request;

/// An adapter that a request asks for and that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingAdapter {
    /// What it is.
    pub kind: AdapterKind,
    /// Its name or its file, as the request has it.
    pub name: String,
}

impl Request {
    /// Takes out the LoRAs and hypernetworks that are not there, those that the prompt calls for too, and the embeddings that are
    /// asked for beside it; gives what was taken out. Files are not opened but to look for a LoRA's name.
    pub fn take_out_missing_adapters(&mut self) -> Vec<MissingAdapter> {
        let mut missing = Vec::new();
        let adapters = &mut self.adapters;
        let folders = &adapters.folders;
        let mut keep = |kind: AdapterKind, file: &AdapterFile| {
            let name = match file {
                AdapterFile::Memory { .. } => return true,
                AdapterFile::Path(path) if path.exists() => return true,
                AdapterFile::Path(path) => path.display().to_string(),
                AdapterFile::Name(name) if is_there(kind, name, folders) => return true,
                AdapterFile::Name(name) => name.clone(),
            };
            missing.push(MissingAdapter { kind, name });
            false
        };
        adapters.loras.retain(|lora| keep(AdapterKind::Lora, &lora.file));
        adapters.hypernetworks.retain(|network| keep(AdapterKind::Hypernet, &network.file));
        adapters.embeddings.retain(|embedding| {
            let by_name = library::find_embedding(&embedding.file, folders).is_some();
            by_name || keep(AdapterKind::Embedding, &AdapterFile::Path(embedding.file.clone()))
        });
        let (_, tags) = extra_networks_of(&self.prompt, |kind| kind_of(kind).is_some());
        for tag in tags {
            let Some(kind) = kind_of(&tag.kind) else { continue };
            let Some(name) = name_of(&tag) else { continue };
            if !is_there(kind, name, folders) {
                missing.push(MissingAdapter { kind, name: name.to_owned() });
                self.prompt = self.prompt.replace(&tag.to_string(), "");
            }
        }
        missing
    }
}

impl AdapterFolders {
    /// Whether there is an adapter of a name.
    #[must_use]
    pub fn has(&self, kind: AdapterKind, name: &str) -> bool {
        is_there(kind, name, self)
    }
}

fn is_there(kind: AdapterKind, name: &str, folders: &AdapterFolders) -> bool {
    match kind {
        AdapterKind::Lora => library::find_lora(name, folders).is_ok(),
        AdapterKind::Hypernet => library::find_hypernetwork(name, folders).is_ok(),
        AdapterKind::Embedding => library::find_embedding(name.as_ref(), folders).is_some(),
    }
}

/// What a tag of a prompt calls for.
fn kind_of(kind: &str) -> Option<AdapterKind> {
    match kind {
        "lora" | "lyco" => Some(AdapterKind::Lora),
        "hypernet" => Some(AdapterKind::Hypernet),
        _ => None,
    }
}

fn name_of(tag: &ExtraNetworkTag) -> Option<&str> {
    tag.positional().next().filter(|name| !name.trim().is_empty())
}
