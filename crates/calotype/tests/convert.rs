//! From any layout to any other: every bit stays, and what is written is whole or not there.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use calotype::{
    ConvertOptions, ConvertTo, DType, Inspection, Model, ModelOptions, WeightSet, convert, inspect, list, verify,
};
use calotype_formats::Checkpoint;
use common::{
    Tensors, distance,
    family::{Family, SD1, SD2, UNET, VAE, latents, only, renamed, write},
    write_weights,
};
use tempfile::TempDir;

const DIFFUSERS: ConvertOptions = ConvertOptions { to: ConvertTo::Diffusers, dtype: None };
const COMPVIS: ConvertOptions = ConvertOptions { to: ConvertTo::CompVis, dtype: None };

fn done(from: &Path, options: &ModelOptions, to: &Path, how: ConvertOptions) {
    let mut last = (0, 0);
    convert(from, options, to, how, &mut |done, total| last = (done, total)).unwrap();
    assert!(last.0 == last.1 && last.1 > 0, "progress ends at the end: {last:?}");
}

/// Every tensor of a file: dtype, shape and bytes.
fn bits(path: &Path) -> BTreeMap<String, (DType, Vec<usize>, Vec<u8>)> {
    let file = Checkpoint::open(path, "").unwrap();
    file.tensors().map(|t| (t.name.clone(), (t.dtype, t.shape.clone(), file.read(&t.name).unwrap()))).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILES: [&str; 3] = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

fn round_trip(family: &Family) {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let original = write(place.path(), "original.safetensors", &family.compvis());
    done(&original, &family.options(), &path("folder"), DIFFUSERS);
    // What is in the folder is what CompVis' file was made of, bit for bit.
    for (file, network) in FILES.iter().zip(["text_encoder", "unet", "vae"]) {
        let expected = path("expected.safetensors");
        write_weights(&expected, &family.weights[network]);
        assert_eq!(bits(&path("folder").join(file)), bits(&expected), "{network}");
    }
    done(&path("folder"), &ModelOptions::default(), &path("back.safetensors"), COMPVIS);
    assert_eq!(bits(&path("back.safetensors")), bits(&original));
    // The config beside it says what the shapes don't: nothing else need be said.
    let expected = latents(&original, &family.options());
    for name in ["folder", "back.safetensors"] {
        assert!(distance(&latents(&path(name), &ModelOptions::default()), &expected) <= 1e-6, "{name}");
    }
    let half = ConvertOptions { dtype: Some(DType::F16), ..COMPVIS };
    done(&original, &family.options(), &path("half.safetensors"), half);
    assert!(bits(&path("half.safetensors")).values().all(|(dtype, ..)| *dtype == DType::F16));
    done(&path("half.safetensors"), &ModelOptions::default(), &path("half-folder"), DIFFUSERS);
    done(&path("half-folder"), &ModelOptions::default(), &path("half-back.safetensors"), COMPVIS);
    assert_eq!(bits(&path("half-back.safetensors")), bits(&path("half.safetensors")));
    let left: Vec<String> = names(place.path()).into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_bit_comes_back() {
    round_trip(&SD1);
}

#[test]
fn every_bit_comes_back_of_stable_diffusion_2() {
    round_trip(&SD2);
}

/// A training checkpoint: EMA, other raw weights, and more.
fn full() -> Tensors {
    let compvis = SD1.compvis();
    let is_unet = |name: &str| name.starts_with(UNET);
    let mut full: Tensors = compvis.clone();
    full.iter_mut().filter(|(name, _)| is_unet(name)).flat_map(|(_, (_, data))| data).for_each(|x| *x += 0.5);
    let unet: Tensors = compvis.into_iter().filter(|(name, _)| is_unet(name)).collect();
    full.extend(renamed(&unet, |name| format!("model_ema.{}", name["model.".len()..].replace('.', ""))));
    full.insert("optimizer.step".into(), (vec![2], vec![0.0; 2]));
    full
}

#[test]
fn one_set_of_weights_and_no_optimiser_is_written() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let compvis = SD1.compvis();
    let full = write(place.path(), "full.safetensors", &full());
    write(place.path(), "expected.safetensors", &compvis);
    done(&full, &ModelOptions::default(), &path("ema.safetensors"), COMPVIS);
    assert_eq!(bits(&path("ema.safetensors")), bits(&path("expected.safetensors")));
    let raw = ModelOptions { weights: WeightSet::Raw, ..Default::default() };
    done(&full, &raw, &path("raw.safetensors"), COMPVIS);
    assert_ne!(bits(&path("raw.safetensors")), bits(&path("expected.safetensors")));

    let Inspection::Model(model) = inspect(&full, &ModelOptions::default()).unwrap() else { panic!("it is a model") };
    assert_eq!(
        (model.layout, model.weights.ema, model.weights.raw, model.weights.used),
        ("compvis", true, true, "ema")
    );
    assert_eq!(model.family, "Stable Diffusion 1");
    let extra: Vec<&str> = model.extra.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(extra, ["model", "optimizer"], "the raw weights are not in use");
    assert_eq!(model.short_hash, model.model_hash[..10]);
    let Inspection::Model(model) = inspect(&full, &raw).unwrap() else { panic!("it is a model") };
    assert!(model.weights.used == "raw" && model.warnings.len() == 1, "{:?}", model.warnings);
}

#[test]
fn a_network_alone_is_converted_too() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let vae = write(place.path(), "vae.ckpt", &only(&SD1.compvis(), VAE));
    done(&vae, &ModelOptions::default(), &path("vae"), DIFFUSERS);
    assert_eq!(names(&path("vae")), ["config.json", "diffusion_pytorch_model.safetensors"]);
    done(&path("vae"), &ModelOptions::default(), &path("back.safetensors"), COMPVIS);
    let whole = bits(&path("back.safetensors"));
    let prefixed = bits(&vae).into_iter().map(|(name, tensor)| (format!("{VAE}{name}"), tensor)).collect();
    assert_eq!(whole, prefixed);
}

