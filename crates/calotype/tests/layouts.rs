//! The same weights in every layout: the same latents, which are diffusers', too.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use calotype::{Model, ModelOptions, checkpoint::WeightSet, sampling::PredictionType};
use calotype_models::{ModelConfig, PerBlock};
use tempfile::TempDir;

use crate::common::{
    Sizes, Tensors, begin, distance,
    family::{SD1, SD2, UNET, VAE, latents, only, renamed, vae, write},
    write_weights,
};

/// Each layout's latents are the folder's, and those are the reference's.
#[test]
fn every_layout_makes_the_same_latents() {
    for family in [&*SD1, &*SD2] {
        let place = TempDir::new().unwrap();
        let folder = place.path().join("folder");
        fs::create_dir(&folder).unwrap();
        family.sizes.write(&folder);
        let expected = latents(&folder, &ModelOptions::default());
        let error = distance(&expected, &family.golden().latents);
        assert!(error <= 1e-4, "{}: {error:.1e} from diffusers", family.name);

        let compvis = family.compvis();
        let options = family.options();
        let same = |what: &str, path: &Path, options: &ModelOptions| {
            let error = distance(&latents(path, options), &expected);
            assert!(error <= 1e-6, "{} {what}: {error:.1e}", family.name);
        };
        // By content, not by the file's ending.
        same("single file", &write(place.path(), "pruned.ckpt", &compvis), &options);
        let vae_file = write(place.path(), "vae.bin", &only(&compvis, VAE));
        let unet_file = write(place.path(), "unet.pt", &only(&compvis, UNET));

        let broken = renamed(&compvis, str::to_owned).into_iter().map(|(name, (shape, data))| {
            let spoilt = name.starts_with(UNET) || name.starts_with(VAE);
            (name, (shape, data.into_iter().map(|x| if spoilt { x + 0.01 } else { x }).collect()))
        });
        let mut full: Tensors = broken.collect();
        let with = ModelOptions { vae: Some(vae_file), unet: Some(unet_file), ..options.clone() };
        same("parts of their own", &write(place.path(), "wrong.safetensors", &full), &with);
        let with = ModelOptions { vae: Some(folder.join("vae")), unet: Some(folder.clone()), ..options.clone() };
        same("parts of folders", &place.path().join("wrong.safetensors"), &with);

        let ema = |name: &str| format!("model_ema.{}", name["model.".len()..].replace('.', ""));
        let unet: Tensors =
            compvis.iter().filter(|(name, _)| name.starts_with(UNET)).map(|(n, t)| (n.clone(), t.clone())).collect();
        full.extend(renamed(&unet, ema));
        full.extend(compvis.iter().filter(|(name, _)| name.starts_with(VAE)).map(|(n, t)| (n.clone(), t.clone())));
        full.insert("model_ema.decay".into(), (vec![], vec![0.9999]));
        full.extend((0..10_000).map(|n| (format!("optimizer.{n}"), (vec![1], vec![0.0]))));
        let full = write(place.path(), "full.safetensors", &full);
        same("EMA", &full, &options);
        same("EMA by name", &full, &ModelOptions { weights: WeightSet::Ema, ..options.clone() });
        let raw = latents(&full, &ModelOptions { weights: WeightSet::Raw, ..options.clone() });
        assert!(distance(&raw, &expected) > 1e-3, "raw weights are others");

        if family.name == "sd1" {
            // Before transformers 4.26.
            let mut old = renamed(&compvis, |name| name.replace("transformer.text_model.", "transformer."));
            old.insert("cond_stage_model.transformer.embeddings.position_ids".into(), (vec![1, 77], vec![0.0; 77]));
            same("old text names", &write(place.path(), "old.safetensors", &old), &options);
        } else {
            // The whole tower, of which the last layer is not used.
            let mut whole = compvis.clone();
            let last = only(&compvis, "cond_stage_model.model.transformer.resblocks.1.");
            whole.extend(renamed(&last, |name| format!("cond_stage_model.model.transformer.resblocks.2.{name}")));
            whole.insert("cond_stage_model.model.text_projection".into(), (vec![128, 128], vec![0.0; 128 * 128]));
            same("a whole tower", &write(place.path(), "whole.safetensors", &whole), &options);
        }
    }
}

