//! What the tests against goldens share.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use calotype_diffusion::{Error, Latents, NoiseSchedule, Predictor};

/// The noise of Stable Diffusion 1.
pub fn sd1() -> NoiseSchedule {
    NoiseSchedule::scaled_linear(0.00085, 0.012, 1000).expect("valid")
}

/// The stand-in network of the reference scripts: `0.7 x + 0.3 sin(2 x + t / 300)`.
pub struct Network;

impl Predictor for Network {
    type Error = Error;

    fn predict(&mut self, x: &Latents, timestep: f64) -> Result<Latents, Error> {
        let at = |x: f64| 0.7 * x + 0.3 * (2.0 * x + timestep / 300.0).sin();
        Ok(x.map(|x| at(f64::from(x)) as f32))
    }
}

/// Latents of one image of one pixel, with these channels.
pub fn pixel(channels: &[f32]) -> Latents {
    Latents::new([1, 1, 1, channels.len()], channels.to_vec()).expect("the shape")
}

/// The largest difference, relative to the largest value.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    worst / f64::from(scale)
}

/// What [`bits`] writes.
pub fn parse_bits(hex: &str) -> Vec<f32> {
    let words = hex.as_bytes().chunks(8).map(|word| std::str::from_utf8(word).expect("ascii"));
    words.map(|word| f32::from_bits(u32::from_str_radix(word, 16).expect("hex"))).collect()
}

/// FNV-1a of the little-endian bytes, 64 bits.
pub fn fnv1a(values: &[f32]) -> String {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// The bits of f32 in hexadecimal, eight digits each.
pub fn bits(values: &[f32]) -> String {
    values.iter().map(|value| format!("{:08x}", value.to_bits())).collect()
}

/// The lines of one kind in a file of goldens, as their fields.
pub fn lines<'a>(goldens: &'a str, kind: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    goldens.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(move |fields| fields[0] == kind)
}
