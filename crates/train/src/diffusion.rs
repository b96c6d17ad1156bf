//! Training of latent diffusion with its text encoder.

use std::{collections::BTreeMap, path::Path};

use calotype_checkpoint::NetworkFiles;
use calotype_diffusion::{Generator, NoiseSchedule};
use calotype_image::{RgbImage, grid};
use calotype_models::{
    AutoencoderKl, ClipTextEncoder, DownBlockType, MidBlockType, ModelConfig, PerBlock, Random, TextConfig, UNet,
    UNetConfig, UNetInputs, UpBlockType, VaeConfig,
};
use calotype_tensor::{
    Backend, Differentiable,
    tape::{Parameter, Tape},
};
use calotype_text::MAX_LENGTH;
use serde_json::json;

use crate::{
    DiffusionConfig, DiffusionSizes, Error, LossWeighting, Notice, Result, RunOptions,
    captions::Captions,
    data::{Dataset, Order},
    folder::RunFolder,
    folders::{NUM_TRAIN_TIMESTEPS, copy_vocabulary, noise_schedule, write_model},
    latents::Latents,
    noising::{Noised, timestep},
    random::{Stream, generator},
    run::{Loss, Task, scalar},
    sampling::Networks,
    start,
    tokenizer::RunTokenizer,
    weights::{RandomResidual, Weights},
};

/// Latents that the scale factor is measured on, at most.
const SCALE_FACTOR_PICTURES: u64 = 1024;
/// Pictures that are measured at once.
const BATCH: usize = 32;
/// Pictures in a row of a sheet of samples.
const COLUMNS: usize = 8;

/// Pictures as the UNet is trained on them.
struct LatentSet {
    latents: Latents,
    captions: Captions,
    count: usize,
    /// Tells its pictures from others.
    hash: u64,
}

/// UNet and text encoder on a tape, their latents and captions, and what turns latents into pictures.
pub(crate) struct DiffusionTask<B: Differentiable> {
    config: DiffusionConfig,
    unet_config: UNetConfig,
    text_config: TextConfig,
    tokenizer: RunTokenizer,
    unet: UNet<Parameter<B>>,
    text: ClipTextEncoder<Parameter<B>>,
    vae: AutoencoderKl<B::Param>,
    vae_config: VaeConfig,
    vae_weights: Weights,
    schedule: NoiseSchedule,
    training: LatentSet,
    held_out: Option<LatentSet>,
}

impl DiffusionSizes {
    /// The config of the UNet for latents `[h, w, c]`.
    pub(crate) fn unet(&self, [h, _, c]: [usize; 3]) -> UNetConfig {
        let down = |attends: &bool| if *attends { DownBlockType::CrossAttention } else { DownBlockType::Plain };
        let up = |attends: &bool| if *attends { UpBlockType::CrossAttention } else { UpBlockType::Plain };
        UNetConfig {
            sample_size: Some(PerBlock::All(h)),
            in_channels: c,
            out_channels: c,
            down_block_types: self.attention_levels.iter().map(down).collect(),
            mid_block_type: Some(MidBlockType::CrossAttention),
            up_block_types: self.attention_levels.iter().rev().map(up).collect(),
            block_out_channels: self.block_out_channels.clone(),
            layers_per_block: PerBlock::All(self.layers_per_block),
            norm_num_groups: self.norm_num_groups,
            cross_attention_dim: PerBlock::All(self.text_encoder.hidden_size),
            attention_head_dim: PerBlock::All(self.attention_heads),
            ..UNetConfig::default()
        }
    }

    /// The config of the text encoder.
    pub(crate) fn text(&self) -> TextConfig {
        let sizes = &self.text_encoder;
        TextConfig {
            hidden_size: sizes.hidden_size,
            intermediate_size: sizes.intermediate_size.unwrap_or(4 * sizes.hidden_size),
            projection_dim: sizes.hidden_size,
            num_hidden_layers: sizes.num_hidden_layers,
            num_attention_heads: sizes.num_attention_heads,
            ..TextConfig::default()
        }
    }
}

