//! What the tests against goldens share.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use calotype_diffusion::{Error, Predictor};

/// The stand-in network of the reference scripts: `0.7 x + 0.3 sin(2 x + t / 300)`.
pub struct Network;

impl Predictor for Network {
    type Error = Error;

    fn predict(&mut self, x: &[f32], timestep: f64) -> Result<Vec<f32>, Error> {
        let at = |x: f64| 0.7 * x + 0.3 * (2.0 * x + timestep / 300.0).sin();
        Ok(x.iter().map(|&x| at(f64::from(x)) as f32).collect())
    }
}

/// The largest difference, relative to the largest value.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    worst / f64::from(scale)
}

/// Hexadecimal bits of f32, eight digits each.
pub fn parse_bits(hex: &str) -> Vec<f32> {
    let words = hex.as_bytes().chunks(8).map(|word| std::str::from_utf8(word).expect("ascii"));
    words.map(|word| f32::from_bits(u32::from_str_radix(word, 16).expect("hex"))).collect()
}
