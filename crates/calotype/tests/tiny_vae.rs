//! An `AutoencoderTiny` (TAESD) in the place of a model's VAE, in each of its layouts.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use calotype::{
    Model, ModelOptions, Pipeline, PipelineOptions, Precision, Request, RgbImage,
    checkpoint::{ConvertOptions, ConvertTo, Inspection, convert, inspect},
    request::{Init, InputImage},
};
use calotype_formats::Checkpoint;
use calotype_image::encode_png;
use calotype_models::{ModelConfig, TinyBlocks, VaeConfig};
use tempfile::TempDir;

use crate::common::{Sizes, Tensors, tensors, write_weights};

/// Of the model's downscale.
fn vae() -> VaeConfig {
    let tiny = TinyBlocks { encoder: vec![1, 2, 1], decoder: vec![2, 1, 1], decoder_channels: vec![8; 3] };
    VaeConfig::with_tiny_blocks(tiny, 8)
}

/// The same under TAESD's own names.
fn renamed(tensors: &Tensors) -> Tensors {
    let name = |name: &str| match name.strip_prefix("decoder.layers.") {
        None => name.replace("encoder.layers.", "taesd_encoder."),
        Some(rest) => {
            let (number, rest) = rest.split_once('.').unwrap();
            format!("taesd_decoder.{}.{rest}", number.parse::<usize>().unwrap() + 1)
        }
    };
    tensors.iter().map(|(own, tensor)| (name(own), tensor.clone())).collect()
}

/// One half, as its names are in a file of its own.
fn half(tensors: &Tensors, prefix: &str) -> Tensors {
    renamed(tensors)
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)))
        .collect()
}

/// A model, and the tiny VAE in files of each layout.
fn layouts(place: &Path) -> Vec<PathBuf> {
    let tensors = tensors(&vae());
    let folder = place.join("taesd");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), vae().to_json()).unwrap();
    write_weights(&folder.join("diffusion_pytorch_model.safetensors"), &tensors);
    let file = |name: &str, tensors: &Tensors| {
        let path = place.join(name);
        write_weights(&path, tensors);
        path
    };
    let mut together = renamed(&tensors);
    // As ComfyUI has them beside the weights.
    together.insert("vae_scale".to_owned(), (vec![], vec![0.18215]));
    together.insert("vae_shift".to_owned(), (vec![], vec![0.0]));
    let encoder = file("taesd_encoder.safetensors", &half(&tensors, "taesd_encoder."));
    let decoder = file("taesd_decoder.safetensors", &half(&tensors, "taesd_decoder."));
    let alone = file("diffusers.safetensors", &tensors);
    let within = file("model_vae.safetensors", &tensors.iter().map(|(n, t)| (format!("vae.{n}"), t.clone())).collect());
    vec![folder, file("together.safetensors", &together), encoder, decoder, alone, within]
}

fn pipeline(model: &Path, vae: &Path, options: PipelineOptions) -> Pipeline {
    let with = ModelOptions { vae: Some(vae.to_owned()), ..ModelOptions::default() };
    Pipeline::load(Arc::new(Model::open_with(model, &with).unwrap()), options).unwrap()
}

fn image(pipeline: &Pipeline, request: &Request) -> RgbImage {
    pipeline.generate(request.clone()).unwrap().finish().unwrap().images.remove(0).pixels
}

#[test]
fn every_layout_makes_the_same_pictures() {
    let place = TempDir::new().unwrap();
    let model = place.path().join("model");
    Sizes::default().write(&model);
    let picture = RgbImage::filled(32, 32, [200, 80, 30]);
    let path = place.path().join("init.png");
    fs::write(&path, encode_png(&picture, &[]).unwrap()).unwrap();
    let txt2img = Request { num_inference_steps: 2, ..Request::new("a tree") };
    let init = Init { strength: 0.6, ..Init::new(InputImage::open(&path).unwrap()) };
    let img2img = Request { init: Some(init), ..txt2img.clone() };
    let mut made = Vec::new();
    for vae in layouts(place.path()) {
        let pipeline = pipeline(&model, &vae, PipelineOptions::default());
        assert_eq!(pipeline.model().vae_config(), &self::vae(), "{}", vae.display());
        made.push([&txt2img, &img2img].map(|request| image(&pipeline, request)));
    }
    assert!(made.iter().all(|pictures| *pictures == made[0]));
    let with_own = Pipeline::load(Arc::new(Model::open(&model).unwrap()), PipelineOptions::default()).unwrap();
    assert_ne!(image(&with_own, &txt2img), made[0][0]);
}