#[test]
fn variants_of_a_folder_are_found() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    SD1.sizes.write(folder);
    let expected = latents(folder, &ModelOptions::default());
    let rename = |from: &str, to: &str| fs::rename(folder.join(from), folder.join(to)).unwrap();
    rename("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors");
    rename("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin");
    rename("text_encoder/model.safetensors", "text_encoder/pytorch_model.fp16.bin");
    assert_eq!(latents(folder, &ModelOptions::default()), expected);

    let raw = ModelOptions { weights: WeightSet::Raw, ..Default::default() };
    let error = Model::open_with(folder, &raw).err().unwrap().to_string();
    assert!(error.contains("no diffusion_pytorch_model.non_ema.safetensors"), "{error}");
    let mut other = SD1.weights["unet"].clone();
    other.values_mut().flat_map(|(_, data)| data).for_each(|x| *x += 0.01);
    write_weights(&folder.join("unet/diffusion_pytorch_model.non_ema.safetensors"), &other);
    assert_eq!(latents(folder, &ModelOptions::default()), expected);
    assert!(distance(&latents(folder, &raw), &expected) > 1e-3);
}

fn refused(path: &Path, options: &ModelOptions, message: &str) {
    let error = Model::open_with(path, options).err().unwrap().to_string();
    assert!(error.contains(message) && !error.contains('\n'), "{error}");
}

#[test]
fn what_is_no_whole_model_is_refused_by_what_it_is() {
    let place = TempDir::new().unwrap();
    let compvis = SD1.compvis();
    let none = ModelOptions::default();
    refused(
        &write(place.path(), "vae.safetensors", &only(&compvis, VAE)),
        &none,
        "has VAE but no text encoder and UNet: give the missing by --text-encoder and --unet",
    );
    let mut lacking = compvis.clone();
    lacking.remove("model.diffusion_model.out.2.weight");
    lacking.remove("model.diffusion_model.out.0.weight");
    lacking.remove("model.diffusion_model.out.0.bias");
    refused(&write(place.path(), "lacking.safetensors", &lacking), &none, "model.diffusion_model.out.2.weight");
    let mut lacking = compvis.clone();
    lacking.retain(|name, _| !name.contains("output_blocks.3.0.out_layers"));
    let message = "tensor model.diffusion_model.output_blocks.3.0.out_layers.0.weight and 3 more are missing";
    refused(&write(place.path(), "lacking.safetensors", &lacking), &none, message);
    let lora = Tensors::from([("lora_unet_x.lora_down.weight".to_owned(), (vec![1], vec![0.0]))]);
    refused(&write(place.path(), "lora.safetensors", &lora), &none, "this is an adapter (LoRA (kohya))");
    let good = write(place.path(), "good.safetensors", &compvis);
    refused(&good, &ModelOptions { weights: WeightSet::Ema, ..none.clone() }, "there are no EMA weights");
    refused(&good, &ModelOptions { config: Some(place.path().join("none.yaml")), ..none.clone() }, "none.yaml");
    let vae = ModelOptions { vae: Some(place.path().join("lora.safetensors")), ..none };
    refused(&good, &vae, "this is an adapter (LoRA (kohya)), and has no VAE");
}

/// Heads, schedule, prediction and size are as the YAML config says, given or beside the file.
#[test]
fn a_yaml_config_says_what_shapes_do_not() {
    let place = TempDir::new().unwrap();
    let path = write(place.path(), "model.safetensors", &SD1.compvis());
    let config = "model: {params: {linear_start: 0.001, linear_end: 0.01, timesteps: 500, image_size: 16, \
        scale_factor: 0.5, parameterization: v, unet_config: {params: {num_heads: 4, in_channels: 4}}}}";
    fs::write(place.path().join("model.yaml"), config).unwrap();
    let model = Model::open(&path).unwrap();
    assert_eq!(model.unet_config().attention_head_dim, PerBlock::All(4));
    assert_eq!(model.default_size(), (128, 128));
    assert_eq!(model.vae_config().scaling_factor, 0.5);
    assert_eq!(model.prediction_type(), PredictionType::VPrediction);
    assert_eq!(model.noise_schedule().num_train_timesteps(), 500);
    let other = place.path().join("other.yaml");
    fs::write(&other, "model: {params: {unet_config: {params: {context_dim: 768}}}}").unwrap();
    let options = ModelOptions { config: Some(other), ..Default::default() };
    refused(&path, &options, "the YAML config says context_dim = 768, but the tensors");
}

