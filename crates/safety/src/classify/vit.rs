//! Any ViT classifier of images in the layout of transformers.

use std::path::Path;

use calotype_image::RgbImage;
use calotype_tensor::{Backend, Device};

use super::{
    Classifier, Score,
    encoder::{Encoder, Files, softmax},
    preprocess::Preprocess,
};
use crate::{Error, Result};

/// A ViT classifier (transformers, `ViTForImageClassification`): its scores are the shares of the classes, by the names of
/// `id2label`, which sum to 1.
pub struct VitClassifier<B: Backend> {
    encoder: Encoder<B>,
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> VitClassifier<B> {
    /// Reads it from a folder with `config.json`, `preprocessor_config.json` and the weights, or from the file of weights with
    /// the other two beside it.
    ///
    /// # Errors
    /// There is no such classifier, it is not whole, or its configs ask for what is not supported.
    pub fn open<D: Device<Backend = B>>(device: &D, path: &Path) -> Result<Self> {
        let files = Files::open(path)?;
        if files.checkpoint.get("classifier.weight").is_none() {
            let problem = "it has no classifier.weight, so it is no ViT classifier of transformers".to_owned();
            return Err(Error::classifier(path, problem));
        }
        let encoder = files.encoder(device, Preprocess::vit)?;
        let (labels, outputs) = (encoder.config.labels.len(), encoder.outputs());
        if labels != 0 && labels != outputs {
            let problem = format!("id2label has {labels} names, but the classifier has {outputs} classes");
            return Err(Error::classifier(path, problem));
        }
        Ok(Self { encoder })
    }
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> Classifier for VitClassifier<B> {
    fn kind(&self) -> &'static str {
        "vit"
    }

    fn version(&self) -> &str {
        &self.encoder.version
    }

    fn names(&self) -> Vec<String> {
        match self.encoder.config.labels.as_slice() {
            [] => (0..self.encoder.outputs()).map(|n| format!("LABEL_{n}")).collect(),
            labels => labels.to_vec(),
        }
    }

    fn scores(&self, image: &RgbImage) -> Result<Vec<Score>> {
        let shares = softmax(&self.encoder.run(image)?);
        Ok(self.names().into_iter().zip(shares).map(|(name, value)| Score { name, value }).collect())
    }
}
