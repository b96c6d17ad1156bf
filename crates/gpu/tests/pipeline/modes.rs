//! Everything that a run can do, on the device as on the processor: through the seam between pipelines and devices nothing of it
//! needs to know which.

use std::{collections::BTreeMap, sync::Arc};

use calotype::{
    Keep, Latents, Pipeline, PipelineOptions, Precision, Request, RgbImage,
    adapters::{AdapterFile, AdapterOptions, LoraOptions},
    request::{Hires, Init, Inpaint, Tiling},
    sampling::SAMPLERS,
};
use calotype_gpu::{Faults, GpuDevice};
use serde_json::Value;

use crate::{
    common::{Sizes, distance, model, values, write_weights},
    load,
    setup::{backends, open},
};

fn short() -> Request {
    Request { num_inference_steps: 3, seed: 5, width: Some(32), height: Some(32), ..Request::new("a tree") }
}

fn picture(mask: bool) -> RgbImage {
    let value = |n: usize, x: f64| match mask {
        true => {
            if n / 3 % 32 < 16 {
                0
            } else {
                255
            }
        }
        false => ((x * 0.5 + 0.5) * 255.0) as u8,
    };
    let data = values("picture", 32 * 32 * 3).into_iter().enumerate().map(|(n, x)| value(n, x)).collect();
    RgbImage::new(32, 32, data).unwrap()
}

/// Every sampler, and every mode of a run.
fn requests(folder: &std::path::Path) -> Vec<(String, Request)> {
    let sampler = |info: &calotype::sampling::SamplerInfo| Request { sampler: info.kind, ..short() };
    let mut requests: Vec<_> = SAMPLERS.iter().map(|info| (format!("{:?}", info.kind), sampler(info))).collect();
    let init = Init { strength: 0.7, ..Init::new(picture(false).into()) };
    let inpaint = Init { inpaint: Some(Inpaint::new(Some(picture(true).into()))), ..init.clone() };
    let hires = Hires { width: 48, height: 48, ..Hires::default() };
    let goldens: Value = serde_json::from_str(include_str!("../../../calotype/tests/goldens/adapters.json")).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(goldens["loras"]["kohya"][0].clone()).unwrap();
    let size = goldens["size"].as_f64().unwrap();
    let tensors = shapes.into_iter().map(|(key, shape)| {
        let numbers = values(&key, shape.iter().product()).into_iter().map(|x| (x * size) as f32).collect();
        (key, (shape, numbers))
    });
    let file = folder.join("lora.safetensors");
    write_weights(&file, &tensors.collect());
    let lora = LoraOptions { file: AdapterFile::Path(file), text_encoder: 0.8, unet: 0.8, ranks: None };
    let adapters = AdapterOptions { loras: vec![lora], ..AdapterOptions::default() };
    requests.extend([
        ("img2img".to_owned(), Request { init: Some(init), ..short() }),
        ("inpainting".to_owned(), Request { init: Some(inpaint), ..short() }),
        ("hires".to_owned(), Request { hires: Some(hires), ..short() }),
        ("seamless".to_owned(), Request { tiling: Tiling::Xy, ..short() }),
        ("odd sizes".to_owned(), Request { width: Some(40), height: Some(24), ..short() }),
        ("a LoRA".to_owned(), Request { adapters, ..short() }),
        ("no guidance".to_owned(), Request { guidance_scale: 1.0, ..short() }),
        ("a long prompt".to_owned(), Request { prompt: "a tree ".repeat(80), ..short() }),
    ]);
    requests
}

#[test]
fn every_sampler_and_mode_is_as_on_the_processor() {
    let (folder, model) = model(&Sizes::default());
    let requests = requests(folder.path());
    let options = PipelineOptions { keep: Keep::All, ..Default::default() };
    let processor = Pipeline::load(Arc::clone(&model), options).unwrap();
    let made = |pipeline: &Pipeline, request: &Request| pipeline.generate(request.clone()).unwrap().finish().unwrap();
    for (name, precision, _) in backends().into_iter().filter(|(_, precision, _)| *precision == Precision::F32) {
        let device = load(&name, &model, precision);
        for (what, request) in &requests {
            let [expected, got] = [&processor, &device].map(|pipeline| made(pipeline, request));
            let error = distance(&got.latents.to_nchw(), &expected.latents.to_nchw());
            // How many steps it takes follows from an error that it finds, and that from rounding.
            let adapts = what == "DpmAdaptive";
            assert!(error < if adapts { 0.1 } else { 1e-3 }, "{name}: {what}: {error:.1e}");
            if adapts {
                continue;
            }
            let [expected, got] = [&expected, &got].map(|made| made.images[0].pixels.data());
            assert!(got.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 2), "{name}: {what}");
        }
    }
}

/// A picture whose decoder has tensors that the device can't bind is decoded in bands, and the same.
#[test]
fn what_is_too_large_to_bind_is_decoded_in_bands() {
    let (_folder, model) = model(&Sizes::default());
    let latents = Latents::new([1, 40, 8, 4], (0..40 * 8 * 4).map(|n| (n as f32 * 0.7).sin()).collect()).unwrap();
    for device in crate::setup::devices() {
        // A whole tensor of the decoder has 163,840 bytes.
        let faults = Faults { poison: true, binding: Some(128 << 10), ..Faults::default() };
        let narrow = open(device.tier(), faults).unwrap();
        let options = PipelineOptions { precision: Precision::F32, ..Default::default() };
        let on = |device: &GpuDevice| Pipeline::new(device.clone(), Arc::clone(&model), options.clone());
        let [whole, bands] = [device, &narrow].map(|device| on(device).decode(&latents).unwrap().remove(0));
        assert!(whole.data().iter().zip(bands.data()).all(|(a, b)| a.abs_diff(*b) <= 1), "{}", device.tier());
        // Other networks have no bands: the text encoder's table is larger.
        let run = on(&narrow).generate(short()).unwrap();
        assert!(run.finish().is_err_and(|error| error.is_of_device() && error.to_string().contains("binds at most")));
    }
}

/// The same image in bands of rows.
#[test]
fn bands_of_rows_are_the_same_image() {
    let (_folder, model) = model(&Sizes::default());
    for (name, precision, _) in backends().into_iter().filter(|(_, precision, _)| *precision == Precision::F32) {
        let request = Request { width: Some(32), height: Some(160), ..short() };
        let device = crate::setup::devices().iter().find(|device| name.starts_with(device.tier().id())).unwrap();
        let [whole, tiled] = [false, true].map(|vae_tiling| {
            let options = PipelineOptions { precision, vae_tiling, ..Default::default() };
            let pipeline = Pipeline::new(device.clone(), Arc::clone(&model), options);
            pipeline.generate(request.clone()).unwrap().finish().unwrap().images.remove(0).pixels
        });
        assert!(whole.data().iter().zip(tiled.data()).all(|(a, b)| a.abs_diff(*b) <= 1), "{name}");
    }
}
