//! A picture by a formula, which a mark can be written into.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype_image::RgbImage;

/// Hills and valleys of several sizes in three colours.
pub(crate) fn picture(width: u32, height: u32) -> RgbImage {
    let value = |x: f32, y: f32, c: f32| {
        let wave = (x * 0.021 + c).sin() * (y * 0.017 - c).cos() * 70.0 + (x * 0.13 + y * 0.11).sin() * 25.0;
        let grain = ((x * 12.9898 + y * 78.233).sin() * 43758.547).fract() * 10.0;
        (125.0 + wave + grain).clamp(0.0, 255.0) as u8
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x as f32, y as f32)));
    RgbImage::new(width, height, places.flat_map(|(x, y)| [0.0, 1.0, 2.0].map(|c| value(x, y, c))).collect()).unwrap()
}
