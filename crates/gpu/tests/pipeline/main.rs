//! Whole pipelines on the device: equal to diffusers', whatever the batch, and to the processor's.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../calotype/tests/common/mod.rs"]
mod common;
mod modes;
#[path = "../ops/setup.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod setup;

use std::sync::Arc;

use calotype::{Keep, Latents, Model, Pipeline, PipelineOptions, Precision, Request};
use common::{
    Sizes, distance,
    golden::Golden,
    model,
    sd1_tiny::{self, rms_distance},
};
use setup::{backends, devices};

fn load(name: &str, model: &Arc<Model>, precision: Precision) -> Pipeline {
    let device = devices().iter().find(|device| name.starts_with(device.tier().id())).unwrap();
    let options = PipelineOptions { precision, keep: Keep::All, ..Default::default() };
    Pipeline::new(device.clone(), Arc::clone(model), options)
}

#[test]
fn equals_diffusers() {
    let (_a, epsilon) = model(&Sizes::default());
    let (_b, velocity) = model(&Sizes { prediction_type: "v_prediction", ..Sizes::default() });
    for (name, precision, _) in backends() {
        let (epsilon, velocity) = (load(&name, &epsilon, precision), load(&name, &velocity, precision));
        for golden in Golden::all() {
            let pipeline = if golden.prediction_type == "v_prediction" { &velocity } else { &epsilon };
            let pictures = pipeline.generate(golden.request()).unwrap().finish().unwrap();
            let error = distance(&pictures.latents.to_nchw(), &golden.latents);
            println!("{name} {} {}: {error:.1e}", golden.sampler, golden.schedule);
            let (allowed, greys) = if precision == Precision::F32 { (1e-4, 1) } else { (1e-2, 3) };
            assert!(error <= allowed, "{name} {} {}: {error:.1e}", golden.sampler, golden.schedule);
            if let Some(expected) = golden.picture {
                let picture = pictures.images[0].pixels.data();
                assert!(picture.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= greys), "{name}");
            }
        }
    }
}

#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let (_folder, model) = model(&Sizes::default());
    for (name, precision, _) in backends() {
        let pipeline = load(&name, &model, precision);
        let request = |seed, batch_size| Request {
            prompt: "a tree".into(),
            num_inference_steps: 2,
            seed,
            batch_size,
            ..Default::default()
        };
        let batch = pipeline.generate(request(10, 3)).unwrap().finish().unwrap();
        for k in 0..3 {
            let alone = pipeline.generate(request(10 + k as u64, 1)).unwrap().finish().unwrap();
            assert_eq!(Some(alone.latents), batch.latents.slice(k, 1), "{name}");
            assert_eq!(alone.images[0].pixels, batch.images[k].pixels, "{name}");
        }
    }
}

/// Values that f16 has no room for: the image is decoded again in f32, and never one of clamped numbers.
#[test]
fn what_overflows_in_f16_is_decoded_again_in_f32() {
    let (_folder, model) = model(&Sizes::default());
    let latents =
        |scale: f32| Latents::new([1, 4, 4, 4], (0..64).map(|n| scale * (n as f32 - 31.5)).collect()).unwrap();
    for (name, precision, _) in backends().into_iter().filter(|(_, precision, _)| *precision == Precision::F16) {
        let [half, full] = [precision, Precision::F32].map(|precision| load(&name, &model, precision));
        let scale = (0..40).map(|n| 2f32.powi(n)).find(|&scale| half.decode_unscaled(&latents(scale)).is_err());
        let large = latents(scale.unwrap() * model.vae_config().scaling_factor);
        assert_eq!(half.decode(&large).unwrap(), full.decode(&large).unwrap(), "{name}");
    }
}

/// The networks of sd1-tiny, and so many of the samplers on the last backend, or all on all. In f16, a quarter of what PyTorch is off in bf16, which has three digits less.
fn equals_the_reference(samplers: usize) {
    let Some(folder) = sd1_tiny::folder() else { return };
    let golden = sd1_tiny::Golden::open(&folder);
    let model = Arc::new(Model::open(&folder).unwrap());
    let pytorch: serde_json::Value =
        serde_json::from_str(include_str!("../../../calotype/tests/goldens/bf16.json")).unwrap();
    let mut off = Vec::new();
    let backends = backends();
    for (n, (name, precision, _)) in backends.iter().enumerate() {
        let precision = *precision;
        let pipeline = load(name, &model, precision);
        let samplers = if samplers == usize::MAX || n + 1 == backends.len() { samplers } else { 0 };
        let runs = golden.cases().iter().take(samplers).map(|case| {
            let key = case["key"].as_str().unwrap();
            (key.to_owned(), golden.run(&pipeline, case).to_nchw())
        });
        for (key, output) in golden.networks(&pipeline).into_iter().chain(runs) {
            let expected = golden.tensor(&key);
            let (error, allowed) = match precision {
                Precision::F32 => (f64::from(distance(&output, &expected)), 1e-4),
                _ => (rms_distance(&output, &expected), pytorch["networks"][&key].as_f64().unwrap() / 4.0),
            };
            println!("{name} {key}: {error:.2e}, allowed {allowed:.2e}");
            if error > allowed {
                off.push(format!("{name} {key}: {error:.2e}, allowed {allowed:.2e}"));
            }
        }
    }
    assert!(off.is_empty(), "{}", off.join("\n"));
}

#[test]
fn sd1_tiny_equals_the_reference() {
    equals_the_reference(1);
}

#[test]
#[ignore = "five minutes on a software driver; every sampler of a smaller model is in modes.rs"]
fn every_sampler_of_sd1_tiny_equals_the_reference() {
    equals_the_reference(usize::MAX);
}
