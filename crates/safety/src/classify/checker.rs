//! Stable Diffusion's safety checker (diffusers, `safety_checker.py`): CLIP's embedding of an image beside those of 17 concepts and
//! of 3 that ask for special care.

use std::path::Path;

use calotype_image::RgbImage;
use calotype_tensor::{Backend, Device};

use super::{
    Classifier, Score,
    encoder::{Encoder, Files, dot, unit},
    preprocess::Preprocess,
};
use crate::{Error, Result};

/// What is added to all other scores once a concept of special care was found.
const ADJUSTMENT: f64 = 0.01;

/// The published safety checker.
///
/// Its scores are `nsfw`, 1 if the checker flags the image and else 0; `concept_0`, …: the cosine with each concept less that
/// concept's threshold, plus 0.01 if special care was found, rounded to three digits, so that more than 0 is found; and
/// `special_care_0`, … likewise, which alone flag nothing.
pub struct SafetyChecker<B: Backend> {
    encoder: Encoder<B>,
    concepts: Concepts,
    special: Concepts,
}

/// Embeddings of length 1, and from what cosine on they are found.
struct Concepts {
    embeddings: Vec<Vec<f32>>,
    thresholds: Vec<f32>,
}

impl Concepts {
    fn read(files: &Files, prefix: &str, name: &str, width: usize) -> Result<Self> {
        let key = format!("{prefix}{name}");
        let (shape, values) = files.numbers(&key, 2)?;
        let (_, thresholds) = files.numbers(&format!("{key}_weights"), 1)?;
        if shape != [thresholds.len(), width] || thresholds.is_empty() {
            let expected = format!("{} x {width}", thresholds.len());
            return Err(Error::classifier(&files.path, format!("tensor {key} is {shape:?}, expected {expected}")));
        }
        Ok(Self { embeddings: values.chunks_exact(width).map(unit).collect(), thresholds })
    }

    /// The cosine with each, less its threshold.
    fn margins<'a>(&'a self, embedding: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
        let margin =
            move |(concept, threshold): (&Vec<f32>, &f32)| f64::from(dot(embedding, concept)) - f64::from(*threshold);
        self.embeddings.iter().zip(&self.thresholds).map(margin)
    }
}

/// To three digits.
fn rounded(score: f64) -> f64 {
    (score * 1000.0).round_ties_even() / 1000.0
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> SafetyChecker<B> {
    /// Reads it from the folder `safety_checker` of a diffusers pipeline, or from a file of it.
    ///
    /// # Errors
    /// There is no such checker, or it is not whole.
    pub fn open<D: Device<Backend = B>>(device: &D, path: &Path) -> Result<Self> {
        let files = Files::open(path)?;
        let prefix = ["", "safety_checker."].into_iter();
        let has = |prefix: &&str| files.checkpoint.get(&format!("{prefix}concept_embeds")).is_some();
        let Some(prefix) = prefix.clone().find(has) else {
            let problem = "it has no concept_embeds, so it is no safety checker of Stable Diffusion";
            return Err(Error::classifier(path, problem.to_owned()));
        };
        let encoder = files.encoder(device, Preprocess::clip)?;
        let read = |name: &str| Concepts::read(&files, prefix, name, encoder.outputs());
        Ok(Self { concepts: read("concept_embeds")?, special: read("special_care_embeds")?, encoder })
    }

    /// CLIP's embedding of an image, not normalised.
    ///
    /// # Errors
    /// As [`Classifier::scores`].
    pub fn embedding(&self, image: &RgbImage) -> Result<Vec<f32>> {
        self.encoder.run(image)
    }
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> Classifier for SafetyChecker<B> {
    fn kind(&self) -> &'static str {
        "safety_checker"
    }

    fn version(&self) -> &str {
        &self.encoder.version
    }

    fn names(&self) -> Vec<String> {
        let concepts = (0..self.concepts.thresholds.len()).map(|n| format!("concept_{n}"));
        let special = (0..self.special.thresholds.len()).map(|n| format!("special_care_{n}"));
        ["nsfw".to_owned()].into_iter().chain(concepts).chain(special).collect()
    }

    fn scores(&self, image: &RgbImage) -> Result<Vec<Score>> {
        let embedding = unit(&self.encoder.run(image)?);
        // Each concept of special care that is found counts for those after it as well.
        let mut adjustment = 0.0;
        let mut special = Vec::new();
        for margin in self.special.margins(&embedding) {
            let score = rounded(margin + adjustment);
            if score > 0.0 {
                adjustment = ADJUSTMENT;
            }
            special.push(score);
        }
        let concepts: Vec<f64> = self.concepts.margins(&embedding).map(|margin| rounded(margin + adjustment)).collect();
        let nsfw = if concepts.iter().any(|&score| score > 0.0) { 1.0 } else { 0.0 };
        let values = [nsfw].into_iter().chain(concepts).chain(special);
        Ok(self.names().into_iter().zip(values).map(|(name, value)| Score { name, value: value as f32 }).collect())
    }
}
