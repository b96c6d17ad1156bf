//! Two tiny models, one of Stable Diffusion 1's kind and one of 2's, in CompVis' layout too.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use calotype::{Keep, Model, ModelOptions, Pipeline, PipelineOptions, Request, sampling::PredictionType};
use calotype_models::{
    DownBlockType as Down, HiddenAct, PerBlock, TextConfig, UNetConfig, UpBlockType as Up, VaeConfig,
};
use serde::Deserialize;

use super::{Sizes, Tensors, begin, tensors, write_weights};

/// A tensor's shape, and its parts by place.
type Fused = (Vec<usize>, BTreeMap<usize, Vec<f32>>);

/// What `reference/checkpoints.py` wrote of one family.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) latents: Vec<f32>,
    /// CompVis' key, the network, the canonical name, and which third of the key's rows.
    pub(crate) keys: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Row {
    Whole(String, String, String),
    Third(String, String, String, usize),
}

pub(crate) static GOLDENS: LazyLock<BTreeMap<String, Golden>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../goldens/layouts.json")).unwrap());

/// A family, its sizes and weights.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) sizes: Sizes,
    /// By network and canonical name.
    pub(crate) weights: BTreeMap<&'static str, Tensors>,
}

pub(crate) fn vae() -> VaeConfig {
    VaeConfig { sample_size: Some(PerBlock::All(512)), ..VaeConfig::with_channels(&[32, 64, 64, 64]) }
}

pub(crate) fn text(width: usize, hidden_act: HiddenAct) -> TextConfig {
    TextConfig {
        hidden_size: width,
        intermediate_size: 4 * width,
        num_hidden_layers: 2,
        num_attention_heads: width / 64,
        hidden_act,
        ..TextConfig::default()
    }
}

pub(crate) static SD1: LazyLock<Family> = LazyLock::new(|| {
    let unet = UNetConfig {
        sample_size: Some(PerBlock::All(8)),
        block_out_channels: vec![32, 64, 64],
        down_block_types: vec![Down::CrossAttention, Down::CrossAttention, Down::Plain],
        up_block_types: vec![Up::Plain, Up::CrossAttention, Up::CrossAttention],
        layers_per_block: PerBlock::All(1),
        cross_attention_dim: PerBlock::All(64),
        ..UNetConfig::default()
    };
    Family::new("sd1", Sizes { text: text(64, HiddenAct::QuickGelu), unet, vae: vae(), prediction_type: "epsilon" })
});

pub(crate) static SD2: LazyLock<Family> = LazyLock::new(|| {
    let unet = UNetConfig {
        sample_size: Some(PerBlock::All(8)),
        block_out_channels: vec![64, 128],
        down_block_types: vec![Down::CrossAttention, Down::Plain],
        up_block_types: vec![Up::Plain, Up::CrossAttention],
        cross_attention_dim: PerBlock::All(128),
        attention_head_dim: PerBlock::Each(vec![1, 2]),
        use_linear_projection: true,
        ..UNetConfig::default()
    };
    Family::new("sd2", Sizes { text: text(128, HiddenAct::Gelu), unet, vae: vae(), prediction_type: "v_prediction" })
});

impl Family {
    fn new(name: &'static str, sizes: Sizes) -> Self {
        let weights = BTreeMap::from([
            ("text_encoder", tensors(&sizes.text)),
            ("unet", tensors(&sizes.unet)),
            ("vae", tensors(&sizes.vae)),
        ]);
        Self { name, sizes, weights }
    }

    pub(crate) fn golden(&self) -> &Golden {
        &GOLDENS[self.name]
    }

    /// The tensors of a CompVis checkpoint.
    pub(crate) fn compvis(&self) -> Tensors {
        let mut whole: BTreeMap<String, Fused> = BTreeMap::new();
        for row in &self.golden().keys {
            let (key, network, name, third) = match row {
                Row::Whole(key, network, name) => (key, network, name, 0),
                Row::Third(key, network, name, third) => (key, network, name, *third),
            };
            let (shape, data) = &self.weights[network.as_str()][name];
            let mut shape = shape.clone();
            if network == "vae" && name.contains(".attentions.") && shape.len() == 2 {
                shape.extend([1, 1]);
            }
            whole.entry(key.clone()).or_insert((shape, BTreeMap::new())).1.insert(third, data.clone());
        }
        let join = |(key, (mut shape, pieces)): (String, Fused)| {
            shape[0] *= pieces.len();
            (key, (shape, pieces.into_values().flatten().collect()))
        };
        whole.into_iter().map(join).collect()
    }

    pub(crate) fn options(&self) -> ModelOptions {
        let v = (self.name == "sd2").then_some(PredictionType::VPrediction);
        ModelOptions { prediction_type: v, ..ModelOptions::default() }
    }
}

/// What the model at `path` makes of the golden's request.
pub(crate) fn latents(path: &Path, options: &ModelOptions) -> Vec<f32> {
    let model = Model::open_with(path, options).unwrap();
    let pipeline = Pipeline::load(model, PipelineOptions { keep: Keep::All, ..Default::default() }).unwrap();
    let request = Request {
        prompt: "a lighthouse in the fog".into(),
        negative_prompt: "people".into(),
        num_inference_steps: 3,
        width: Some(64),
        height: Some(64),
        seed: 7,
        ..Default::default()
    };
    begin(&pipeline, &request).unwrap().finish_latents().unwrap().to_nchw()
}

pub(crate) fn write(folder: &Path, name: &str, tensors: &Tensors) -> PathBuf {
    let path = folder.join(name);
    write_weights(&path, tensors);
    path
}

pub(crate) fn renamed(tensors: &Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

pub(crate) fn only(tensors: &Tensors, prefix: &str) -> Tensors {
    let strip = |name: &String| name.strip_prefix(prefix).map(str::to_owned);
    tensors.iter().filter_map(|(name, tensor)| Some((strip(name)?, tensor.clone()))).collect()
}

pub(crate) const UNET: &str = "model.diffusion_model.";
pub(crate) const VAE: &str = "first_stage_model.";
