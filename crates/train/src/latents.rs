//! Latents of a whole data set, computed once.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_diffusion::Generator;
use calotype_formats::{DType, SafeTensors, encode_f32, write_safetensors};

use crate::{Error, Result, data::Dataset};

/// Pictures that are encoded at once.
const BATCH: usize = 16;

/// The distributions that an autoencoder gives for the pictures of a set: `(N, h, w, 2c)`, means and then log-variances.
pub(crate) struct Latents {
    moments: Vec<f32>,
    /// `[h, w, c]`.
    shape: [usize; 3],
    /// What latents are multiplied by: `scaling_factor` of the autoencoder's config.
    pub(crate) scaling_factor: f32,
}

impl Latents {
    /// Reads the moments from `cache` if they are of these inputs (told by `hash`), or computes and stores them.
    ///
    /// `encode` gives the moments `(B, h, w, 2c)` of pictures `(B, H, W, 3)`.
    pub(crate) fn load_or_compute(
        cache: &Path,
        hash: u64,
        set: &Dataset,
        shape: [usize; 3],
        encode: impl Fn(usize, Vec<f32>) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let size = shape.iter().product::<usize>() * 2;
        if let Some(moments) = read(cache, hash).filter(|moments| moments.len() == set.len() * size) {
            return Ok(Self { moments, shape, scaling_factor: 1.0 });
        }
        let indices: Vec<usize> = (0..set.len()).collect();
        let mut moments = Vec::with_capacity(set.len() * size);
        for batch in indices.chunks(BATCH) {
            moments.extend(encode(batch.len(), set.batch(batch)?)?);
        }
        let [h, w, c] = shape;
        if moments.len() != set.len() * size {
            let problem = format!("the autoencoder gave other latents than {h}×{w}×{c} a picture");
            return Err(Error::run(cache, format!("{problem}: check data.size and model.autoencoder")));
        }
        let tensor =
            ("moments", DType::F32, vec![set.len(), h, w, 2 * c], Cow::from(encode_f32(&moments, DType::F32)?));
        write_safetensors(cache, [tensor], &BTreeMap::from([(KEY.to_owned(), hash.to_string())]))?;
        Ok(Self { moments, shape, scaling_factor: 1.0 })
    }

    /// Elements of one picture's latents.
    pub(crate) fn size(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The latents of a picture, `(h, w, c)`, scaled: the mean, or a draw from the distribution.
    pub(crate) fn get(&self, picture: usize, random: Option<&mut Generator>) -> Vec<f32> {
        let (size, c) = (self.size(), self.shape[2].max(1));
        let moments = self.moments.chunks_exact((2 * size).max(1)).nth(picture).unwrap_or(&[]);
        let noise = random.map_or_else(|| vec![0.0; size], |random| random.randn(size));
        let mut latents = Vec::with_capacity(size);
        for (pixel, noise) in moments.chunks_exact(2 * c).zip(noise.chunks_exact(c)) {
            let (mean, log_variance) = pixel.split_at(c);
            for ((mean, log_variance), noise) in mean.iter().zip(log_variance).zip(noise) {
                let deviation = (0.5 * log_variance.clamp(-30.0, 20.0)).exp();
                latents.push((mean + deviation * noise) * self.scaling_factor);
            }
        }
        latents
    }

    /// Sets the factor to one over the standard deviation of the latents of `pictures`, drawn from their distributions
    /// (Rombach et al. 2022, appendix G: "rescale … to have unit standard deviation", there on the first batch).
    pub(crate) fn measure_scaling_factor(&mut self, pictures: &[usize], random: &mut Generator) {
        self.scaling_factor = 1.0;
        let values: Vec<f64> =
            pictures.iter().flat_map(|&picture| self.get(picture, Some(random))).map(f64::from).collect();
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        if variance > 0.0 && variance.is_finite() {
            self.scaling_factor = variance.sqrt().recip() as f32;
        }
    }
}

const KEY: &str = "calotype_inputs";

/// The cached moments, if the file is there, whole, and of these inputs: else it is made again.
fn read(cache: &Path, hash: u64) -> Option<Vec<f32>> {
    let file = SafeTensors::open(cache).ok()?;
    let same = file.metadata().get(KEY).is_some_and(|found| *found == hash.to_string());
    same.then(|| file.read_f32("moments").ok()).flatten()
}