impl<B: Differentiable> DiffusionTask<B> {
    /// Makes the networks on `tape`, and the latents of every picture.
    pub(crate) fn new(
        tape: &Tape<B>,
        config: &DiffusionConfig,
        folder: &RunFolder,
        options: &mut RunOptions<'_>,
    ) -> Result<Self> {
        let (inner, data, seed) = (tape.inner(), &config.data, config.train.seed);
        let network = NetworkFiles::<VaeConfig>::open(&config.model.autoencoder)?;
        let mut vae_config = network.config().clone();
        let shape = latent_shape(config.data.size, &config.model, &vae_config)?;
        let (unet_config, mut text_config) = (config.model.unet(shape), config.model.text());
        let tokenizer = RunTokenizer::open(config.train.init_from.as_deref())?;
        // What is refused is refused before hours go into latents.
        let start = match &config.train.init_from {
            Some(from) => {
                let (unet, text) = (start::open::<UNetConfig>(from)?, start::open::<TextConfig>(from)?);
                start::check_diffusion(from, [unet.config(), &unet_config], [text.config(), &text_config])?;
                let TextConfig { vocab_size, pad_token_id, bos_token_id, eos_token_id, .. } = *text.config();
                text_config = TextConfig { vocab_size, pad_token_id, bos_token_id, eos_token_id, ..text_config };
                unet.stored_as(&unet_config)?;
                text.stored_as(&text_config)?;
                Some((unet, text))
            }
            None => None,
        };
        let mut sets = Vec::new();
        for pictures in [Some(&data.folder), data.held_out.as_ref()].into_iter().flatten() {
            sets.push(Dataset::open(pictures, data.size, data.memory_limit_mb)?);
        }
        let groups = [
            ("model.norm_num_groups", unet_config.norm_num_groups),
            ("norm_num_groups of model.autoencoder", vae_config.norm_num_groups),
        ];
        if let Some(reason) = start::stays_a_folder(&groups, Some(&text_config)) {
            (options.tell)(&Notice::Warning(reason));
        }
        let vae_weights = Weights::read(&vae_config, &network)?;
        let vae = vae_config.init(inner, &mut &vae_weights)?;
        let (size, vae_hash) = (data.size as usize, vae_weights.hash());
        let mut latent_sets = Vec::new();
        for (mut set, cache) in sets.into_iter().zip(["train", "held_out"]) {
            let cache = folder.cache(cache);
            let latents = Latents::load_or_compute(&cache, vae_hash, &mut set, shape, options, |count, values| {
                let pixels = inner.from_f32([count, size, size, 3].into(), values)?;
                Ok(inner.to_f32(&vae.encode(inner, &pixels)?)?)
            })?;
            let captions = Captions::new(set.captions(), tokenizer.get());
            tell_captions(&set, &captions, options)?;
            latent_sets.push(LatentSet { latents, captions, count: set.len(), hash: set.hash() });
        }
        let mut held_out = if latent_sets.len() > 1 { latent_sets.pop() } else { None };
        let Some(mut training) = latent_sets.pop() else {
            return Err(Error::data(&data.folder, "has no pictures"));
        };

        let mut order = Order::new(seed, training.count);
        let first: Vec<usize> =
            (0..SCALE_FACTOR_PICTURES.min(training.count as u64)).map(|number| order.picture(number)).collect();
        // A UNet that is there already knows latents of its own model's scale.
        let known = config.train.init_from.as_ref().and_then(|from| NetworkFiles::<VaeConfig>::open(from).ok());
        match known {
            Some(vae) => training.latents.scaling_factor = vae.config().scaling_factor,
            None => training.latents.measure_scaling_factor(&first, &mut generator(seed, Stream::ScaleFactor, 0)),
        }
        vae_config.scaling_factor = training.latents.scaling_factor;
        vae_config.sample_size = Some(PerBlock::All(data.size as usize));
        if let Some(held_out) = &mut held_out {
            held_out.latents.scaling_factor = vae_config.scaling_factor;
        }

        let (mut unet, mut text) = match start {
            Some((unet, text)) => (
                unet_config.init(tape, &mut unet.stored_as(&unet_config)?)?,
                text_config.init(tape, &mut text.stored_as(&text_config)?)?,
            ),
            None => (
                unet_config.init(tape, &mut RandomResidual(Random { seed }))?,
                text_config.init(tape, &mut Random { seed })?,
            ),
        };
        unet.checkpointing = config.train.checkpointing;
        text.checkpointing = config.train.checkpointing;
        let config = config.clone();
        let schedule = noise_schedule()?;
        Ok(Self {
            config,
            unet_config,
            text_config,
            tokenizer,
            unet,
            text,
            vae,
            vae_config,
            vae_weights,
            schedule,
            training,
            held_out,
        })
    }
}

