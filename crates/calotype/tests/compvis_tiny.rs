//! Everything that CompVis' own samplers computed from `../shared/goldens/compvis-tiny`, if that folder is beside the
//! repository.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::path::Path;

use calotype::{
    Keep, Latents, Model, ModelOptions, NoiseRequest, Pipeline, PipelineOptions, Precision, Request, SeedPer, WeightSet,
};
use calotype_formats::SafeTensors;
use common::distance;
use serde_json::Value;

/// The latents of all cases of a set of weights, from a file.
fn check(folder: &Path, file: &str, weights: &str) {
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let golden = SafeTensors::open(&folder.join("golden.safetensors")).unwrap();
    let set = if weights == "raw" { WeightSet::Raw } else { WeightSet::Auto };
    let options = ModelOptions { config: Some(folder.join("config.yaml")), weights: set, ..ModelOptions::default() };
    let model = Model::open_with(folder.join(file), &options).unwrap();
    let options = PipelineOptions { precision: Precision::F32, keep: Keep::All, ..PipelineOptions::default() };
    let pipeline = Pipeline::load(&model, options).unwrap();

    let sides = |key: &str| [0, 1].map(|i| json[key][i].as_u64().unwrap() as usize);
    let [height, width] = sides("picture");
    let mut cases = 0;
    for case in json["cases"].as_array().unwrap().iter().filter(|case| case["weights"] == weights) {
        let text = |key: &str| case[key].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let request = Request {
            prompt: json["prompt"].as_str().unwrap().into(),
            negative_prompt: json["negative_prompt"].as_str().unwrap().into(),
            num_inference_steps: number("steps"),
            sampler: text("sampler").parse().unwrap(),
            schedule: "compvis".parse().unwrap(),
            eta: case["eta"].as_f64().filter(|&eta| eta > 0.0),
            guidance_scale: case["guidance_scale"].as_f64().unwrap() as f32,
            width: Some(width),
            height: Some(height),
            seed: case["seed"].as_u64().unwrap(),
            batch_size: number("batch"),
            noise: NoiseRequest { seed_per: SeedPer::Batch, ..NoiseRequest::default() },
            ..Request::default()
        };
        let latents: Latents = pipeline.run(&request).unwrap().finish_latents().unwrap();
        let expected = golden.read_f32(text("key")).unwrap();
        let error = distance(latents.data(), &expected);
        println!("{file} {}: {error:.1e}", text("key"));
        assert!(error <= 1e-5, "{file} {}: {error:.1e} from CompVis", text("key"));
        cases += 1;
    }
    assert_eq!(cases, if weights == "raw" { 1 } else { 11 });
}

#[test]
fn equals_compvis() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/goldens/compvis-tiny");
    if !folder.exists() {
        println!("skipped: {} does not exist", folder.display());
        return;
    }
    check(&folder, "full.ckpt", "ema");
    check(&folder, "full.ckpt", "raw");
    check(&folder, "pruned-ema.safetensors", "ema");
}
