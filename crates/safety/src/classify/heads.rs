//! Linear heads over CLIP's embedding of an image, as those of Q16 (Schramowski et al. 2022) or of LAION.

use std::path::Path;

use calotype_image::RgbImage;
use calotype_tensor::{Backend, Device};

use super::{
    Classifier, Score,
    encoder::{Encoder, Files, dot, softmax, unit},
    preprocess::Preprocess,
};
use crate::{Error, Result, digest};

/// Heads over one embedding.
///
/// A file of heads has for each NAME a tensor `NAME.weight (K, C)`, and perhaps `NAME.bias (K)`. The embedding `e` is brought to
/// length 1. With `K = 1` the score NAME is `sigmoid(w · e + b)`; with more, the scores NAME.0, NAME.1, … are the shares
/// `softmax(W e + b)`. For prompts that were learnt with CLIP's temperature, as Q16's, the weight is that times the prompt
/// of length 1.
pub struct ClipHeads<B: Backend> {
    encoder: Encoder<B>,
    heads: Vec<Head>,
    version: String,
}

struct Head {
    name: String,
    rows: Vec<Vec<f32>>,
    bias: Vec<f32>,
}

const WEIGHT: &str = ".weight";

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> ClipHeads<B> {
    /// Reads the heads of the file `heads`; `encoder` is CLIP's vision encoder with its projection, or a safety checker, which
    /// has one.
    ///
    /// # Errors
    /// There is no such file, or the heads are for embeddings of another width.
    pub fn open<D: Device<Backend = B>>(device: &D, encoder: &Path, heads: &Path) -> Result<Self> {
        let encoder = Files::open(encoder)?.encoder(device, Preprocess::clip)?;
        let files = Files::open(heads)?;
        let mut read = Vec::new();
        let mut names: Vec<&str> =
            files.checkpoint.tensors().filter_map(|tensor| tensor.name.strip_suffix(WEIGHT)).collect();
        names.sort_unstable();
        for name in names {
            let (shape, values) = files.numbers(&format!("{name}{WEIGHT}"), 2)?;
            let bias = format!("{name}.bias");
            let bias = match files.checkpoint.get(&bias) {
                Some(_) => files.numbers(&bias, 1)?.1,
                None => vec![0.0; shape[0]],
            };
            if shape[0] == 0 || shape[1] != encoder.outputs() || bias.len() != shape[0] {
                let problem = format!(
                    "tensor {name}{WEIGHT} is {shape:?}, expected rows of {}, for so wide are the encoder's embeddings, and a bias for each",
                    encoder.outputs()
                );
                return Err(Error::classifier(heads, problem));
            }
            let rows = values.chunks_exact(shape[1]).map(<[f32]>::to_vec).collect();
            read.push(Head { name: name.to_owned(), rows, bias });
        }
        if read.is_empty() {
            let problem = format!("it has no head: expected tensors NAME{WEIGHT}");
            return Err(Error::classifier(heads, problem));
        }
        let version =
            digest::sha256(format!("{} {}", encoder.version, digest::sha256_of_file(&files.path)?).as_bytes());
        Ok(Self { encoder, heads: read, version })
    }
}

impl<B: Backend<Tensor: Send + Sync, Param: Send + Sync> + Send + Sync> Classifier for ClipHeads<B> {
    fn kind(&self) -> &'static str {
        "clip_heads"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn names(&self) -> Vec<String> {
        let of = |head: &Head| match head.rows.len() {
            1 => vec![head.name.clone()],
            count => (0..count).map(|n| format!("{}.{n}", head.name)).collect(),
        };
        self.heads.iter().flat_map(of).collect()
    }

    fn scores(&self, image: &RgbImage) -> Result<Vec<Score>> {
        let embedding = unit(&self.encoder.run(image)?);
        let of = |head: &Head| {
            let logits: Vec<f32> =
                head.rows.iter().zip(&head.bias).map(|(row, bias)| dot(row, &embedding) + bias).collect();
            match logits.as_slice() {
                [only] => vec![1.0 / (1.0 + (-only).exp())],
                logits => softmax(logits),
            }
        };
        let values = self.heads.iter().flat_map(of);
        Ok(self.names().into_iter().zip(values).map(|(name, value)| Score { name, value }).collect())
    }
}