/// Says once what of the captions is not used, and refuses a set without any.
fn tell_captions(set: &Dataset, captions: &Captions, options: &mut RunOptions<'_>) -> Result<()> {
    let all = set.len();
    if let Some((count, first)) = set.without_caption() {
        let first = first.display();
        if count >= all {
            let problem =
                format!("no picture has a caption: write metadata.jsonl, or a .txt beside each such as {first}");
            return Err(Error::data(&set.folder().join("metadata.jsonl"), problem));
        }
        let text = format!(
            "{count} of {all} pictures have no .txt beside them, so their caption is empty; the first is {first}"
        );
        (options.tell)(&Notice::Warning(text));
    }
    if let Some((count, first)) = captions.cut() {
        let (file, tokens) = (set.file(first), MAX_LENGTH - 2);
        let text = format!(
            "{count} of {all} captions are longer than the {tokens} tokens that the text encoder takes and are cut; the first is that of {}",
            file.display()
        );
        (options.tell)(&Notice::Warning(text));
    }
    Ok(())
}

/// `[h, w, c]` of the latents of a picture of side `size`.
pub(crate) fn latent_shape(size: u32, model: &DiffusionSizes, vae: &VaeConfig) -> Result<[usize; 3]> {
    let (size, factor) = (size as usize, vae.downscale());
    let halvings = model.block_out_channels.len().saturating_sub(1);
    if !size.is_multiple_of(factor << halvings) {
        let problem =
            format!("expected a multiple of {} for this autoencoder and UNet, got {size}", factor << halvings);
        return Err(Error::config(Path::new("data.size"), problem));
    }
    Ok([size / factor, size / factor, vae.latent_channels])
}

/// The mean squared error of the noise that `unet` predicts, weighted: a tensor of shape `(1)`.
pub(crate) fn noise_loss<B: Backend>(
    backend: &B,
    unet: &UNet<B::Param>,
    text: &ClipTextEncoder<B::Param>,
    ids: &[u32],
    noised: Noised,
    latents: [usize; 3],
) -> Result<B::Tensor> {
    let context = text.forward(backend, ids, noised.timesteps.len())?;
    noise_error(backend, unet, &context, noised, latents)
}

/// [`noise_loss`] with the texts encoded: `context (B, L, cross_attention_dim)`.
pub(crate) fn noise_error<B: Backend>(
    backend: &B,
    unet: &UNet<B::Param>,
    context: &B::Tensor,
    noised: Noised,
    [h, w, c]: [usize; 3],
) -> Result<B::Tensor> {
    let Noised { noisy, noise, timesteps, weights } = noised;
    let shape = [timesteps.len(), h, w, c].into();
    let (time, context) = (unet.time_embedding(backend, &timesteps, None)?, unet.prepare(backend, context)?);
    let predicted = unet.forward(backend, &UNetInputs::new(&backend.from_f32(shape, noisy)?, &time, &context))?;
    let error = backend.sub(&predicted, &backend.from_f32(shape, noise)?)?;
    let mut square = backend.mul(&error, &error)?;
    if !weights.is_empty() {
        square = backend.mul(&square, &backend.from_f32(shape, weights)?)?;
    }
    Ok(backend.mean(&square)?)
}

