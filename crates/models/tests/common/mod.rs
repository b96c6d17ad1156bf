//! What the golden tests share. The formula and the files are `reference/models.py`'s.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;

use calotype_models::{ModelConfig, ParamSource, ParamSpec, Result};
use calotype_tensor::{ParamData, Shape};
use serde::Deserialize;

/// One file of goldens. Shapes and output are channels-last.
#[derive(Deserialize)]
pub(crate) struct Golden {
    config: serde_json::Value,
    #[serde(default)]
    pub(crate) latents: Vec<usize>,
    #[serde(default)]
    pub(crate) context: Vec<usize>,
    #[serde(default)]
    pub(crate) timesteps: Vec<f32>,
    #[serde(default)]
    pub(crate) x: Vec<usize>,
    #[serde(default)]
    pub(crate) ids: Vec<Vec<u32>>,
    #[serde(default)]
    pub(crate) pooled: Vec<f32>,
    #[serde(default)]
    pub(crate) residuals: Vec<Vec<usize>>,
    pub(crate) shape: Vec<usize>,
    pub(crate) output: Vec<f32>,
    pub(crate) loss: f32,
    /// Norm and dot product with the probe, by parameter or input.
    pub(crate) gradients: BTreeMap<String, [f32; 2]>,
}

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        let path = format!("{}/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    pub(crate) fn config<C: ModelConfig>(&self) -> C {
        C::from_json(&self.config.to_string()).unwrap()
    }
}

/// Pseudo-random numbers in -1..1: FNV-1a of the name, then SplitMix64.
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

/// `values(name)` as the reference shapes them, `(B, C, H, W)` for a picture, turned to the channels-last `shape`.
pub(crate) fn tensor(name: &str, shape: &[usize]) -> (Shape, Vec<f32>) {
    let data: Vec<f32> = values(name, shape.iter().product()).into_iter().map(|v| v as f32).collect();
    let channels_last = match *shape {
        [b, h, w, c] => channels_last(&data, [b, c, h, w]),
        _ => data,
    };
    (Shape::new(shape).unwrap(), channels_last)
}

/// `(B, C, H, W)` to `(B, H, W, C)`.
pub(crate) fn channels_last(data: &[f32], [b, c, h, w]: [usize; 4]) -> Vec<f32> {
    (0..b * h * w * c)
        .map(|n| {
            let (c_n, pixel, b_n) = (n % c, n / c % (h * w), n / (c * h * w));
            data[(b_n * c + c_n) * h * w + pixel]
        })
        .collect()
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

/// Checks that the greatest difference is at most `tolerance` times the greatest expected value.
pub(crate) fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let greatest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference <= tolerance * greatest, "{what}: {difference} off in {greatest}");
}
