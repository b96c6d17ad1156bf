//! Models as people have them: saved by other versions and other programs, wrapped, of fewer bits, of other kinds.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype::{Model, ModelOptions, checkpoint::DType};
use calotype_checkpoint::{ConvertOptions, ConvertTo, Inspection, convert, inspect};
use calotype_formats::{Checkpoint, encode_f32, write_safetensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{
    Sizes, Tensors,
    family::{SD1, UNET, latents, only, renamed, write},
    write_weights,
};

/// `reference/saved_configs.py`.
fn saved() -> Value {
    serde_json::from_str(include_str!("goldens/saved_configs.json")).unwrap()
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    folder
}

fn message(path: &Path) -> String {
    let message = Model::open(path).err().unwrap().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn warnings(path: &Path, options: &ModelOptions) -> Vec<String> {
    match inspect(path, options).unwrap() {
        Inspection::Model(model) => model.warnings,
        other => panic!("{other:?}"),
    }
}

const TO_DIFFUSERS: ConvertOptions = ConvertOptions { to: ConvertTo::Diffusers, dtype: None };

#[test]
fn every_scheduler_that_diffusers_saves() {
    let (saved, folder) = (saved(), folder());
    let config = folder.path().join("scheduler/scheduler_config.json");
    let schedulers = saved["schedulers"].as_object().unwrap();
    assert!(schedulers.len() >= 20);
    let infinite: Vec<&String> = schedulers
        .iter()
        .filter(|(_, text)| text.as_str().unwrap().contains("-Infinity"))
        .map(|(name, _)| name)
        .collect();
    assert!(infinite.len() >= 3 && infinite.iter().any(|name| *name == "DPMSolverMultistepScheduler"), "{infinite:?}");
    for (name, text) in schedulers {
        fs::write(&config, text.as_str().unwrap()).unwrap();
        let model = Model::open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.noise_schedule().num_train_timesteps(), 1000, "{name}");
        assert!((model.noise_schedule().alphas_cumprod()[0] - 0.99915).abs() < 1e-6, "{name}");
    }
    let others = saved["other_schedulers"].as_object().unwrap();
    assert!(others.len() >= 15);
    for (name, text) in others {
        fs::write(&config, text.as_str().unwrap()).unwrap();
        let expected = format!("{name} is no scheduler of Stable Diffusion 1 or 2, whose noise is given by betas");
        assert!(message(folder.path()).ends_with(&expected), "{name}: {}", message(folder.path()));
    }
    for (text, expected) in [
        (r#"{"num_train_timesteps": 1000}"#, "it has neither _class_name nor betas"),
        (r#"{"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": true}"#, "use_flow_sigmas is true"),
    ] {
        fs::write(&config, text).unwrap();
        assert!(message(folder.path()).contains(expected), "{}", message(folder.path()));
    }
}

#[test]
fn every_text_encoder_that_transformers_saves() {
    let (saved, folder) = (saved(), folder());
    for (name, text) in saved["text_encoders"].as_object().unwrap() {
        fs::write(folder.path().join("text_encoder/config.json"), text.as_str().unwrap()).unwrap();
        let model = Model::open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.text_config().hidden_size, 8, "{name}");
    }
}

#[test]
fn an_index_without_a_class() {
    let folder = folder();
    fs::write(folder.path().join("model_index.json"), r#"{"loss": NaN}"#).unwrap();
    Model::open(folder.path()).unwrap();
    fs::write(folder.path().join("model_index.json"), r#"{"_class_name": "FluxPipeline"}"#).unwrap();
    assert!(message(folder.path()).contains("_class_name is \"FluxPipeline\""));
}

#[test]
fn the_only_variant_of_the_weights_is_taken() {
    let folder = folder();
    let unet = folder.path().join("unet");
    let named = |name: &str| unet.join(format!("diffusion_pytorch_model.{name}"));
    fs::rename(named("safetensors"), named("ema.safetensors")).unwrap();
    let model = Model::open(folder.path()).unwrap();
    assert_eq!(model.hash().unwrap().len(), 64);
    // Of two, none is the one.
    fs::copy(named("ema.safetensors"), named("swa.safetensors")).unwrap();
    assert!(message(folder.path()).contains("no diffusion_pytorch_model.safetensors in this folder"));
}

#[test]
fn a_wrapped_checkpoint_makes_the_same_and_is_unwrapped() {
    let place = TempDir::new().unwrap();
    let plain = write(place.path(), "plain.safetensors", &SD1.compvis());
    let mut tensors = renamed(&SD1.compvis(), |name| format!("module.model.{name}"));
    tensors.insert("module.model.control_model.input_blocks.0.0.weight".into(), (vec![1], vec![0.0]));
    let wrapped = write(place.path(), "wrapped.safetensors", &tensors);
    let options = ModelOptions::default();
    assert_eq!(latents(&wrapped, &options), latents(&plain, &options));
    let back = place.path().join("back.safetensors");
    let how = ConvertOptions { to: ConvertTo::CompVis, dtype: None };
    convert(&wrapped, &options, &back, how, &mut |_, _| true).unwrap();
    let names = |path: &Path| -> Vec<String> {
        Checkpoint::open(path, "").unwrap().tensors().map(|tensor| tensor.name.clone()).collect()
    };
    assert_eq!(names(&back), names(&plain));
}

/// Writes tensors as floats of 8 bits, the upper halves of f16s, `scale` by which they are to be multiplied beside the matrices.
fn write_f8(path: &Path, tensors: &Tensors, scale: Option<f32>) {
    let mut entries = Vec::new();
    for (name, (shape, data)) in tensors {
        let halves =
            |data: &[f32]| -> Vec<u8> { encode_f32(data, DType::F16).unwrap().chunks(2).map(|half| half[1]).collect() };
        match (name.strip_suffix("weight").filter(|_| shape.len() > 1), scale) {
            (Some(stem), Some(scale)) => {
                let small: Vec<f32> = data.iter().map(|x| x / scale).collect();
                entries.push((name.clone(), DType::F8E5M2, shape.clone(), Cow::from(halves(&small))));
                let scale = Cow::from(scale.to_le_bytes().to_vec());
                entries.push((format!("{stem}scale_weight"), DType::F32, vec![1], scale));
            }
            _ => entries.push((name.clone(), DType::F8E5M2, shape.clone(), Cow::from(halves(data)))),
        }
    }
    write_safetensors(path, entries, &BTreeMap::new()).unwrap();
}

#[test]
fn floats_of_eight_bits_are_run_and_converted() {
    let place = TempDir::new().unwrap();
    let path = |name: &str| place.path().join(name);
    // Exact in 8 bits, also halved, so that nothing is lost: two bits of mantissa, and no number below the least normal one.
    let mut tensors = SD1.compvis();
    let cut = |x: &mut f32| {
        let cut = f32::from_bits(x.to_bits() & 0xffe0_0000);
        *x = if cut.abs() < 2.0_f32.powi(-13) { 0.0 } else { cut };
    };
    tensors.values_mut().flat_map(|(_, data)| data).for_each(cut);
    let options = ModelOptions::default();
    let expected = write(place.path(), "f32.safetensors", &tensors);
    write_f8(&path("f8.safetensors"), &tensors, None);
    write_f8(&path("scaled.safetensors"), &tensors, Some(0.5));
    for (name, dtype) in [("f8", DType::F16), ("scaled", DType::F32)] {
        let file = path(&format!("{name}.safetensors"));
        convert(&file, &options, &path(name), TO_DIFFUSERS, &mut |_, _| true).unwrap();
        let unet = Checkpoint::open(&path(name).join("unet/diffusion_pytorch_model.safetensors"), "").unwrap();
        assert_eq!(unet.get("conv_in.weight").unwrap().dtype, dtype, "{name}");
        let (_, data) = &tensors[&format!("{UNET}input_blocks.0.0.weight")];
        assert_eq!(unet.read_f32("conv_in.weight").unwrap(), *data, "{name}");
        let distance = crate::common::distance(&latents(&file, &options), &latents(&expected, &options));
        assert!(distance <= 1e-6, "{name}: {distance}");
    }
}

#[test]
fn models_of_pictures_and_depths_are_converted_and_named_but_not_run() {
    for (channels, class, what) in [
        (8, "StableDiffusionInstructPix2PixPipeline", "takes the latents of a picture as well (InstructPix2Pix)"),
        (5, "StableDiffusionDepth2ImgPipeline", "takes a map of depths as well (Stable Diffusion 2 depth)"),
    ] {
        let place = TempDir::new().unwrap();
        let mut tensors = SD1.compvis();
        let (shape, data) = tensors.get_mut(&format!("{UNET}input_blocks.0.0.weight")).unwrap();
        shape[1] = channels;
        data.resize(shape.iter().product(), 0.25);
        let key = "depth_model.model.pretrained.act_postprocess3.0.project.0.bias";
        tensors.insert(key.into(), (vec![1], vec![0.0]));
        let file = write(place.path(), "model.safetensors", &tensors);
        let expected = format!("its UNet {what}, which is converted and inspected here but not run");
        assert!(message(&file).ends_with(&expected), "{}", message(&file));
        let all = warnings(&file, &ModelOptions::default());
        assert!(all.iter().any(|warning| *warning == format!("its UNet {what}: it is not run here")), "{all:?}");
        let folder = place.path().join("folder");
        convert(&file, &ModelOptions::default(), &folder, TO_DIFFUSERS, &mut |_, _| true).unwrap();
        assert!(fs::read_to_string(folder.join("model_index.json")).unwrap().contains(class));
        let unet = Checkpoint::open(&folder.join("unet/diffusion_pytorch_model.safetensors"), "").unwrap();
        assert_eq!(unet.get("conv_in.weight").unwrap().shape[1], channels);
    }
}

#[test]
fn a_config_counts_for_a_unet_of_its_own() {
    let place = TempDir::new().unwrap();
    let whole = write(place.path(), "whole.safetensors", &SD1.compvis());
    let unet = place.path().join("unet.safetensors");
    write_weights(&unet, &only(&SD1.compvis(), UNET));
    let config = place.path().join("heads.yaml");
    fs::write(&config, "model: {params: {unet_config: {params: {num_heads: 4}}}}").unwrap();
    let folder = folder();
    let heads = |base: &Path, config: Option<&Path>| {
        let options = ModelOptions {
            unet: Some(unet.clone()),
            text_encoder: Some(whole.clone()),
            config: config.map(Path::to_owned),
            ..ModelOptions::default()
        };
        Model::open_with(base, &options).map(|model| model.unet_config().attention_head_dim.get(0))
    };
    assert_eq!(heads(&whole, None).unwrap(), 8);
    assert_eq!(heads(&whole, Some(&config)).unwrap(), 4);
    assert_eq!(heads(folder.path(), Some(&config)).unwrap(), 4);
    // Without a part in a file it says nothing of a folder.
    let options = ModelOptions { config: Some(config), ..ModelOptions::default() };
    assert!(Model::open_with(folder.path(), &options).err().unwrap().to_string().contains("leave it out"));
}

#[test]
fn inspection_tells_of_what_is_not_sound() {
    let place = TempDir::new().unwrap();
    let mut tensors = SD1.compvis();
    let sound = write(place.path(), "sound.safetensors", &tensors);
    assert_eq!(warnings(&sound, &ModelOptions::default()), Vec::<String>::new());
    let positions = "cond_stage_model.transformer.text_model.embeddings.position_ids";
    let mut ids: Vec<f32> = (0..77_u8).map(f32::from).collect();
    tensors.insert(positions.into(), (vec![1, 77], ids.clone()));
    let file = write(place.path(), "whole.safetensors", &tensors);
    assert_eq!(warnings(&file, &ModelOptions::default()), Vec::<String>::new());
    ids[41] = 40.9;
    tensors.insert(positions.into(), (vec![1, 77], ids));
    tensors.insert("stray.weight".into(), (vec![1], vec![0.0]));
    tensors.get_mut(&format!("{UNET}out.2.bias")).unwrap().1[1] = f32::NAN;
    let file = write(place.path(), "broken.safetensors", &tensors);
    let all = warnings(&file, &ModelOptions::default());
    let expected = [
        r#"the UNet's tensor "model.diffusion_model.out.2.bias" has NaN at its place 1: images made with it may be black"#,
        "its position ids are broken (place 41 has 40.9): they are not used here, but other programs read them and draw otherwise",
        r#"1 of its tensors belong to no network (the first is "stray.weight")"#,
    ];
    assert_eq!(all, expected);
}

#[test]
fn an_inspection_ends_alike_with_a_config_and_without() {
    let place = TempDir::new().unwrap();
    let mut tensors = SD1.compvis();
    tensors.retain(|name, _| !name.starts_with("cond_stage_model"));
    let file = write(place.path(), "part.safetensors", &tensors);
    let config = place.path().join("other.yaml");
    fs::write(&config, "model: {params: {unet_config: {params: {num_heads: 8}}}}").unwrap();
    let with = |config: Option<&Path>| {
        let options = ModelOptions { config: config.map(Path::to_owned), ..ModelOptions::default() };
        match inspect(&file, &options) {
            Ok(Inspection::File(file)) => Ok(file.problems),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    assert_eq!(with(Some(&config)), with(None));
    assert!(with(None).unwrap()[0].contains("but no text encoder"));
    // A config that can't be read is the caller's.
    fs::write(&config, "[").unwrap();
    assert!(with(Some(&config)).unwrap_err().contains("other.yaml"));
}