fn refused(from: &Path, to: &Path, how: ConvertOptions, message: &str) {
    let error = convert(from, &ModelOptions::default(), to, how, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains(message) && !error.contains('\n'), "{error}");
}

#[test]
fn nothing_half_written_is_left() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut tensors = SD1.compvis();
    tensors.get_mut("model.diffusion_model.out.2.bias").unwrap().1[0] = 1e6;
    let model = write(place.path(), "model.safetensors", &tensors);
    fs::write(path("there"), "old").unwrap();
    refused(&model, &path("there"), DIFFUSERS, "is there already");
    fs::write(path("new.yaml"), "old").unwrap();
    refused(&model, &path("new.safetensors"), COMPVIS, "new.yaml: is there already");
    let half = ConvertOptions { dtype: Some(DType::F16), ..DIFFUSERS };
    refused(&model, &path("half"), half, "conv_out.bias has numbers too large for f16: convert to bf16 or f32");
    common::Sizes::default().write(&{
        fs::create_dir(path("narrow")).unwrap();
        path("narrow")
    });
    refused(&path("narrow"), &path("narrow.safetensors"), COMPVIS, "its norms have other than 32 groups");
    refused(&path("nowhere"), &path("x"), DIFFUSERS, "nowhere: there is no such file or folder");
    assert_eq!(names(place.path()), ["model.safetensors", "narrow", "new.yaml", "there"]);
}

#[test]
fn what_is_damaged_is_found() {
    let place = TempDir::new().unwrap();
    let path = write(place.path(), "model.safetensors", &SD1.compvis());
    let none = ModelOptions::default();
    let run = |expected: Option<&str>| verify(&path, &none, expected, &mut |_, _| {});
    let found = run(None).unwrap();
    assert!(found.whole_model && found.checked_against.is_none());
    assert_eq!(found.sha256, Model::open(&path).unwrap().hash().unwrap());
    assert_eq!(run(Some(&found.sha256)).unwrap().checked_against.as_deref(), Some("--sha256"));
    let wrong = run(Some(&"0".repeat(64))).unwrap_err().to_string();
    assert!(wrong.contains("expected 0000") && wrong.contains("--sha256"), "{wrong}");
    assert!(run(Some("abc")).unwrap_err().is_request());
    fs::write(place.path().join("model.safetensors.sha256"), format!("{}  x\n", "1".repeat(64))).unwrap();
    assert!(run(None).unwrap_err().to_string().contains("model.safetensors.sha256"));
    let mut tensors = SD1.compvis();
    tensors.get_mut("first_stage_model.decoder.conv_out.bias").unwrap().1[2] = f32::NAN;
    let path = write(place.path(), "nan.safetensors", &tensors);
    let error = verify(&path, &none, None, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("decoder.conv_out.bias") && error.contains("has NaN at its place 2"), "{error}");
}

#[test]
fn trees_of_other_programs_are_listed() {
    let place = TempDir::new().unwrap();
    let folder = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let vae = only(&SD1.compvis(), VAE);
    let lora = Tensors::from([("lora_unet_x.lora_down.weight".to_owned(), (vec![1], vec![0.0]))]);
    write(&folder("a1111/models/Stable-diffusion/sub"), "model.ckpt", &SD1.compvis());
    write(&folder("a1111/models/Lora"), "style.safetensors", &lora);
    fs::write(folder("a1111/models/VAE").join("broken.pt"), "x").unwrap();
    fs::write(folder("a1111/models/VAE").join("note.txt"), "x").unwrap();
    write(&folder("comfy/models/vae"), "vae.bin", &vae);
    write(&folder("elsewhere/more"), "other.safetensors", &lora);
    let extra =
        format!("a:\n  base_path: {}\n  loras: |\n    more\n    none\n", place.path().join("elsewhere").display());
    fs::write(place.path().join("comfy/extra_model_paths.yaml"), extra).unwrap();
    common::Sizes::default().write(&folder("hub/models--org--name/snapshots/abc"));
    fs::create_dir_all(place.path().join("hub/models--org--name/refs")).unwrap();
    fs::write(place.path().join("hub/models--org--name/refs/main"), "abc").unwrap();
    let found = list(&["a1111", "comfy", "hub"].map(|name| place.path().join(name))).unwrap();
    let told: Vec<(&str, &str, &str)> = found.iter().map(|l| (l.tree, l.name.as_str(), l.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("a1111", "style", "an adapter (LoRA (kohya))"),
            ("a1111", "model", "Stable Diffusion 1 checkpoint"),
            ("a1111", "broken", "cannot be read: see models inspect"),
            ("comfyui", "vae", "VAE"),
            ("comfyui", "other", "an adapter (LoRA (kohya))"),
            ("hub", "org/name", "diffusers model"),
        ]
    );
    assert!(list(&[place.path().join("nowhere")]).is_err());
}
