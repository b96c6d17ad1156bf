//! What changes the model a little.

use std::path::{Path, PathBuf};

use calotype::{
    Request,
    adapters::{AdapterFile, AdapterFolders, EmbeddingOptions, HypernetworkOptions, LoraOptions},
};
use clap::Args;

use crate::failure::with_point;

/// What changes the model a little.
#[derive(Args)]
#[command(next_help_heading = "Adapters")]
pub(crate) struct AdapterArgs {
    /// A LoRA or LyCORIS, a file or a name in --lora-dir, and its strength (or the text encoder's and the UNet's, with a
    /// comma); any number of them. In a prompt: <lora:name:0.8>
    #[arg(long, value_name = "FILE[:WEIGHT]", value_parser = lora)]
    pub(crate) lora: Vec<LoraOptions>,
    /// A textual inversion embedding, and what the prompt calls it beside its file's name and its own token
    #[arg(long, value_name = "FILE[:NAME]", value_parser = embedding)]
    pub(crate) embedding: Vec<EmbeddingOptions>,
    /// A hypernetwork, a file or a name in --hypernetwork-dir, and its strength. In a prompt: <hypernet:name:0.8>
    #[arg(long, value_name = "FILE[:STRENGTH]", value_parser = hypernetwork)]
    pub(crate) hypernetwork: Vec<HypernetworkOptions>,
    #[command(flatten)]
    folders: AdapterFolderArgs,
}

/// Where adapters are that are called by name.
#[derive(Args)]
#[command(next_help_heading = "Adapters")]
pub(crate) struct AdapterFolderArgs {
    /// Where the LoRAs are that are called by name [default: the folders of A1111 or ComfyUI, if the model is in one]
    #[arg(long, value_name = "DIR")]
    lora_dir: Vec<PathBuf>,
    /// Embeddings that prompts may call by their files' names [default: the folders of A1111 or ComfyUI, if the model is in one]
    #[arg(long, value_name = "DIR")]
    embedding_dir: Vec<PathBuf>,
    /// Where the hypernetworks are that are called by name [default: the folders of A1111 or ComfyUI, if the model is in one]
    #[arg(long, value_name = "DIR")]
    hypernetwork_dir: Vec<PathBuf>,
}

impl AdapterFolderArgs {
    /// `model` is the model's file or folder.
    pub(crate) fn folders(&self, model: Option<&Path>) -> AdapterFolders {
        let beside = model.map(AdapterFolders::beside).unwrap_or_default();
        let given_or = |given: &[PathBuf], beside| if given.is_empty() { beside } else { given.to_vec() };
        AdapterFolders {
            loras: given_or(&self.lora_dir, beside.loras),
            hypernetworks: given_or(&self.hypernetwork_dir, beside.hypernetworks),
            embeddings: given_or(&self.embedding_dir, beside.embeddings),
        }
    }
}

impl AdapterArgs {
    /// `model` is the model's file or folder.
    pub(super) fn apply(&self, request: &mut Request, model: Option<&Path>) {
        let adapters = &mut request.adapters;
        adapters.loras.clone_from(&self.lora);
        adapters.embeddings.clone_from(&self.embedding);
        adapters.hypernetworks.clone_from(&self.hypernetwork);
        adapters.folders = self.folders.folders(model);
    }
}

/// `FILE`, `FILE:STRENGTH` or `FILE:STRENGTH,STRENGTH`.
fn lora(text: &str) -> Result<LoraOptions, String> {
    let (file, strengths) = with_numbers(text)?;
    let (text_encoder, unet) = match *strengths.as_slice() {
        [] => (1.0, 1.0),
        [both] => (both, both),
        [text_encoder, unet] => (text_encoder, unet),
        _ => return Err("expected one strength, or the text encoder's and the UNet's".to_owned()),
    };
    Ok(LoraOptions { file, text_encoder, unet, ranks: None })
}

fn hypernetwork(text: &str) -> Result<HypernetworkOptions, String> {
    let (file, strengths) = with_numbers(text)?;
    match *strengths.as_slice() {
        [] => Ok(HypernetworkOptions { file, strength: 1.0 }),
        [strength] => Ok(HypernetworkOptions { file, strength }),
        _ => Err("expected one strength".to_owned()),
    }
}

