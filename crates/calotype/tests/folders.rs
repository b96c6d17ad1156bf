//! Folders that are no model: each is refused by one line that names the file and what is wrong.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use calotype::{Model, ModelOptions};
use calotype_checkpoint::{Inspection, inspect};
use tempfile::TempDir;

use crate::common::{Sizes, tensors, write_weights};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const VAE: &str = "vae/diffusion_pytorch_model.safetensors";

/// A sound model, after `damage` was done to it, is refused with `file: message`.
fn refused(damage: impl FnOnce(&Path), file: &str, message: &str) {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    damage(folder.path());
    let error = Model::open(folder.path()).err().expect("it was taken").to_string();
    assert_eq!(error, format!("{}: {message}", folder.path().join(file).display()));
}

fn write(file: &'static str, text: &'static str) -> impl FnOnce(&Path) {
    move |folder| fs::write(folder.join(file), text).unwrap()
}

fn remove(file: &'static str) -> impl FnOnce(&Path) {
    move |folder| fs::remove_file(folder.join(file)).unwrap()
}

/// Replaces a part of a file's text.
fn edit(file: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    move |folder| {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(folder.join(file), text.replace(from, to)).unwrap();
    }
}

#[test]
fn what_is_no_folder() {
    let message = |path: &Path| Model::open(path).err().unwrap().to_string();
    assert_eq!(
        message(Path::new("/no/such")),
        "/no/such: there is no such file or folder: give a checkpoint, or the folder of a diffusers model"
    );
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.safetensors");
    fs::write(&file, "").unwrap();
    assert!(message(&file).contains("the file has 0 bytes"));
    assert!(message(folder.path()).contains("model_index.json: there is no such file"));
}

#[test]
fn missing_files() {
    let gone = "cannot read the file: No such file or directory (os error 2)";
    refused(remove("unet/config.json"), "unet/config.json", gone);
    refused(remove("scheduler/scheduler_config.json"), "scheduler/scheduler_config.json", gone);
    let no_weights = "no diffusion_pytorch_model.safetensors in this folder (nor its fp16 variant, index or .bin): download the weights";
    refused(remove(VAE), "vae", no_weights);
}

#[test]
fn wrong_configs() {
    let index = "model_index.json";
    refused(write(index, "{"), index, "not valid JSON: EOF while parsing an object at line 1 column 1");
    refused(write(index, "[]"), index, "not a JSON object: download the model again");
    let class = r#"{"_class_name": "StableDiffusionXLPipeline"}"#;
    refused(
        write(index, class),
        index,
        r#"_class_name is "StableDiffusionXLPipeline", expected "StableDiffusionPipeline""#,
    );
    let scheduler = "scheduler/scheduler_config.json";
    let flow = "unknown prediction type \"flow_prediction\": use one of epsilon, v_prediction, sample";
    refused(edit(scheduler, "epsilon", "flow_prediction"), scheduler, flow);
    let sigmoid = "beta_schedule \"sigmoid\" is not supported: expected scaled_linear, linear or squaredcos_cap_v2";
    refused(edit(scheduler, "scaled_linear", "sigmoid"), scheduler, sigmoid);
    let spacing = "timestep_spacing: unknown timestep spacing \"evenly\": use one of leading, linspace, trailing";
    let last = "\"set_alpha_to_one\":false";
    refused(edit(scheduler, last, "\"timestep_spacing\":\"evenly\""), scheduler, spacing);
    let order = "solver_order is -1, expected a whole number";
    refused(edit(scheduler, last, "\"solver_order\":-1"), scheduler, order);
    refused(edit(scheduler, last, "\"thresholding\":1"), scheduler, "thresholding is 1, expected true or false");
    let betas = "bad noise schedule: num_train_timesteps is 0, expected 2 to 100000; check scheduler_config.json";
    refused(edit(scheduler, "1000", "0"), scheduler, betas);
    let groups = "UNet config: 8 channels can't be divided by norm_num_groups = 3";
    refused(edit("unet/config.json", "\"norm_num_groups\": 4", "\"norm_num_groups\": 3"), "unet/config.json", groups);
    refused(
        |folder| fs::write(folder.join(index), vec![b' '; 2 << 20]).unwrap(),
        index,
        "cannot read the file: it has more than 1048576 bytes: is it another kind of file?",
    );
    refused(|folder| fs::write(folder.join(index), [0xff]).unwrap(), index, "not UTF-8 text: download the model again");
}

