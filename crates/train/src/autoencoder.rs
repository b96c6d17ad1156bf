//! Training of an autoencoder.

use std::{collections::BTreeMap, fs, path::Path};

use calotype_diffusion::Generator;
use calotype_image::{RgbImage, grid, psnr};
use calotype_models::{AutoencoderKl, ModelConfig, PerBlock, Random, VaeConfig, posterior};
use calotype_tensor::{
    Backend, Differentiable,
    tape::{Parameter, Tape, Var},
};

use serde_json::json;

use crate::{
    AutoencoderConfig, AutoencoderLossConfig, AutoencoderSizes, Error, Notice, PerceptualNetwork, Result, RunOptions,
    adversary::Adversary,
    data::Dataset,
    losses::{Reconstruction, Terms, latent_terms, reconstruction_terms, weighted_sum},
    random::fnv1a,
    run::{Loss, Task},
    start,
    weights::{RandomResidual, Weights},
};

/// Pictures that are measured at once.
const BATCH: usize = 16;
/// Pictures on a sheet of samples, in rows of [`COLUMNS`].
const SHEET: usize = 16;
const COLUMNS: usize = 8;

/// The autoencoder on a tape, its pictures, and its loss.
pub(crate) struct AutoencoderTask<B: Differentiable> {
    config: AutoencoderConfig,
    vae: AutoencoderKl<Parameter<B>>,
    pictures: Dataset,
    held_out: Option<Dataset>,
    terms: Terms<Tape<B>>,
    adversary: Option<Adversary<B>>,
    /// Tells the perceptual network from another.
    perceptual: u64,
}

impl AutoencoderSizes {
    /// The config of the network for pictures of side `size`.
    pub(crate) fn vae(&self, size: u32) -> VaeConfig {
        VaeConfig {
            layers_per_block: self.layers_per_block,
            latent_channels: self.latent_channels,
            norm_num_groups: self.norm_num_groups,
            sample_size: Some(PerBlock::All(size as usize)),
            ..VaeConfig::with_channels(&self.block_out_channels)
        }
    }
}

impl<B: Differentiable + Clone> AutoencoderTask<B> {
    /// Makes the network on `tape` and reads the pictures.
    pub(crate) fn new(tape: &Tape<B>, config: &AutoencoderConfig, options: &mut RunOptions<'_>) -> Result<Self> {
        let data = &config.data;
        let open = |folder: &Path| Dataset::open(folder, data.size, data.memory_limit_mb);
        let mut pictures = open(&data.folder)?;
        let mut held_out = data.held_out.as_deref().map(open).transpose()?;
        let mut sizes = config.model.vae(data.size);
        let mut vae = match &config.train.init_from {
            Some(from) => {
                let network = start::open_vae(from)?;
                start::check_vae(from, network.config(), &config.model)?;
                sizes = VaeConfig { sample_size: sizes.sample_size, ..network.config().clone() };
                sizes.init(tape, &mut network.stored_as(&sizes)?)?
            }
            None => sizes.init(tape, &mut RandomResidual(Random { seed: config.train.seed }))?,
        };
        vae.checkpointing = config.train.checkpointing;
        let adversary = match &config.loss.discriminator {
            Some(discriminator) => Some(Adversary::new(
                tape.inner(),
                &config.loss,
                discriminator,
                &mut Random { seed: config.train.seed },
            )?),
            None => None,
        };
        let mut terms = match &adversary {
            Some(_) => Vec::new(),
            None => tape.no_grad(|tape| reconstruction_terms(tape, &config.loss))?,
        };
        terms.extend(latent_terms(&config.loss));
        if let Some(reason) = start::stays_a_folder(&[("model.norm_num_groups", sizes.norm_num_groups)], None) {
            (options.tell)(&Notice::Warning(reason));
        }
        pictures.decode(options)?;
        if let Some(held_out) = &mut held_out {
            held_out.decode(options)?;
        }
        Ok(Self {
            config: config.clone(),
            vae,
            pictures,
            held_out,
            terms,
            adversary,
            perceptual: perceptual_hash(&config.loss)?,
        })
    }

    /// A batch of pictures to learn from, or of parts of them: `(B, H, W, 3)` in [-1, 1].
    fn batch(&self, tape: &Tape<B>, indices: &[usize], random: &mut Generator) -> Result<Var<B>> {
        let size = self.config.data.size as usize;
        let pictures = self.pictures.batch(indices)?;
        let Some(side) = self.config.data.random_crop.map(|side| side as usize) else {
            return Ok(tape.from_f32([indices.len(), size, size, 3].into(), pictures)?);
        };
        let mut parts = Vec::with_capacity(indices.len() * side * side * 3);
        for picture in pictures.chunks_exact(size * size * 3) {
            let mut start = || random.random_range((size - side + 1) as u64) as usize;
            let [left, top] = [start(), start()];
            let lines = picture.chunks_exact(size * 3).skip(top).take(side);
            parts.extend(lines.flat_map(|line| &line[left * 3..][..side * 3]));
        }
        Ok(tape.from_f32([indices.len(), side, side, 3].into(), parts)?)
    }

    /// What the weights make of pictures of `set`, with the latents at their mean.
    fn reconstruct(
        &self,
        inner: &B,
        weights: &Weights,
        set: &Dataset,
        count: usize,
    ) -> Result<Vec<(RgbImage, RgbImage)>> {
        let vae = self.vae.config().init(inner, &mut &*weights)?;
        let indices: Vec<usize> = (0..count.min(set.len())).collect();
        let mut pairs = Vec::with_capacity(indices.len());
        for batch in indices.chunks(BATCH) {
            let size = self.config.data.size as usize;
            let x = inner.from_f32([batch.len(), size, size, 3].into(), set.batch(batch)?)?;
            let (mean, _) = posterior(inner, &vae.encode(inner, &x)?)?;
            let decoded = inner.to_f32(&vae.decode(inner, &mean)?)?;
            for (&index, values) in batch.iter().zip(decoded.chunks_exact(decoded.len() / batch.len())) {
                let picture = set.picture(index)?;
                let decoded = RgbImage::from_unit_f32(values, picture.width(), picture.height())?;
                pairs.push((picture, decoded));
            }
        }
        Ok(pairs)
    }
}

