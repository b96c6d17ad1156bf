//! Everything that diffusers computed from `../shared/goldens/sd1-tiny`, if that folder is beside the repository.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use calotype::sampling::SchedulerSettings;
use calotype::{Keep, Latents, Model, Pipeline, PipelineOptions, Precision, Request};
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
        Latents::from_nchw(shape, &self.tensor(key)).unwrap()
    }

    fn prompt(&self, n: usize) -> &str {
        self.json["prompts"][n].as_str().unwrap()
    }

    fn number(&self, key: &str) -> usize {
        self.json[key].as_u64().unwrap() as usize
    }

    /// The reference gave `ddim` and `plms` the config of their own class; for others the folder's is the same.
    fn scheduler_settings(&self, sampler: &str) -> SchedulerSettings {
        let config = &self.json["schedulers"][sampler]["config"];
        let Some(set_alpha_to_one) = config["set_alpha_to_one"].as_bool() else { return SchedulerSettings::default() };
        let spacing = config["timestep_spacing"].as_str().unwrap().parse().unwrap();
        SchedulerSettings {
            timestep_spacing: Some(spacing),
            set_alpha_to_one: Some(set_alpha_to_one),
            ..Default::default()
        }
    }

    fn cases(&self) -> &[Value] {
        self.json["cases"].as_array().unwrap()
    }

    /// The output of each network alone, by the golden's key.
    fn networks(&self, pipeline: &Pipeline) -> Vec<(String, Vec<f32>)> {
        let context = |n| (format!("context_{n}"), pipeline.encode_text(&[self.prompt(n)]).unwrap().0);
        let mut outputs: Vec<_> = (0..3).map(context).collect();
        let mut output = |key: &str, values: Latents| outputs.push((key.to_owned(), values.to_nchw()));
        let x = self.latents("unet_x");
        output("unet_t500", pipeline.predict(&x, 500.0, &self.tensor("context_0")).unwrap());
        output("vae_decode", pipeline.decode_unscaled(&x).unwrap());
        let picture = self.latents("vae_decode").map(|x| x.clamp(-1.0, 1.0));
        output("vae_moments", pipeline.encode_unscaled(&picture).unwrap());
        outputs
    }

    /// The final latents of a case.
    fn run(&self, pipeline: &Pipeline, case: &Value) -> Latents {
        let id = case["sampler"].as_str().unwrap();
        let (sampler, schedule) = id.strip_suffix("_karras").map_or((id, "default"), |sampler| (sampler, "karras"));
        let request = Request {
            prompt: self.prompt(case["prompt"].as_u64().unwrap() as usize).to_owned(),
            negative_prompt: self.json["negative_prompt"].as_str().unwrap().to_owned(),
            num_inference_steps: self.number("steps"),
            sampler: sampler.parse().unwrap(),
            schedule: schedule.parse().unwrap(),
            guidance_scale: self.json["guidance_scale"].as_f64().unwrap() as f32,
            width: Some(self.number("width")),
            height: Some(self.number("height")),
            seed: self.number("seed") as u64,
            scheduler_settings: self.scheduler_settings(id),
            ..Default::default()
        };
        pipeline.run(pipeline.plan(request).unwrap()).unwrap().finish_latents().unwrap()
    }
}

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

/// The root mean square of the differences, relative to that of the expected values.
fn rms_distance(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let differences = squares(&mut got.iter().zip(expected).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    (differences / squares(&mut expected.iter().map(|&x| f64::from(x)))).sqrt()
}
