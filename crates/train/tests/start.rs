//! Runs that start from a model, in whatever layout it is: the same numbers from each.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use calotype::ModelOptions;
use calotype_checkpoint::{ConvertOptions, ConvertTo, convert};
use calotype_image::{RgbImage, encode_png};
use calotype_train::{RunOptions, Summary, train_autoencoder, train_diffusion};

const AUTOENCODER: &str = "[model]\nblock_out_channels = [32, 32]\nnorm_num_groups = 32\n";
const DIFFUSION: &str = "[model]\nautoencoder = \"VAE\"\nblock_out_channels = [32, 64]\nlayers_per_block = 1\n\
    attention_levels = [false, true]\nattention_heads = 8\nnorm_num_groups = 32\n\
    [model.text_encoder]\nhidden_size = 64\nnum_hidden_layers = 1\nnum_attention_heads = 1\n";

fn pictures(folder: &Path) {
    let pictures = folder.join("pictures");
    fs::create_dir(&pictures).unwrap();
    let mut list = String::new();
    for i in 0..3u8 {
        let picture = RgbImage::filled(8, 8, [i * 80, 255 - i * 20, 128]);
        fs::write(pictures.join(format!("{i}.png")), encode_png(&picture, &[]).unwrap()).unwrap();
        list += &format!("{{\"file_name\":\"{i}.png\",\"text\":\"picture {i}\"}}\n");
    }
    fs::write(pictures.join("metadata.jsonl"), list).unwrap();
}

fn train(folder: &Path, run: &str, from: Option<&Path>, model: &str) -> calotype_train::Result<Summary> {
    let path = folder.join(format!("{run}.toml"));
    let from = from.map_or(String::new(), |from| format!("init_from = \"{}\"\n", from.display()));
    let text = format!(
        "output = \"{run}\"\n[data]\nfolder = \"pictures\"\nsize = 8\n\
         [train]\nbatch_size = 2\nsteps = 2\nlearning_rate = 0.002\n{from}\
         [report]\nsample_every = 0\nevaluate_every = 0\nsample_steps = 1\nprecision = \"f32\"\n{model}"
    );
    fs::write(&path, text).unwrap();
    let (stop, progress) = (&AtomicBool::new(false), &mut |_: &calotype_train::Progress| {});
    let options = RunOptions { resume: false, threads: 1, stop, progress };
    if model == AUTOENCODER { train_autoencoder(&path, options) } else { train_diffusion(&path, options) }
}

fn weights(summary: &Summary, network: &str) -> Vec<u8> {
    fs::read(summary.model.join(network)).unwrap()
}

#[test]
fn a_run_may_start_from_any_layout() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    pictures(folder);
    let vae = train(folder, "vae", None, AUTOENCODER).unwrap().model;
    let diffusion = |vae: &Path| DIFFUSION.replace("VAE", &vae.display().to_string());
    let model: PathBuf = train(folder, "model", None, &diffusion(&vae)).unwrap().model;
    let single = folder.join("model.safetensors");
    let how = ConvertOptions { to: ConvertTo::CompVis, dtype: None };
    convert(&model, &ModelOptions::default(), &single, how, &mut |_, _| true).unwrap();

    let starts: [&Path; 2] = [&model, &single];
    let [one, other] = starts.map(|start| {
        let run = if start == model { "from-folder" } else { "from-file" };
        train(folder, run, Some(start), &diffusion(start)).unwrap()
    });
    for file in ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "vae/config.json"] {
        assert!(weights(&one, file) == weights(&other, file), "{file}");
    }
    assert!(
        weights(&one, "unet/diffusion_pytorch_model.safetensors")
            != fs::read(model.join("unet/diffusion_pytorch_model.safetensors")).unwrap()
    );
    // An autoencoder out of the whole file.
    let runs = starts.map(|start| {
        let run = if start == model { "vae-from-folder" } else { "vae-from-file" };
        weights(&train(folder, run, Some(start), AUTOENCODER).unwrap(), "vae/diffusion_pytorch_model.safetensors")
    });
    assert!(runs[0] == runs[1]);
    // What is there must be what is trained.
    let other = diffusion(&single).replace("hidden_size = 64", "hidden_size = 128");
    let error = train(folder, "other", Some(&single), &other).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("128") && !error.contains('\n'), "{error}");
    fs::write(folder.join("model.yaml"), "model: {params: {parameterization: v}}").unwrap();
    let error = train(folder, "v", Some(&single), &diffusion(&single)).unwrap_err().to_string();
    assert!(error.contains("it predicts v, and ε is trained here"), "{error}");
}