/// Draws latents from the moments of pictures with `noise(count)`, and has them decoded: the reparameterisation of
/// Kingma & Welling 2014, section 2.4.
pub(crate) fn sample_posterior<B: Backend>(
    backend: &B,
    pictures: B::Tensor,
    moments: &B::Tensor,
    noise: impl FnOnce(usize) -> Vec<f32>,
    decode: impl FnOnce(&B::Tensor) -> Result<B::Tensor>,
) -> Result<Reconstruction<B::Tensor>> {
    let (mean, log_variance) = posterior(backend, moments)?;
    let shape = backend.shape(&mean);
    let deviation = backend.exp(&backend.scale(&log_variance, 0.5)?)?;
    let noise = backend.mul(&deviation, &backend.from_f32(shape, noise(shape.count()))?)?;
    let decoded = decode(&backend.add(&mean, &noise)?)?;
    Ok(Reconstruction { pictures, decoded, mean, log_variance })
}

/// A hash of the files of the perceptual network; 0 for none.
fn perceptual_hash(config: &AutoencoderLossConfig) -> Result<u64> {
    let files: Vec<&Path> = match &config.perceptual {
        Some(PerceptualNetwork::EfficientnetLite0(file)) => vec![file],
        Some(PerceptualNetwork::Lpips { trunk, heads }) => vec![trunk, heads],
        None => return Ok(0),
    };
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend(fs::read(file).map_err(|e| Error::io(file, "read the perceptual network", e))?);
    }
    Ok(fnv1a(bytes))
}

impl<B: Differentiable + Clone> Task<B> for AutoencoderTask<B> {
    fn name(&self) -> &'static str {
        "autoencoder"
    }

    fn inputs(&self) -> serde_json::Value {
        json!({"pictures": self.pictures.hash(), "perceptual": self.perceptual})
    }

    fn pictures(&self) -> usize {
        self.pictures.len()
    }

    fn loss(&self, tape: &Tape<B>, step: u64, pictures: &[usize], random: &mut Generator) -> Result<Loss<B>> {
        let pictures = self.batch(tape, pictures, random)?;
        let moments = if self.config.model.freeze_encoder {
            tape.no_grad(|tape| self.vae.encode(tape, &pictures))?
        } else {
            self.vae.encode(tape, &pictures)?
        };
        let noise = |count| random.randn(count);
        if let Some(adversary) = &self.adversary {
            return adversary.generator_loss(tape, &self.vae, pictures, &moments, step, noise);
        }
        let decode = |latents: &Var<B>| Ok(self.vae.decode(tape, latents)?);
        let batch = sample_posterior(tape, pictures, &moments, noise, decode)?;
        let (value, terms) = weighted_sum(tape, &self.terms, &batch)?;
        Ok(Loss { value, terms, total: None })
    }

    fn adversary(&self) -> Option<&Tape<B>> {
        self.adversary.as_ref().map(Adversary::tape)
    }

    fn adversary_loss(
        &self,
        tape: &Tape<B>,
        step: u64,
        pictures: &[usize],
        random: &mut Generator,
    ) -> Result<Option<Loss<B>>> {
        let Some(adversary) = self.adversary.as_ref().filter(|adversary| adversary.active(step)) else {
            return Ok(None);
        };
        let pictures = self.batch(tape, pictures, random)?;
        // As CompVis does, with the autoencoder that has just learned.
        let batch = tape.no_grad(|tape| -> Result<_> {
            let moments = self.vae.encode(tape, &pictures)?;
            let decode = |latents: &Var<B>| Ok(self.vae.decode(tape, latents)?);
            sample_posterior(tape, pictures.clone(), &moments, |count| random.randn(count), decode)
        })?;
        adversary.discriminator_loss(pictures.value(), batch.decoded.value()).map(Some)
    }

    fn evaluate(&self, inner: &B, weights: &Weights) -> Result<BTreeMap<String, f64>> {
        let Some(held_out) = &self.held_out else { return Ok(BTreeMap::new()) };
        let pairs = self.reconstruct(inner, weights, held_out, self.config.report.evaluate_pictures)?;
        // Equal pictures have no finite ratio: 100 dB is more than 8 bits can show.
        let ratios = pairs.iter().map(|(a, b)| Ok(psnr(a, b)?.min(100.0))).collect::<Result<Vec<f64>>>()?;
        let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
        Ok(BTreeMap::from([("psnr".to_owned(), mean)]))
    }

    /// Rows of pictures, and under each row what the autoencoder makes of it.
    fn samples(&self, inner: &B, weights: &Weights) -> Result<Option<RgbImage>> {
        let set = self.held_out.as_ref().unwrap_or(&self.pictures);
        let pairs = self.reconstruct(inner, weights, set, SHEET)?;
        let mut rows = Vec::new();
        for row in pairs.chunks(COLUMNS) {
            rows.extend(row.iter().map(|(picture, _)| picture.clone()));
            rows.extend(row.iter().map(|(_, decoded)| decoded.clone()));
        }
        Ok(Some(grid(&rows, COLUMNS.min(pairs.len()), 2)?))
    }

    fn export(&self, weights: &Weights, folder: &Path) -> Result<()> {
        weights.write(folder, self.vae.config(), self.config.report.precision)
    }
}
