//! A transformer over images with the backend it is on, shared by all classifiers.

use std::path::{Path, PathBuf};

use calotype_formats::Checkpoint;
use calotype_image::RgbImage;
use calotype_models::{VisionConfig, VisionTransformer};
use calotype_tensor::{Backend, BackendOptions, Device, Precision};

use super::preprocess::Preprocess;
use crate::{Error, Result, digest};

/// Configs are far smaller.
const MAX_CONFIG: u64 = 1 << 20;
/// The names of weights in a folder, the preferred first.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// A vision transformer in memory, in f32.
pub(super) struct Encoder<B: Backend> {
    backend: B,
    network: VisionTransformer<B::Param>,
    preprocess: Preprocess,
    pub(super) config: VisionConfig,
    /// The SHA-256 of its file.
    pub(super) version: String,
}

/// What a classifier is read from.
pub(super) struct Files {
    pub(super) checkpoint: Checkpoint,
    pub(super) path: PathBuf,
    config: Option<PathBuf>,
    preprocessor: Option<PathBuf>,
}

impl Files {
    /// The weights at `path`, a file or a folder, and the configs beside them; the preprocessor's may lie in the folder
    /// `feature_extractor` beside the folder, as in a diffusers pipeline.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let weights = match path.is_dir() {
            false => path.to_owned(),
            true => match WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file()) {
                Some(file) => file,
                None => {
                    return Err(Error::classifier(
                        path,
                        format!("no {} in this folder: give a classifier", WEIGHTS[0]),
                    ));
                }
            },
        };
        let file = |path: PathBuf| path.is_file().then_some(path);
        let beside = |name: &str| file(folder.join(name));
        let checkpoint = Checkpoint::open(&weights, "").map_err(|e| Error::classifier(path, e.to_string()))?;
        Ok(Self {
            checkpoint,
            config: beside("config.json"),
            preprocessor: beside("preprocessor_config.json")
                .or_else(|| file(folder.parent()?.join("feature_extractor/preprocessor_config.json"))),
            path: weights,
        })
    }

    fn text(path: &Option<PathBuf>) -> Result<Option<String>> {
        let read = |path: &PathBuf| {
            let text = calotype_files::read_text(path, MAX_CONFIG);
            text.map_err(|source| Error::Read { path: path.clone(), source })
        };
        path.as_ref().map(read).transpose()
    }

    /// The network on `device`; `usual` is its preprocessing where no config says otherwise.
    pub(super) fn encoder<D: Device>(
        &self,
        device: &D,
        usual: impl FnOnce(u32) -> Preprocess,
    ) -> Result<Encoder<D::Backend>> {
        let refuse = |problem: String| Error::classifier(&self.path, problem);
        let config = match Self::text(&self.config)? {
            Some(text) => VisionConfig::from_json(&text).map_err(|e| refuse(e.to_string()))?,
            None => VisionConfig::default(),
        };
        let backend = device.backend(BackendOptions::in_precision(Precision::F32))?;
        let network =
            VisionTransformer::open(&backend, &self.checkpoint, &config).map_err(|e| refuse(e.to_string()))?;
        let side = u32::try_from(network.image_size()).unwrap_or(u32::MAX);
        let mut preprocess = usual(side);
        if let Some(text) = Self::text(&self.preprocessor)? {
            let label = self.preprocessor.as_deref().unwrap_or(Path::new(""));
            preprocess = preprocess.with_config(&text, side).map_err(|problem| Error::classifier(label, problem))?;
        }
        let version = digest::sha256_of_file(&self.path)?;
        Ok(Encoder { backend, network, preprocess, config, version })
    }

    /// The numbers of a tensor with so many dimensions, and its shape.
    pub(super) fn numbers(&self, name: &str, dimensions: usize) -> Result<(Vec<usize>, Vec<f32>)> {
        let refuse = |problem: String| Error::classifier(&self.path, problem);
        let tensor = self.checkpoint.get(name).ok_or_else(|| refuse(format!("tensor {name} is missing")))?;
        if tensor.shape.len() != dimensions {
            return Err(refuse(format!("tensor {name} is {:?}, expected {dimensions} dimensions", tensor.shape)));
        }
        let values = self.checkpoint.read_f32(name).map_err(|e| refuse(e.to_string()))?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(refuse(format!("tensor {name} has numbers that are not finite: the file is damaged")));
        }
        Ok((tensor.shape.clone(), values))
    }
}

impl<B: Backend> Encoder<B> {
    /// How many numbers it gives for an image.
    pub(super) fn outputs(&self) -> usize {
        self.network.outputs()
    }

    /// The embedding or the logits of an image.
    pub(super) fn run(&self, image: &RgbImage) -> Result<Vec<f32>> {
        let side = self.network.image_size();
        let pixels = self.preprocess.apply(image)?;
        let x = self.backend.from_f32([1, side, side, 3].into(), pixels)?;
        let y = self.backend.to_f32(&self.network.forward(&self.backend, &x)?)?;
        match y.iter().all(|value| value.is_finite()) {
            true => Ok(y),
            false => Err(Error::NotFinite),
        }
    }
}

/// `x` of length 1 (`normalize` in diffusers' `safety_checker.py`; at least 1e-12).
pub(super) fn unit(x: &[f32]) -> Vec<f32> {
    let length = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
    x.iter().map(|&x| (f64::from(x) / length) as f32).collect()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}

/// Shares that sum to 1.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let greatest = logits.iter().fold(f32::MIN, |max, &x| max.max(x));
    let powers: Vec<f64> = logits.iter().map(|&x| f64::from(x - greatest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}
