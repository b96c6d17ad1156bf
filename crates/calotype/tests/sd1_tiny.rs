//! Everything that diffusers computed from `../shared/goldens/sd1-tiny`, if that folder is beside the repository.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::path::{Path, PathBuf};

use calotype::{Keep, Latents, Model, Pipeline, PipelineOptions, Text2ImageRequest};
use calotype_formats::SafeTensors;
use common::distance;
use serde_json::Value;

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/goldens/sd1-tiny");
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: {} does not exist", folder.display());
    None
}

struct Golden {
    file: SafeTensors,
    json: Value,
}

impl Golden {
    fn open(folder: &Path) -> Self {
        // Python writes -Infinity, which is no JSON.
        let json = std::fs::read_to_string(folder.join("golden.json")).unwrap();
        let file = SafeTensors::open(&folder.join("golden.safetensors")).unwrap();
        Self { file, json: serde_json::from_str(&json.replace("-Infinity", "null")).unwrap() }
    }

    fn tensor(&self, key: &str) -> Vec<f32> {
        self.file.read_f32(key).unwrap()
    }

    fn latents(&self, key: &str) -> Latents {
        let shape = self.file.get(key).unwrap().shape.as_slice().try_into().unwrap();
        Latents::new(shape, self.tensor(key)).unwrap()
    }

    fn prompt(&self, n: usize) -> &str {
        self.json["prompts"][n].as_str().unwrap()
    }

    fn number(&self, key: &str) -> usize {
        self.json[key].as_u64().unwrap() as usize
    }
}

#[test]
fn networks_equal_the_reference() {
    let Some(folder) = folder() else { return };
    let (golden, model) = (Golden::open(&folder), Model::open(&folder).unwrap());
    let pipeline = Pipeline::load(&model, PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap();
    for n in 0..3 {
        let ids: Vec<i64> = model.tokenizer().encode(golden.prompt(n)).ids.iter().map(|&id| i64::from(id)).collect();
        assert_eq!(ids, golden.file.read_i64(&format!("ids_{n}")).unwrap());
        let (context, _) = pipeline.encode_text(&[golden.prompt(n)]).unwrap();
        let error = distance(&context, &golden.tensor(&format!("context_{n}")));
        println!("context {n}: {error:.1e}");
        assert!(error <= 1e-5, "context {n}: {error:.1e}");
    }
    let x = golden.latents("unet_x");
    let output = pipeline.predict(&x, 500.0, &golden.tensor("context_0")).unwrap();
    let error = distance(output.data(), &golden.tensor("unet_t500"));
    println!("unet: {error:.1e}");
    assert!(error <= 1e-5, "unet: {error:.1e}");

    let decoded = pipeline.decode_unscaled(&x).unwrap();
    let error = distance(decoded.data(), &golden.tensor("vae_decode"));
    println!("vae decode: {error:.1e}");
    assert!(error <= 1e-5, "vae decode: {error:.1e}");
    let picture: Vec<f32> = golden.tensor("vae_decode").iter().map(|x| x.clamp(-1.0, 1.0)).collect();
    let picture = Latents::new(golden.latents("vae_decode").shape(), picture).unwrap();
    let moments = pipeline.encode_unscaled(&picture).unwrap();
    let error = distance(moments.data(), &golden.tensor("vae_moments"));
    println!("vae moments: {error:.1e}");
    assert!(error <= 1e-5, "vae moments: {error:.1e}");
}

#[test]
fn every_sampler_equals_the_reference() {
    let Some(folder) = folder() else { return };
    let (golden, model) = (Golden::open(&folder), Model::open(&folder).unwrap());
    let pipeline = Pipeline::load(&model, PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap();
    let cases = golden.json["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let id = case["sampler"].as_str().unwrap();
        let (sampler, schedule) = id.strip_suffix("_karras").map_or((id, "default"), |sampler| (sampler, "karras"));
        let request = Text2ImageRequest {
            prompt: golden.prompt(case["prompt"].as_u64().unwrap() as usize).to_owned(),
            negative_prompt: golden.json["negative_prompt"].as_str().unwrap().to_owned(),
            num_inference_steps: golden.number("steps"),
            sampler: sampler.parse().unwrap(),
            schedule: schedule.parse().unwrap(),
            guidance_scale: golden.json["guidance_scale"].as_f64().unwrap() as f32,
            width: Some(golden.number("width")),
            height: Some(golden.number("height")),
            seed: golden.number("seed") as u64,
            ..Default::default()
        };
        let latents = pipeline.txt2img(&request).unwrap().finish_latents().unwrap();
        let error = distance(latents.data(), &golden.tensor(case["key"].as_str().unwrap()));
        println!("{id}: {error:.1e}");
        assert!(error <= 1e-4, "{id}: {error:.1e}");
        if id == "ddim" {
            let picture = pipeline.decode(&latents).unwrap().pop().unwrap();
            let expected = golden.latents("image_ddim_0");
            let [_, c, h, w] = expected.shape();
            for (n, &value) in picture.data().iter().enumerate() {
                let (channel, pixel) = (n % c, n / c);
                let grey = (expected.data()[channel * h * w + pixel] * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0;
                assert!((f32::from(value) - grey).abs() <= 1.0, "value {n}");
            }
        }
    }
}
