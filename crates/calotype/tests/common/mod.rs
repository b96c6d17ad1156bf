//! A small model in a folder, made from formulas.

#![allow(dead_code, clippy::print_stdout, clippy::unwrap_used, reason = "each test uses a part")]

pub(crate) mod family;
pub(crate) mod golden;
pub(crate) mod sd1_tiny;

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path, sync::Arc};

use calotype::{Model, Pipeline, PipelineOptions, Plan, Request, Result as Made, Run, Warning, sampling::Conditioning};
use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_models::{ModelConfig, ParamSource, ParamSpec, PerBlock, Result, TextConfig, UNetConfig, VaeConfig};
use calotype_tensor::ParamData;
use serde_json::json;
use tempfile::TempDir;

/// Pseudo-random numbers in -1..1: FNV-1a of the name, then SplitMix64, as in `reference/pipeline.py`.
pub(crate) fn values(name: &str, count: usize) -> Vec<f64> {
    let state = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |state: u64, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (1..=count as u64)
        .map(|n| {
            let z = state.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f64 / (1u32 << 24) as f64 * 2.0 - 1.0
        })
        .collect()
}

/// A model in a folder.
pub(crate) fn model(sizes: &Sizes) -> (TempDir, Arc<Model>) {
    let folder = TempDir::new().unwrap();
    sizes.write(folder.path());
    let model = Arc::new(Model::open(folder.path()).unwrap());
    (folder, model)
}

/// What a pipeline makes of a request, before it computes anything.
pub(crate) fn plan(model: &Arc<Model>, request: &Request) -> Made<Plan> {
    plan_with(model, request, PipelineOptions::default())
}

/// [`plan`] of a pipeline with these options.
pub(crate) fn plan_with(model: &Arc<Model>, request: &Request, options: PipelineOptions) -> Made<Plan> {
    Pipeline::load(Arc::clone(model), options)?.plan(request.clone())
}

/// Plans a request and starts it.
pub(crate) fn begin(pipeline: &Pipeline, request: &Request) -> Made<Run> {
    pipeline.generate(request.clone())
}

/// What the UNet attends to in the first pass of a request.
pub(crate) fn conditioning(pipeline: &Pipeline, request: &Request) -> Made<(Arc<Conditioning>, Vec<Warning>)> {
    pipeline.conditioning(&pipeline.plan(request.clone())?)
}

/// Weights by formula.
pub(crate) struct Formula;

impl ParamSource for Formula {
    fn data(&mut self, spec: &ParamSpec) -> Result<Box<dyn ParamData + '_>> {
        let fan_in = (spec.count() / spec.shape[0]) as f64;
        let scaled = |v: f64| match spec.shape.len() {
            _ if spec.name.contains("embedding.weight") => v,
            2.. => v * (3.0 / fan_in).sqrt(),
            _ if spec.name.ends_with("weight") => 1.0 + 0.1 * v,
            _ => 0.1 * v,
        };
        let values: Vec<f32> = values(&spec.name, spec.count()).into_iter().map(|v| scaled(v) as f32).collect();
        Ok(Box::new(values))
    }
}

/// The sizes of a model.
pub(crate) struct Sizes {
    pub(crate) text: TextConfig,
    pub(crate) unet: UNetConfig,
    pub(crate) vae: VaeConfig,
    pub(crate) prediction_type: &'static str,
}

impl Default for Sizes {
    /// Pictures of 32 × 32 pixels in multiples of 8: latents a quarter, and two resolutions in the UNet.
    fn default() -> Self {
        use calotype_models::{DownBlockType as Down, UpBlockType as Up};
        let text = TextConfig {
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            ..TextConfig::default()
        };
        let unet = UNetConfig {
            sample_size: Some(PerBlock::All(8)),
            block_out_channels: vec![8, 16],
            down_block_types: vec![Down::CrossAttention, Down::Plain],
            up_block_types: vec![Up::Plain, Up::CrossAttention],
            layers_per_block: PerBlock::All(1),
            cross_attention_dim: PerBlock::All(8),
            attention_head_dim: PerBlock::All(2),
            norm_num_groups: 4,
            ..UNetConfig::default()
        };
        let vae = VaeConfig { norm_num_groups: 4, ..VaeConfig::with_channels(&[8, 8, 12]) };
        Self { text, unet, vae, prediction_type: "epsilon" }
    }
}

impl Sizes {
    /// Writes the diffusers folder.
    pub(crate) fn write(&self, folder: &Path) {
        network(&self.text, &folder.join("text_encoder"), "model");
        network(&self.unet, &folder.join("unet"), "diffusion_pytorch_model");
        network(&self.vae, &folder.join("vae"), "diffusion_pytorch_model");
        let scheduler = json!({
            "_class_name": "DDIMScheduler",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "num_train_timesteps": 1000,
            "prediction_type": self.prediction_type,
            "set_alpha_to_one": false,
        });
        fs::create_dir_all(folder.join("scheduler")).unwrap();
        fs::write(folder.join("scheduler/scheduler_config.json"), scheduler.to_string()).unwrap();
        fs::write(folder.join("model_index.json"), json!({"_class_name": "StableDiffusionPipeline"}).to_string())
            .unwrap();
    }
}

fn network(config: &impl ModelConfig, folder: &Path, basename: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config.to_json()).unwrap();
    write_weights(&folder.join(format!("{basename}.safetensors")), &tensors(config));
}

/// Tensors by name: shape and numbers.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The weights of a network.
pub(crate) fn tensors(config: &impl ModelConfig) -> Tensors {
    let specs = config.specs().unwrap();
    specs
        .iter()
        .map(|spec| (spec.name.clone(), (spec.shape.clone(), Formula.data(spec).unwrap().to_vec().unwrap())))
        .collect()
}

/// Writes weights as f32.
pub(crate) fn write_weights(file: &Path, tensors: &Tensors) {
    let encoded = tensors.iter().map(|(name, (shape, data))| {
        (name.clone(), DType::F32, shape.clone(), Cow::from(encode_f32(data, DType::F32).unwrap()))
    });
    write_safetensors(file, encoded.collect::<Vec<_>>(), &BTreeMap::new()).unwrap();
}

/// The greatest difference, relative to the greatest expected value.
pub(crate) fn distance(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let greatest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / greatest
}

/// Makes the first number of a tensor in a file of weights not a number.
pub(crate) fn spoil(file: &Path, tensor: &str) {
    let weights = calotype_formats::SafeTensors::open(file).unwrap();
    let mut tensors: Tensors = weights
        .tensors()
        .map(|found| (found.name.clone(), (found.shape.clone(), weights.read_f32(&found.name).unwrap())))
        .collect();
    tensors.get_mut(tensor).unwrap().1[0] = f32::NAN;
    drop(weights);
    write_weights(file, &tensors);
}
