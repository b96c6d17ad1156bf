//! Finding and reading the weights of a model folder.

#![allow(clippy::unwrap_used)]

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_formats::{Checkpoint, DType, SafeTensors, encode_f32, write_safetensors};

const INDEX: &str = r#"{"metadata":{"total_size":20},"weight_map":{"w.a":"m-2-of-2.safetensors","w.b":"m-1-of-2.safetensors","w.c":"m-2-of-2.safetensors"}}"#;

fn write(path: &Path, tensors: &[(&str, &[f32])]) {
    let tensors = tensors.iter().map(|(name, numbers)| {
        (*name, DType::F32, vec![numbers.len()], Cow::from(encode_f32(numbers, DType::F32).unwrap()))
    });
    write_safetensors(path, tensors, &BTreeMap::from([("format".into(), "pt".into())])).unwrap();
}

#[test]
fn shards_read_as_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(&path.join("m-1-of-2.safetensors"), &[("w.b", &[1.0, 2.0])]);
    write(&path.join("m-2-of-2.safetensors"), &[("w.c", &[3.0]), ("w.a", &[4.0, 5.0])]);
    fs::write(path.join("m.safetensors.index.json"), INDEX).unwrap();

    for place in [path.to_owned(), path.join("m.safetensors.index.json")] {
        let checkpoint = Checkpoint::open(&place, "m").unwrap();
        assert!(checkpoint.tensors().map(|t| t.name.as_str()).eq(["w.a", "w.b", "w.c"]));
        assert_eq!(checkpoint.read_f32("w.a").unwrap(), [4.0, 5.0]);
        assert_eq!(checkpoint.read_f32("w.b").unwrap(), [1.0, 2.0]);
        assert_eq!(checkpoint.read("w.c").unwrap(), 3.0_f32.to_le_bytes());
        assert_eq!(checkpoint.get("w.c").unwrap().shape, [1]);
        assert!(checkpoint.get("w.d").is_none());
        assert_eq!(checkpoint.metadata()["format"], "pt");
        let message = checkpoint.read("w.d").unwrap_err().to_string();
        let index = path.join("m.safetensors.index.json");
        assert!(message.starts_with(&format!("{}: tensor \"w.d\" is missing: ", index.display())), "{message}");
    }

    // A single file of that name comes first.
    write(&path.join("m.safetensors"), &[("x", &[9.0])]);
    assert!(Checkpoint::open(path, "m").unwrap().tensors().map(|t| t.name.as_str()).eq(["x"]));
    fs::remove_file(path.join("m.safetensors")).unwrap();
    fs::remove_file(path.join("m-1-of-2.safetensors")).unwrap();
    let message = Checkpoint::open(path, "m").err().unwrap().to_string();
    assert!(message.contains("m-1-of-2.safetensors: cannot open the file: "), "{message}");
}

#[test]
fn one_file_is_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vae.safetensors");
    write(&path, &[("b", &[1.5]), ("a", &[-2.0])]);
    let opened = [
        Checkpoint::open(folder.path(), "vae").unwrap(),
        Checkpoint::open(&path, "ignored").unwrap(),
        SafeTensors::from_bytes(fs::read(&path).unwrap()).unwrap().into(),
    ];
    for checkpoint in opened {
        assert!(checkpoint.tensors().map(|t| t.name.as_str()).eq(["a", "b"]));
        assert_eq!(checkpoint.read_f32("b").unwrap(), [1.5]);
    }
}

#[test]
fn a_folder_without_weights_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let message = Checkpoint::open(folder.path(), "model").err().unwrap().to_string();
    let expected = "no model.safetensors in this folder (nor model.safetensors.index.json): download the weights";
    assert_eq!(message, format!("{}: {expected}", folder.path().display()));
    assert!(Checkpoint::open(&folder.path().join("none"), "model").is_err());
}