fn embedding(text: &str) -> Result<EmbeddingOptions, String> {
    // A colon may be a drive's, or the file's own.
    let (file, name) = match text.rsplit_once(':') {
        Some((file, name)) if !Path::new(text).exists() && !name.contains(['/', '\\']) && file.len() > 1 => {
            (file, Some(name.to_owned()))
        }
        _ => (text, None),
    };
    if name.as_deref() == Some("") || file.is_empty() {
        return Err("expected FILE or FILE:NAME".to_owned());
    }
    Ok(EmbeddingOptions { file: file.into(), name })
}

/// A file or a name, and numbers after a colon. `0,8` could be one number or two, and is neither.
fn with_numbers(text: &str) -> Result<(AdapterFile, Vec<f32>), String> {
    let numbers = |text: &str| -> Option<Vec<f32>> {
        text.split(',').map(|number| number.trim().parse().ok().filter(|number: &f32| number.is_finite())).collect()
    };
    let (file, numbers) = match text.rsplit_once(':') {
        Some((_, strengths)) if !Path::new(text).exists() && with_point(strengths).is_some() => {
            let one = with_point(strengths).unwrap_or_default();
            let two = strengths.replacen(',', ".0,", 1) + ".0";
            return Err(format!(
                "{strengths:?} is one strength or two: write {one}, or {two} for the text encoder and the UNet"
            ));
        }
        Some((file, strengths)) if !Path::new(text).exists() => match numbers(strengths) {
            Some(numbers) => (file, numbers),
            // A drive's colon.
            None if strengths.contains(['/', '\\']) => (text, Vec::new()),
            None => return Err(format!("{strengths:?} is no strength, expected a number such as 0.8")),
        },
        _ => (text, Vec::new()),
    };
    if file.is_empty() {
        return Err("the name of a file is missing".to_owned());
    }
    // A bare name is looked up, unless there is such a file.
    let is_name = !file.contains(['/', '\\', '.']) && !Path::new(file).exists();
    Ok((if is_name { AdapterFile::Name(file.to_owned()) } else { AdapterFile::Path(file.into()) }, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_stand_after_a_colon() {
        let path = |path: &str| AdapterFile::Path(path.into());
        for (text, file, text_encoder, unet) in [
            ("style.safetensors", path("style.safetensors"), 1.0, 1.0),
            ("a/b.safetensors:0.5", path("a/b.safetensors"), 0.5, 0.5),
            ("a/b:-1,0.25", path("a/b"), -1.0, 0.25),
            ("style:0.5", AdapterFile::Name("style".into()), 0.5, 0.5),
            ("C:\\x.pt", path("C:\\x.pt"), 1.0, 1.0),
            ("C:\\x.pt:2", path("C:\\x.pt"), 2.0, 2.0),
        ] {
            assert_eq!(lora(text), Ok(LoraOptions { file, text_encoder, unet, ranks: None }), "{text}");
        }
        for wrong in ["a.pt:b", "a.pt:1,2,3", ":1", "a.pt:inf", "a.pt:"] {
            assert!(lora(wrong).is_err(), "{wrong}");
        }
        let comma = "\"0,8\" is one strength or two: write 0.8, or 0.0,8.0 for the text encoder and the UNet";
        assert_eq!(lora("a.pt:0,8").unwrap_err(), comma);
        for comma in ["a.pt:1,1", "a:-1,5", "sub/a.pt:0,75"] {
            assert!(lora(comma).unwrap_err().contains("is one strength or two: write "), "{comma}");
        }
        assert!(lora("a.pt:1,-1").is_ok() && lora("a.pt:1.0,1").is_ok() && lora("a.pt:1, 0.5").is_ok());
        assert!(hypernetwork("a.pt:1,2").is_err());
        let named =
            |file: &str, name: Option<&str>| Ok(EmbeddingOptions { file: file.into(), name: name.map(str::to_owned) });
        assert_eq!(embedding("a/b.pt:my cat"), named("a/b.pt", Some("my cat")));
        assert_eq!(embedding("C:\\b.pt"), named("C:\\b.pt", None));
        assert!(embedding("a.pt:").is_err());
    }
}