#[test]
fn parts_that_do_not_fit() {
    let narrow = |folder: &Path| {
        let sizes = Sizes::default();
        let text = calotype_models::TextConfig { hidden_size: 12, ..sizes.text };
        fs::remove_dir_all(folder).unwrap();
        Sizes { text, ..Sizes::default() }.write(folder);
    };
    refused(narrow, "unet/config.json", "cross_attention_dim = 8, but the text encoder's hidden_size is 12");
    let six = |folder: &Path| {
        let sizes = Sizes::default();
        let unet = calotype_models::UNetConfig { in_channels: 6, ..sizes.unet };
        fs::remove_dir_all(folder).unwrap();
        Sizes { unet, ..Sizes::default() }.write(folder);
    };
    let message = "in_channels = 6 and out_channels = 4, but the VAE has 4 (expected for both, or 9 in for inpainting)";
    refused(six, "unet/config.json", message);
}

#[test]
fn damaged_weights() {
    let truncated = |folder: &Path| {
        let bytes = fs::read(folder.join(UNET)).unwrap();
        fs::write(folder.join(UNET), &bytes[..bytes.len() - 100]).unwrap();
    };
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    truncated(folder.path());
    let error = Model::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains(UNET) && error.contains("is cut off") && !error.contains('\n'), "{error}");

    let change = |change: fn(&mut crate::common::Tensors)| {
        move |folder: &Path| {
            let mut unet = tensors(&Sizes::default().unet);
            change(&mut unet);
            write_weights(&folder.join(UNET), &unet);
        }
    };
    let missing = "tensor conv_in.bias is missing: this file and the config are not of the same model";
    refused(change(|unet| drop(unet.remove("conv_in.bias"))), UNET, missing);
    // One more than the config asks for may be a buffer of another program: it is told by `inspect`.
    change(|unet| drop(unet.insert("conv_in.extra".into(), (vec![1], vec![0.0]))))(folder.path());
    let Inspection::Model(found) = inspect(folder.path(), &ModelOptions::default()).unwrap() else {
        panic!("no model")
    };
    assert!(found.warnings.iter().any(|warning| warning.contains("conv_in.extra")), "{:?}", found.warnings);
    let misshapen = "tensor conv_in.bias is [4, 2], but the config asks for [8]";
    refused(change(|unet| drop(unet.insert("conv_in.bias".into(), (vec![4, 2], vec![0.0; 8])))), UNET, misshapen);
}

#[test]
fn a_tokenizer_folder_is_used() {
    let broken = |folder: &Path| {
        fs::create_dir(folder.join("tokenizer")).unwrap();
        fs::write(folder.join("tokenizer/vocab.json"), "{}").unwrap();
        fs::write(folder.join("tokenizer/merges.txt"), "").unwrap();
    };
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    broken(folder.path());
    let error = Model::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("tokenizer") && error.contains("the vocabulary lacks"), "{error}");
}

#[test]
fn inspection_tells_what_a_path_is() {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    let json = |path: &Path| serde_json::to_value(inspect(path, &ModelOptions::default()).unwrap()).unwrap();
    let model = json(folder.path());
    assert_eq!((model["kind"].as_str(), model["layout"].as_str()), (Some("model"), Some("diffusers")));
    assert_eq!(model["prediction_type"], "epsilon");
    assert_eq!(model["components"].as_array().unwrap().len(), 3);
    let unet = &model["components"][1];
    assert_eq!((unet["name"].as_str(), unet["config"]["norm_eps"].as_f64()), (Some("unet"), Some(1e-5)));

    let file = json(&folder.path().join(UNET));
    assert_eq!((file["kind"].as_str(), file["format"].as_str()), (Some("file"), Some("safetensors")));
    let parameters: u64 =
        file["components"].as_array().unwrap().iter().map(|c| c["parameters"].as_u64().unwrap()).sum();
    assert_eq!(Some(parameters), unet["parameters"].as_u64());
}

/// `sha256sum` of the weights, and `sha256sum` of that.
#[test]
fn the_hash_can_be_had_with_common_tools() {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let folder = TempDir::new().unwrap();
    Sizes::default().write(folder.path());
    let line = |path: &str| format!("{}  {path}\n", hex(&fs::read(folder.path().join(path)).unwrap()));
    let list = ["text_encoder/model.safetensors", UNET, VAE].map(line).concat();
    assert_eq!(Model::open(folder.path()).unwrap().hash().unwrap(), hex(list.as_bytes()));
}