/// The buffers that CompVis' loader leaves in place decide where no config does.
#[test]
fn buffers_tell_the_schedule() {
    let place = TempDir::new().unwrap();
    let mut tensors = SD1.compvis();
    let schedule = |tensors: &Tensors| {
        Model::open(write(place.path(), "model.safetensors", tensors)).map(|model| model.noise_schedule().clone())
    };
    let usual = schedule(&tensors).unwrap();
    tensors.insert("alphas_cumprod".into(), (vec![1000], usual.alphas_cumprod().to_vec()));
    assert_eq!(schedule(&tensors).unwrap(), usual);
    let mut product = 1.0;
    let linear = |n: usize| {
        product *= 1.0 - (0.0015 + (0.0195 - 0.0015) * n as f64 / 999.0);
        product as f32
    };
    let alphas: Vec<f32> = (0..1000).map(linear).collect();
    tensors.insert("alphas_cumprod".into(), (vec![1000], alphas.clone()));
    let got = schedule(&tensors).unwrap();
    assert!(got.alphas_cumprod().iter().zip(&alphas).all(|(a, b)| (a - b).abs() < 1e-5));
    tensors.insert("alphas_cumprod".into(), (vec![1000], vec![0.5; 1000]));
    let error = schedule(&tensors).err().unwrap().to_string();
    assert!(
        error.contains("its buffer alphas_cumprod has 0.5, expected numbers that fall") && !error.contains('\n'),
        "{error}"
    );
    // A config is the way out.
    let config = place.path().join("config.yaml");
    fs::write(&config, "model: {params: {linear_start: 0.00085, linear_end: 0.012}}").unwrap();
    let options = ModelOptions { config: Some(config), ..Default::default() };
    let path = place.path().join("model.safetensors");
    assert_eq!(*Model::open_with(path, &options).unwrap().noise_schedule(), usual);
}

/// What `reference/zero_snr.py` writes.
#[derive(serde::Deserialize)]
struct Noise {
    at: Vec<usize>,
    rescaled: Vec<f32>,
    table: Vec<f32>,
    alphas_cumprod: Vec<f32>,
    betas: Vec<f32>,
    latents_rescaled: Vec<f32>,
    latents_table: Vec<f32>,
}

fn noise() -> Noise {
    serde_json::from_str(include_str!("goldens/zero_snr.json")).unwrap()
}

fn near(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (n, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-4 * b.abs().max(1e-6), "{what} {n}: {a} {b}");
    }
}

