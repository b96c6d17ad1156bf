//! What diffusers computed from `../shared/goldens/sd1-tiny`, if that folder is beside the repository.

use std::path::{Path, PathBuf};

use calotype::{Latents, Pipeline, Request, sampling::SchedulerSettings};
use calotype_formats::SafeTensors;
use serde_json::Value;

pub(crate) fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/goldens/sd1-tiny");
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: {} does not exist", folder.display());
    None
}

pub(crate) struct Golden {
    pub(crate) file: SafeTensors,
    pub(crate) json: Value,
}

impl Golden {
    pub(crate) fn open(folder: &Path) -> Self {
        // Python writes -Infinity, which is no JSON.
        let json = std::fs::read_to_string(folder.join("golden.json")).unwrap();
        let file = SafeTensors::open(&folder.join("golden.safetensors")).unwrap();
        Self { file, json: serde_json::from_str(&json.replace("-Infinity", "null")).unwrap() }
    }

    pub(crate) fn tensor(&self, key: &str) -> Vec<f32> {
        self.file.read_f32(key).unwrap()
    }

    pub(crate) fn latents(&self, key: &str) -> Latents {
        let shape = self.file.get(key).unwrap().shape.as_slice().try_into().unwrap();
        Latents::from_nchw(shape, &self.tensor(key)).unwrap()
    }

    pub(crate) fn prompt(&self, n: usize) -> &str {
        self.json["prompts"][n].as_str().unwrap()
    }

    pub(crate) fn number(&self, key: &str) -> usize {
        self.json[key].as_u64().unwrap() as usize
    }

    /// The reference gave `ddim` and `plms` the config of their own class; for others the folder's is the same.
    pub(crate) fn scheduler_settings(&self, sampler: &str) -> SchedulerSettings {
        let config = &self.json["schedulers"][sampler]["config"];
        let Some(set_alpha_to_one) = config["set_alpha_to_one"].as_bool() else { return SchedulerSettings::default() };
        let spacing = config["timestep_spacing"].as_str().unwrap().parse().unwrap();
        SchedulerSettings {
            timestep_spacing: Some(spacing),
            set_alpha_to_one: Some(set_alpha_to_one),
            ..Default::default()
        }
    }

    pub(crate) fn cases(&self) -> &[Value] {
        self.json["cases"].as_array().unwrap()
    }

    /// The output of each network alone, by the golden's key.
    pub(crate) fn networks(&self, pipeline: &Pipeline) -> Vec<(String, Vec<f32>)> {
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
    pub(crate) fn run(&self, pipeline: &Pipeline, case: &Value) -> Latents {
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

/// The root mean square of the differences, relative to that of the expected values.
pub(crate) fn rms_distance(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let differences = squares(&mut got.iter().zip(expected).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    (differences / squares(&mut expected.iter().map(|&x| f64::from(x)))).sqrt()
}
