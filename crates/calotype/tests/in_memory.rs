//! Models in memory are those of the same files on disk.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use calotype::{Latents, Model, ModelOptions, Pipeline, PipelineOptions, Request};
use tempfile::TempDir;

use crate::common::{
    Sizes,
    family::{SD1, write},
};

fn latents(model: Model) -> Latents {
    let pipeline = Pipeline::load(Arc::new(model), PipelineOptions::default()).unwrap();
    let request = Request { num_inference_steps: 2, ..Request::new("a tree") };
    pipeline.generate(request).unwrap().finish_latents().unwrap()
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        match path.is_dir() {
            true => all.extend(files(&path, &format!("{name}/"))),
            false => drop(all.insert(name, fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn a_checkpoint_of_one_file() {
    let place = TempDir::new().unwrap();
    let path = write(place.path(), "model.safetensors", &SD1.compvis());
    let bytes = fs::read(&path).unwrap();
    let options = ModelOptions::default();
    let (on_disk, in_memory) =
        (Model::open(&path).unwrap(), Model::from_bytes("model", bytes.clone(), &options).unwrap());
    assert_eq!((on_disk.name(), on_disk.hash().unwrap()), (in_memory.name(), in_memory.hash().unwrap()));
    assert_eq!(latents(on_disk), latents(in_memory));
    let cut = Model::from_bytes("upload.ckpt", bytes[..bytes.len() - 9].to_vec(), &options);
    let error = cut.err().unwrap().to_string();
    assert!(error.starts_with("upload.ckpt: ") && error.contains("is cut off"), "{error}");
}

#[test]
fn the_files_of_a_folder() {
    let place = TempDir::new().unwrap();
    Sizes::default().write(place.path());
    let mut all = files(place.path(), "");
    let on_disk = Model::open(place.path()).unwrap();
    let in_memory = Model::from_files("tiny", all.clone()).unwrap();
    assert_eq!((in_memory.name(), in_memory.hash().unwrap()), ("tiny", on_disk.hash().unwrap()));
    assert_eq!(latents(on_disk), latents(in_memory));
    all.remove("unet/config.json");
    let error = Model::from_files("tiny", all).err().unwrap().to_string();
    assert_eq!(error, "tiny: unet/config.json: it is not among the files in memory: give it, too");
}