#[test]
fn bands_and_number_types_change_little() {
    let place = TempDir::new().unwrap();
    let model = place.path().join("model");
    Sizes::default().write(&model);
    let vae = &layouts(place.path())[0];
    let request = Request { num_inference_steps: 1, width: Some(32), height: Some(512), ..Request::new("a tower") };
    let whole = image(&pipeline(&model, vae, PipelineOptions::default()), &request);
    let near = |options: PipelineOptions, levels: u8| {
        let pipeline = pipeline(&model, vae, options);
        let got = image(&pipeline, &request);
        assert!(got.data().iter().zip(whole.data()).all(|(a, b)| a.abs_diff(*b) <= levels));
        pipeline
    };
    near(PipelineOptions { vae_tiling: true, ..PipelineOptions::default() }, 1);
    let half = near(PipelineOptions { vae_precision: Some(Precision::BF16), ..PipelineOptions::default() }, 12);
    // It is said of the image.
    let made = half.generate(request.clone()).unwrap().finish().unwrap();
    let metadata = made.images[0].metadata().unwrap();
    assert_eq!((metadata.precision, metadata.vae_precision), (Some(Precision::F32), Some(Precision::BF16)));
    let read = calotype::metadata::Metadata::from_json(&metadata.to_json()).unwrap();
    assert_eq!(read.vae_precision, Some(Precision::BF16));
}

#[test]
fn a_half_without_the_other_is_refused_by_what_it_lacks() {
    let place = TempDir::new().unwrap();
    let model = place.path().join("model");
    Sizes::default().write(&model);
    let layouts = layouts(place.path());
    let [encoder, decoder] = [&layouts[2], &layouts[3]];
    let open = |vae: &Path| {
        let with = ModelOptions { vae: Some(vae.to_owned()), ..ModelOptions::default() };
        Model::open_with(&model, &with).map(drop).map_err(|error| error.to_string())
    };
    fs::remove_file(encoder).unwrap();
    let error = open(decoder).unwrap_err();
    let expected =
        "this is the decoder of a tiny VAE (TAESD) alone: put its encoder beside it, as taesd_encoder.safetensors";
    assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    // The decoder in the encoder's place.
    fs::copy(decoder, encoder).unwrap();
    let error = open(decoder).unwrap_err();
    assert!(error.contains("this is not the encoder of TAESD"), "{error}");
    let odd = place.path().join("small.safetensors");
    fs::copy(decoder, &odd).unwrap();
    let error = open(&odd).unwrap_err();
    assert!(error.contains("put its encoder beside it, as taesd_encoder"), "{error}");
}

#[test]
fn it_is_told_and_converted() {
    let place = TempDir::new().unwrap();
    let layouts = layouts(place.path());
    let what = |path: &Path| match inspect(path, &ModelOptions::default()).unwrap() {
        Inspection::File(file) => (file.what, file.problems),
        _ => panic!("no file"),
    };
    let told = ("a tiny VAE (AutoencoderTiny, TAESD)".to_owned(), Vec::<String>::new());
    assert_eq!(what(&layouts[1]).0, told.0);
    assert_eq!(what(&layouts[4]).0, told.0);
    assert_eq!(what(&layouts[3]).0, "the decoder of a tiny VAE (TAESD) without its encoder");
    let to = |to| ConvertOptions { to, dtype: None };
    let out = place.path().join("out");
    for from in [&layouts[1], &layouts[2], &layouts[4]] {
        convert(from, &ModelOptions::default(), &out, to(ConvertTo::Diffusers), &mut |_, _| true).unwrap();
        let file = Checkpoint::open(&out.join("diffusion_pytorch_model.safetensors"), "").unwrap();
        let expected = tensors(&vae());
        assert_eq!(file.tensors().len(), expected.len());
        for (name, (_, data)) in &expected {
            assert_eq!(&file.read_f32(name).unwrap(), data, "{name}");
        }
        let config = fs::read_to_string(out.join("config.json")).unwrap();
        assert_eq!(VaeConfig::from_json(&config).unwrap(), vae());
        fs::remove_dir_all(&out).unwrap();
    }
    let error = convert(&layouts[0], &ModelOptions::default(), &out, to(ConvertTo::CompVis), &mut |_, _| true);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("it is an AutoencoderTiny, which CompVis' layout can't say"), "{error}");
}
