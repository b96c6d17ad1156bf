//! Latents of a whole data set, computed once.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_diffusion::Generator;
use calotype_formats::{DType, SafeTensors, encode_f32, write_safetensors};

use crate::{
    Error, Result, RunOptions,
    data::Dataset,
    disk::{self, patiently},
};

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
    /// Reads the moments from `cache` if they are of these pictures and of the autoencoder that `hash` tells, or computes and
    /// stores them.
    ///
    /// `encode` gives the moments `(B, h, w, 2c)` of pictures `(B, H, W, 3)`.
    pub(crate) fn load_or_compute(
        cache: &Path,
        hash: u64,
        set: &mut Dataset,
        shape: [usize; 3],
        options: &mut RunOptions<'_>,
        encode: impl Fn(usize, Vec<f32>) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let size = shape.iter().product::<usize>() * 2;
        let cached = |set: &Dataset| {
            let moments = read(cache, set.hash() ^ hash).filter(|moments| moments.len() == set.len() * size);
            moments.map(|moments| check_finite(set, 0, &moments, size).map(|()| moments)).transpose()
        };
        let mut found = cached(set)?;
        if found.is_none() {
            set.decode(options)?;
            // Pictures may have been left out then as they are now.
            found = cached(set)?;
        }
        if let Some(moments) = found {
            return Ok(Self { moments, shape, scaling_factor: 1.0 });
        }
        disk::check(cache.parent().unwrap_or(cache), (set.len() * size * 4) as u64)?;
        let indices: Vec<usize> = (0..set.len()).collect();
        let mut moments = Vec::with_capacity(set.len() * size);
        for batch in indices.chunks(BATCH) {
            let encoded = encode(batch.len(), set.batch(batch)?)?;
            check_finite(set, moments.len() / size.max(1), &encoded, size)?;
            moments.extend(encoded);
            options.reached("encoding pictures", moments.len() / size.max(1), set.len())?;
        }
        let [h, w, c] = shape;
        if moments.len() != set.len() * size {
            let problem = format!("the autoencoder gave other latents than {h}×{w}×{c} a picture");
            return Err(Error::run(cache, format!("{problem}: check data.size and model.autoencoder")));
        }
        let (shape_of_all, bytes) = (vec![set.len(), h, w, 2 * c], encode_f32(&moments, DType::F32)?);
        let metadata = BTreeMap::from([(KEY.to_owned(), (set.hash() ^ hash).to_string())]);
        patiently(options, || {
            let tensor = ("moments", DType::F32, shape_of_all.clone(), Cow::from(bytes.as_slice()));
            Ok(write_safetensors(cache, [tensor], &metadata)?)
        })?;
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

/// Refuses moments that are no numbers, such as those of a picture that an autoencoder in 16 bits can't take; `first` is which
/// picture of the set they begin with. The message names the picture.
fn check_finite(set: &Dataset, first: usize, moments: &[f32], size: usize) -> Result<()> {
    let is_bad = |moments: &[f32]| !moments.iter().all(|value| value.is_finite());
    match moments.chunks(size.max(1)).position(is_bad) {
        Some(place) => {
            let problem = "the autoencoder gives no finite latents for this picture: check model.autoencoder, or leave the picture out";
            Err(Error::data(&set.file(first + place), problem))
        }
        None => Ok(()),
    }
}

const KEY: &str = "calotype_inputs";

/// The cached moments, if the file is there, whole, and of these inputs: else it is made again.
fn read(cache: &Path, hash: u64) -> Option<Vec<f32>> {
    let file = SafeTensors::open(cache).ok()?;
    let same = file.metadata().get(KEY).is_some_and(|found| *found == hash.to_string());
    same.then(|| file.read_f32("moments").ok()).flatten()
}
