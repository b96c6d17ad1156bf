//! Everything that diffusers computed from `../shared/goldens/sd1-tiny`, if that folder is beside the repository.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use calotype::{Keep, Model, Pipeline, PipelineOptions, Precision};
use serde_json::Value;

use crate::common::{
    distance,
    sd1_tiny::{Golden, folder, rms_distance},
};

fn load(model: &Arc<Model>, precision: Precision) -> Pipeline {
    Pipeline::load(Arc::clone(model), PipelineOptions { precision, keep: Keep::All, ..Default::default() }).unwrap()
}

#[test]
fn networks_equal_the_reference() {
    let Some(folder) = folder() else { return };
    let (golden, model) = (Golden::open(&folder), Arc::new(Model::open(&folder).unwrap()));
    for n in 0..3 {
        let ids: Vec<i64> = model.tokenizer().encode(golden.prompt(n)).ids.iter().map(|&id| i64::from(id)).collect();
        assert_eq!(ids, golden.file.read_i64(&format!("ids_{n}")).unwrap());
    }
    for (key, output) in golden.networks(&load(&model, Precision::F32)) {
        let error = distance(&output, &golden.tensor(&key));
        println!("{key}: {error:.1e}");
        assert!(error <= 1e-5, "{key}: {error:.1e}");
    }
}

#[test]
fn every_sampler_equals_the_reference() {
    let Some(folder) = folder() else { return };
    let (golden, model) = (Golden::open(&folder), Arc::new(Model::open(&folder).unwrap()));
    let pipeline = load(&model, Precision::F32);
    assert_eq!(golden.cases().len(), 9);
    for case in golden.cases() {
        let key = case["key"].as_str().unwrap();
        let latents = golden.run(&pipeline, case);
        let error = distance(&latents.to_nchw(), &golden.tensor(key));
        println!("{key}: {error:.1e}");
        assert!(error <= 1e-4, "{key}: {error:.1e}");
        if key == "latents_ddim_0" {
            let picture = pipeline.decode(&latents).unwrap().pop().unwrap();
            let expected = golden.latents("image_ddim_0");
            for (n, (&value, expected)) in picture.data().iter().zip(expected.data()).enumerate() {
                let grey = (expected * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0;
                assert!((f32::from(value) - grey).abs() <= 1.0, "value {n}");
            }
        }
    }
}

/// `goldens/bf16.json` is what `reference/bf16.py` measured in PyTorch.
#[test]
fn bf16_is_no_further_from_f32_than_in_pytorch() {
    let Some(folder) = folder() else { return };
    let (golden, model) = (Golden::open(&folder), Arc::new(Model::open(&folder).unwrap()));
    let pytorch: Value = serde_json::from_str(include_str!("goldens/bf16.json")).unwrap();
    let pipeline = load(&model, Precision::BF16);
    let runs = golden.cases().iter().map(|case| {
        let key = case["key"].as_str().unwrap();
        (key.to_owned(), golden.run(&pipeline, case).to_nchw())
    });
    let mut further = Vec::new();
    for (key, output) in golden.networks(&pipeline).into_iter().chain(runs) {
        let error = rms_distance(&output, &golden.tensor(&key));
        println!("bf16 {key}: {error:.2e}");
        let allowed = pytorch["networks"][&key].as_f64().unwrap();
        if error > allowed {
            further.push(format!("{key}: {error:.2e}, in PyTorch {allowed:.2e}"));
        }
    }
    assert!(further.is_empty(), "{}", further.join("\n"));
}
