//! Images by formula (`reference/open_nsfw.py`).

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype_image::RgbImage;

/// A smooth image: a plain one, colours that run, discs; or `noise`.
pub(crate) fn image(width: u32, height: u32, kind: &str) -> RgbImage {
    let (w, h) = (i64::from(width), i64::from(height));
    let pixel = |x: i64, y: i64| match kind {
        "plain" => [224, 172, 140],
        "run" => [x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)],
        "noise" => [0, 1, 2].map(|c| ((x * 7919 + y * 104_729 + c * 1299) * (x * 31 + y * 17 + 5)) >> 5 & 255),
        _ => {
            let distance = (x % 40 - 20).pow(2) + (y % 40 - 20).pow(2);
            let disc = (255 - distance * 255 / 400).max(0);
            [disc, 200 - disc / 2, 90 + disc / 4 + x * 60 / w]
        }
    };
    let data = (0..h).flat_map(|y| (0..w).flat_map(move |x| pixel(x, y))).map(|value| value as u8);
    RgbImage::new(width, height, data.collect()).unwrap()
}