impl<B: Differentiable + Clone> Task<B> for DiffusionTask<B> {
    const NAME: &'static str = "diffusion";

    fn inputs(&self) -> serde_json::Value {
        json!({"pictures": self.training.hash, "autoencoder": self.vae_weights.hash()})
    }

    fn pictures(&self) -> usize {
        self.training.count
    }

    fn loss(&self, tape: &Tape<B>, _: u64, pictures: &[usize], random: &mut Generator) -> Result<Loss<B>> {
        let (config, LatentSet { latents, captions, .. }) = (&self.config.loss, &self.training);
        let (mut noised, mut ids) = (Noised::default(), Vec::new());
        for &picture in pictures {
            let timestep = timestep(config, &self.schedule, random);
            let dropped = random.uniform_f64() < config.conditioning_dropout;
            ids.extend(if dropped { captions.empty() } else { captions.ids(picture) });
            let x0 = latents.get(picture, config.sample_posterior.then_some(&mut *random));
            let noise = random.randn(latents.size());
            noised.push(&x0, noise, timestep, &self.schedule, config.weighting)?;
        }
        let value = noise_loss(tape, &self.unet, &self.text, &ids, noised, latents.shape())?;
        Ok(Loss { value, terms: Vec::new(), total: None })
    }

    /// The unweighted loss at fixed timesteps, evenly spread, with fixed noise.
    fn evaluate(&self, inner: &B, weights: &Weights) -> Result<BTreeMap<String, f64>> {
        let Some(LatentSet { latents, captions, count, .. }) = &self.held_out else { return Ok(BTreeMap::new()) };
        let unet = self.unet_config.init(inner, &mut &*weights)?;
        let text = self.text_config.init(inner, &mut &*weights)?;
        let pictures: Vec<usize> = (0..self.config.report.evaluate_pictures.min(*count)).collect();
        let mut sum = 0.0;
        for (place, batch) in pictures.chunks(BATCH).enumerate() {
            let mut random = generator(self.config.train.seed, Stream::HeldOut, place as u64);
            let (mut noised, mut ids) = (Noised::default(), Vec::new());
            for &picture in batch {
                ids.extend(captions.ids(picture));
                let timestep = (2 * picture + 1) * NUM_TRAIN_TIMESTEPS / (2 * pictures.len());
                let x0 = latents.get(picture, None);
                let noise = random.randn(latents.size());
                noised.push(&x0, noise, timestep, &self.schedule, LossWeighting::Uniform)?;
            }
            let loss = noise_loss(inner, &unet, &text, &ids, noised, latents.shape())?;
            sum += scalar(inner, &loss)? * batch.len() as f64;
        }
        Ok(BTreeMap::from([("loss".to_owned(), sum / pictures.len().max(1) as f64)]))
    }

    fn samples(&self, inner: &B, weights: &Weights) -> Result<Option<RgbImage>> {
        let report = &self.config.report;
        if report.prompts.is_empty() {
            return Ok(None);
        }
        let unet = self.unet_config.init(inner, &mut &*weights)?;
        let text = self.text_config.init(inner, &mut &*weights)?;
        let networks = Networks {
            inner,
            tokenizer: self.tokenizer.get(),
            unet: &unet,
            text: &text,
            vae: &self.vae,
            scaling_factor: self.vae_config.scaling_factor,
        };
        let shape = self.training.latents.shape();
        let pictures = networks.sample(report, &self.schedule, shape, self.config.train.seed)?;
        Ok(Some(grid(&pictures, COLUMNS, 2)?))
    }

    fn export(&self, weights: &Weights, folder: &Path) -> Result<()> {
        let precision = self.config.report.precision;
        weights.write(folder, &self.unet_config, precision)?;
        weights.write(folder, &self.text_config, precision)?;
        self.vae_weights.write(folder, &self.vae_config, precision)?;
        copy_vocabulary(&self.config.data.folder, folder)?;
        write_model(folder, &self.tokenizer)
    }
}
