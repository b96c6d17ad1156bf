//! From an image to the numbers that a network was trained on, as transformers' image processors do it with Pillow.

use calotype_files::json;
use calotype_image::{Filter, RgbImage, resize_with};
use serde_json::Value;

use crate::Result;

/// How an image is brought to a network's size and range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preprocess {
    size: Size,
    filter: Filter,
    /// By what 8-bit values are multiplied.
    rescale: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    /// The shorter side has this length, and the middle is cut out.
    Shortest(u32),
    /// Stretched.
    Exact(u32, u32),
}

/// CLIP's (`CLIPImageProcessor`).
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

impl Preprocess {
    /// CLIP's, for images of this side.
    pub(super) fn clip(side: u32) -> Self {
        Self {
            size: Size::Shortest(side),
            filter: Filter::Bicubic,
            rescale: 1.0 / 255.0,
            mean: CLIP_MEAN,
            std: CLIP_STD,
        }
    }

    /// ViT's without a config (`ViTImageProcessor`).
    pub(super) fn vit(side: u32) -> Self {
        let size = Size::Exact(side, side);
        Self { size, filter: Filter::Bilinear, rescale: 1.0 / 255.0, mean: [0.5; 3], std: [0.5; 3] }
    }

    /// As a `preprocessor_config.json` says it, for images of this side; what it does not say is as in `self`.
    ///
    /// # Errors
    /// What it says that is not supported.
    pub(super) fn with_config(self, text: &str, side: u32) -> Result<Self, String> {
        let config: Value = json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
        for key in ["do_resize", "do_rescale", "do_normalize"] {
            if config.get(key) == Some(&Value::Bool(false)) {
                return Err(format!("{key} is false, which is not supported"));
            }
        }
        let filter = match config.get("resample").and_then(Value::as_u64) {
            None => self.filter,
            Some(1) => Filter::Lanczos,
            Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            Some(other) => return Err(format!("resample = {other} is not supported: expected 1, 2 or 3")),
        };
        let three = |key: &str, default: [f32; 3]| -> Result<[f32; 3], String> {
            let Some(values) = config.get(key).filter(|values| !values.is_null()) else { return Ok(default) };
            let numbers: Option<Vec<f32>> =
                values.as_array().and_then(|all| all.iter().map(|x| Some(x.as_f64()? as f32)).collect());
            numbers.and_then(|all| all.try_into().ok()).ok_or_else(|| format!("{key}: expected three numbers"))
        };
        let std = three("image_std", self.std)?;
        if std.iter().any(|std| std.is_nan() || *std <= 0.0) {
            return Err("image_std: expected numbers greater than 0".to_owned());
        }
        let is = |size: &Value, key: &str| size.get(key).and_then(Value::as_u64) == Some(u64::from(side));
        let size = match config.get("size") {
            None | Some(Value::Null) => self.size,
            Some(size) if is(size, "shortest_edge") => Size::Shortest(side),
            Some(size) if is(size, "height") && is(size, "width") => Size::Exact(side, side),
            // Configs of before 2022.
            Some(size) if size.as_u64() == Some(u64::from(side)) => self.size,
            Some(size) => return Err(format!("size = {size} is not supported, for the network takes {side} x {side}")),
        };
        let rescale = config.get("rescale_factor").and_then(Value::as_f64).map_or(self.rescale, |factor| factor as f32);
        Ok(Self { size, filter, rescale, mean: three("image_mean", self.mean)?, std })
    }

    /// `(H, W, 3)`, normalised.
    pub(super) fn apply(&self, image: &RgbImage) -> Result<Vec<f32>> {
        let (width, height) = (image.width(), image.height());
        let resized = match self.size {
            Size::Exact(width, height) => resize_with(image, width, height, self.filter)?,
            Size::Shortest(side) => {
                // The longer side is rounded down, as `get_resize_output_image_size` does.
                let longer = |long: u32, short: u32| {
                    (u64::from(side) * u64::from(long) / u64::from(short.max(1))).min(u64::from(u32::MAX)) as u32
                };
                let (new_width, new_height) =
                    if width <= height { (side, longer(height, width)) } else { (longer(width, height), side) };
                let resized = resize_with(image, new_width, new_height, self.filter)?;
                let (left, top) = ((new_width - side) / 2, (new_height - side) / 2);
                resized.framed(-i64::from(left), -i64::from(top), side, side)
            }
        };
        let normalise =
            |(n, value): (usize, &u8)| (f32::from(*value) * self.rescale - self.mean[n % 3]) / self.std[n % 3];
        Ok(resized.data().iter().enumerate().map(normalise).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    #[test]
    fn configs_say_what_differs() {
        let vit = || Preprocess::vit(32);
        let read = |text: &str| vit().with_config(text, 32);
        assert_eq!(read("{}").unwrap(), vit());
        let bicubic = read(r#"{"resample": 3, "size": {"height": 32, "width": 32}, "image_mean": [0, 0, 0]}"#).unwrap();
        assert_eq!(bicubic, Preprocess { filter: Filter::Bicubic, mean: [0.0; 3], ..vit() });
        assert_eq!(read(r#"{"size": {"shortest_edge": 32}}"#).unwrap().size, Size::Shortest(32));
        for (text, expected) in [
            ("[", "not valid JSON"),
            (r#"{"size": 64}"#, "size = 64 is not supported"),
            (r#"{"size": {"shortest_edge": 64}}"#, "takes 32 x 32"),
            (r#"{"resample": 0}"#, "resample = 0"),
            (r#"{"do_normalize": false}"#, "do_normalize is false"),
            (r#"{"image_mean": [1]}"#, "image_mean: expected three numbers"),
            (r#"{"image_std": [1, 0, 1]}"#, "greater than 0"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn every_shape_of_image_has_a_middle() {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (31, 33), (32, 32)] {
            let image = RgbImage::filled(width, height, [255, 0, 128]);
            assert_eq!(Preprocess::clip(32).apply(&image).unwrap().len(), 32 * 32 * 3);
        }
    }
}