/// A table of its own, and one without signal at the end: from the buffer, a mark, a folder's config and an option alike.
#[test]
fn tables_of_noise_are_taken_as_they_are() {
    let noise = noise();
    let place = TempDir::new().unwrap();
    let options = SD2.options();
    let open = |path: &Path| Model::open_with(path, &options).unwrap();
    let at = |model: &Model| noise.at.iter().map(|&n| model.noise_schedule().alphas_cumprod()[n]).collect::<Vec<_>>();
    let plain = SD2.compvis();
    let with = |name: &str, key: &str, numbers: Vec<f32>| {
        let mut tensors = plain.clone();
        tensors.insert(key.to_owned(), (vec![numbers.len()], numbers));
        write(place.path(), name, &tensors)
    };
    let (table, betas) = (noise.alphas_cumprod.clone(), noise.betas.clone());
    for path in [with("table.safetensors", "alphas_cumprod", table), with("betas.safetensors", "betas", betas)] {
        let model = open(&path);
        near(&at(&model), &noise.table, "table");
        assert_eq!(model.noise_schedule_name(), Some("trained"));
        assert!(distance(&latents(&path, &options), &noise.latents_table) <= 1e-4);
    }
    // The rescaled one as a file may have it: 0 at the end.
    let usual = write(place.path(), "usual.safetensors", &plain);
    let rescaled = ModelOptions { zero_terminal_snr: true, ..options.clone() };
    let asked = Model::open_with(&usual, &rescaled).unwrap();
    near(&at(&asked), &noise.rescaled, "rescaled");
    let mut table = asked.noise_schedule().alphas_cumprod().to_vec();
    table[999] = 0.0;
    let buffer = with("zero.safetensors", "alphas_cumprod", table);
    let mark = with("mark.safetensors", "ztsnr", vec![]);
    for (path, options) in [(&usual, &rescaled), (&buffer, &options), (&mark, &options)] {
        let model = Model::open_with(path, options).unwrap();
        assert_eq!(model.noise_schedule_name(), Some("Zero Terminal SNR"), "{path:?}");
        // A1111's least ᾱ.
        assert_eq!(model.noise_schedule().alphas_cumprod()[999], 4.897_345_3e-8);
        assert!(model.noise_schedule().sigmas()[999] < 4520.0);
        assert!(distance(&latents(path, options), &noise.latents_rescaled) <= 1e-4, "{path:?}");
    }
    // Damaged ones are refused in a line.
    for (numbers, expected) in [
        (vec![0.9], "alphas_cumprod has 1, expected a table of 2 to 100000 numbers"),
        (vec![1.5, 0.5], "alphas_cumprod has 1.5, expected numbers above 0 and below 1"),
        (vec![0.9, 0.0, 0.0], "alphas_cumprod has 0, expected numbers above 0"),
        (vec![0.9, f32::NAN], "alphas_cumprod has NaN"),
        (vec![0.9, -0.5], "alphas_cumprod has -0.5"),
    ] {
        refused(&with("bad.safetensors", "alphas_cumprod", numbers), &options, expected);
    }
}

/// Every sampler and schedule begins where there is no signal, and ends with numbers.
#[test]
fn runs_without_signal_at_the_start_end_in_numbers() {
    use calotype::{
        Keep, Pipeline, PipelineOptions, Request,
        sampling::{SamplerKind, ScheduleKind},
    };
    let place = TempDir::new().unwrap();
    let path = write(place.path(), "model.safetensors", &SD2.compvis());
    let options = ModelOptions { zero_terminal_snr: true, ..SD2.options() };
    let model = Model::open_with(&path, &options).unwrap();
    let pipeline = Pipeline::load(model, PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap();
    let mut runs = 0;
    for (sampler, schedule) in [
        ("ddim", "default"),
        ("euler", "default"),
        ("euler", "automatic"),
        ("euler_a", "karras"),
        ("dpmpp_2m", "default"),
        ("dpmpp_2m", "automatic"),
        ("heun", "automatic"),
        ("unipc", "default"),
        ("plms", "compvis"),
        ("ddim", "compvis"),
        ("lms", "automatic"),
        ("dpm_adaptive", "automatic"),
    ] {
        let request = Request {
            prompt: "x".into(),
            num_inference_steps: 4,
            sampler: sampler.parse::<SamplerKind>().unwrap(),
            schedule: schedule.parse::<ScheduleKind>().unwrap(),
            width: Some(64),
            height: Some(64),
            ..Default::default()
        };
        let got = begin(&pipeline, &request).unwrap().finish_latents().unwrap();
        assert!(got.data().iter().all(|x| x.is_finite()), "{sampler} {schedule}");
        runs += 1;
    }
    assert_eq!(runs, 12);
}

#[test]
fn an_inpainting_unet_is_known() {
    let place = TempDir::new().unwrap();
    let mut sizes =
        Sizes { text: SD1.sizes.text.clone(), unet: SD1.sizes.unet.clone(), vae: vae(), ..Sizes::default() };
    sizes.unet.in_channels = 9;
    sizes.write(place.path());
    assert!(Model::open(place.path()).unwrap().is_inpainting());
    sizes.unet.in_channels = 8;
    fs::write(place.path().join("unet/config.json"), sizes.unet.to_json()).unwrap();
    refused(place.path(), &ModelOptions::default(), "[32, 9, 3, 3]");
}
