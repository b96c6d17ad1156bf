//! LoRAs and hypernetworks on the command line, from outside.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use calotype_formats::{DType, encode_f32, write_safetensors};
use tempfile::TempDir;

use crate::models::{Sizes, values};

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args).args(["--model", "model"]).stdin(Stdio::null());
    command.output().unwrap()
}

/// It worked, without a word.
fn done(folder: &Path, args: &[&str]) {
    let output = run(folder, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), crate::notes::without(&said)), (Some(0), ""), "{args:?}");
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap()
}

/// Writes a LoRA of rank 2 for one layer of the small model, `(8, 8)`.
fn write_lora(file: &Path, name: &str) {
    const LAYER: &str = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
    let tensor = |key: String, shape: [usize; 2]| {
        let data: Vec<f32> = values(&format!("{name}{key}"), 16).into_iter().map(|x| 3.0 * x as f32).collect();
        (key, DType::F32, shape.to_vec(), Cow::from(encode_f32(&data, DType::F32).unwrap()))
    };
    let tensors = [tensor(format!("{LAYER}.lora_A.weight"), [2, 8]), tensor(format!("{LAYER}.lora_B.weight"), [8, 2])];
    write_safetensors(file, tensors, &BTreeMap::new()).unwrap();
}

fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(&folder.path().join("model"));
    fs::create_dir(folder.path().join("loras")).unwrap();
    write_lora(&folder.path().join("loras/ink.safetensors"), "ink");
    folder
}

const LORAS: [&str; 4] = ["--lora-dir", "loras", "--steps", "2"];

/// Each line of a file has its own LoRAs, and takes them off again.
#[test]
fn lines_with_and_without_a_lora() {
    let folder = workplace();
    let folder = folder.path();
    let lines = ["a tree", "a tree <lora:ink:1>", "a tree <lora:ink:0.25>", "a tree"];
    fs::write(folder.join("lines.txt"), lines.join("\n")).unwrap();
    done(folder, &[&["txt2img", "--from-file", "lines.txt", "--output", "all", "--seed", "3"][..], &LORAS].concat());
    for (k, line) in lines.iter().enumerate() {
        let (seed, one) = ((3 + k).to_string(), format!("{k}.png"));
        done(folder, &[&["txt2img", line, "--seed", &seed, "--output", &one][..], &LORAS].concat());
        assert!(bytes(folder, &format!("all/{k:05}.png")) == bytes(folder, &one), "line {k}");
    }
    done(folder, &[&["txt2img", "a tree", "--seed", "4", "--output", "without.png"][..], &LORAS].concat());
    let data = |name: &str| calotype_image::decode(&bytes(folder, name), &Default::default()).unwrap();
    assert!(data("without.png") != data("1.png"), "the LoRA changes nothing");
}

/// A picture is made again with the same LoRA only.
#[test]
fn a_picture_with_a_lora_is_remade() {
    let folder = workplace();
    let folder = folder.path();
    done(folder, &[&["txt2img", "a tree <lora:ink:0.5>", "--output", "called.png"][..], &LORAS].concat());
    done(
        folder,
        &["txt2img", "a tree", "--lora", "loras/ink.safetensors:0.5", "--output", "given.png", "--steps", "2"],
    );
    done(folder, &["remake", "called.png", "--lora-dir", "loras", "--output", "again.png"]);
    assert!(bytes(folder, "called.png") == bytes(folder, "again.png"));
    done(folder, &["remake", "given.png", "--output", "again.png"]);
    assert!(bytes(folder, "given.png") == bytes(folder, "again.png"));

    write_lora(&folder.join("loras/ink.safetensors"), "another ink");
    fs::remove_file(folder.join("again.png")).unwrap();
    for picture in ["called.png", "given.png"] {
        let output = run(folder, &["remake", picture, "--lora-dir", "loras", "--output", "again.png"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let begins = "error: the lora \"ink\" that the picture was made with was another file (";
        assert!(output.status.code() == Some(1) && said.starts_with(begins) && said.lines().count() == 1, "{said}");
        assert!(!folder.join("again.png").exists());
    }
}
