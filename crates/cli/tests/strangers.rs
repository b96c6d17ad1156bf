//! Pictures of other programs: what is said of them, and what is made of them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../calotype/tests/common/mod.rs"]
mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use calotype_image::{Limits, RgbImage, decode, encode_png, read_png_text};
use common::Sizes;
use tempfile::TempDir;

/// A folder with a small model in `model`.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(&folder.path().join("model"));
    folder
}

/// Writes a PNG of 96 x 32 pixels with texts.
fn write(folder: &Path, name: &str, texts: &[(&str, &str)]) {
    fs::write(folder.join(name), encode_png(&RgbImage::filled(96, 32, [0; 3]), texts).unwrap()).unwrap();
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Remakes a picture with the small model: its warnings, the new picture's text and its size.
fn remade(folder: &Path, file: &str, more: &[&str]) -> (String, String, (u32, u32)) {
    let args = [&["remake", file, "--model", "model", "--output", "ours.png", "--quiet"], more].concat();
    let output = run(folder, &args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let ours = fs::read(folder.join("ours.png")).unwrap();
    let picture = decode(&ours, &Limits::default()).unwrap();
    (said, read_png_text(&ours).unwrap()[0].1.clone(), (picture.width(), picture.height()))
}

#[test]
fn what_a1111_wrote_at_any_time_is_remade() {
    let folder = workplace();
    let folder = folder.path();
    for (text, warnings, settings, size) in [
        (
            "a cat\nNegative prompt: dog\nSteps: 2, Sampler: Euler a, CFG scale: 7, Seed: 1234, GFPGAN, Size: 64x32, RNG: GPU, Model: model",
            "warning: not honoured: GFPGAN\n",
            "Steps: 2, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1234, Size: 64x32",
            (64, 32),
        ),
        (
            "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1234, Hashes: {\"vae\": \"c6\"}, RNG: CPU, Model: model.safetensors\nTemplate: a {cat|dog}",
            "warning: not honoured: Hashes: {\"vae\": \"c6\"}\nwarning: not honoured: Template: a {cat|dog}\n",
            "Size: 96x32",
            (96, 32),
        ),
        (
            "a cat\nSteps: 2, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 32x32, Eta: 0.67, Model hash: bd04e140",
            "warning: not honoured: Eta: 0.67\nwarning: made with a model of hash bd04e140, not with model\n",
            "Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7",
            (32, 32),
        ),
        (
            "a cat\nSteps: 2, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1, Size: 32x32, Version: v1.5.1",
            "warning: the file does not say with which model it was made: it is remade with model\n",
            "Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7",
            (32, 32),
        ),
    ] {
        write(folder, "theirs.png", &[("parameters", text)]);
        let (said, ours, made) = remade(folder, "theirs.png", &[]);
        assert_eq!((said.as_str(), made), (warnings, size), "{text}");
        assert!(ours.contains(settings), "{ours}");
    }
}

#[test]
fn what_is_not_known_is_never_a_prompt() {
    let folder = workplace();
    let folder = folder.path();
    for (text, problem) in [
        ("{\"a\": 1}", "the settings are JSON of a program that is not known here"),
        ("[1, 2]", "the settings are JSON of a program that is not known here"),
        ("a cat on a mat", "there are no settings in what A1111 wrote"),
    ] {
        write(folder, "theirs.png", &[("parameters", text)]);
        let output = run(folder, &["remake", "theirs.png", "--model", "model"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said), (Some(1), format!("error: theirs.png: {problem}\n")));
    }
}
