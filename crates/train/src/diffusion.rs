//! Training of latent diffusion with its text encoder.

use std::{collections::BTreeMap, fs, path::Path};

use calotype_diffusion::{Generator, PredictionType};
use calotype_image::{RgbImage, grid};
use calotype_models::{
    AutoencoderKl, ClipTextEncoder, Component, DownBlockType, HiddenAct, MidBlockType, ModelConfig, PerBlock, Random,
    TextConfig, UNet, UNetConfig, UNetInputs, UpBlockType, VaeConfig, adapters::Adapted,
};
use calotype_tensor::{
    Backend, Differentiable,
    tape::{Parameter, Tape},
};
use calotype_text::MAX_LENGTH;
use serde_json::json;

use crate::{
    DiffusionConfig, DiffusionSizes, Error, LossWeighting, Notice, Prediction, Result, RunOptions,
    captions::Captions,
    data::{Dataset, Order},
    folder::RunFolder,
    folders::{copy_vocabulary, write_model},
    latents::Latents,
    lora::{self, About, Files, Lora},
    noising::{Noised, Noising, timestep},
    random::{Stream, generator},
    run::{Loss, Task, scalar},
    sampling::Networks,
    start::{self, Start},
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
    start: Start,
    unet: UNet<Parameter<B>>,
    text: ClipTextEncoder<Parameter<B>>,
    vae: AutoencoderKl<B::Param>,
    vae_config: VaeConfig,
    vae_weights: Weights,
    noising: Noising,
    training: LatentSet,
    held_out: Option<LatentSet>,
    /// What learns in the place of the networks.
    lora: Option<Lora>,
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
            layers_per_block: self.layers_per_block.clone(),
            norm_num_groups: self.norm_num_groups,
            cross_attention_dim: PerBlock::All(self.text_encoder.hidden_size),
            attention_head_dim: self.attention_heads.clone(),
            use_linear_projection: self.use_linear_projection.unwrap_or(false),
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
            hidden_act: sizes.hidden_act.unwrap_or(HiddenAct::QuickGelu),
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
        let network = start::open_vae(&config.model.autoencoder)?;
        let mut vae_config = network.config().clone();
        let start = Start::open(config.train.init_from.as_deref())?;
        // What is refused is refused before hours go into latents.
        if let Some(from) = &config.train.init_from {
            start.check(from, &config.model, vae_config.latent_channels)?;
        }
        let levels = match start.networks() {
            Some((unet, _)) => unet.config().block_out_channels.len(),
            None => config.model.block_out_channels.len(),
        };
        let shape = latent_shape(config.data.size, levels, &vae_config)?;
        let (unet_config, text_config) = match start.networks() {
            Some((unet, text)) => {
                let sample_size = Some(PerBlock::All(shape[0]));
                (UNetConfig { sample_size, ..unet.config().clone() }, text.config().clone())
            }
            None => (config.model.unet(shape), config.model.text()),
        };
        let lora = match &config.lora {
            None => None,
            Some(options) => {
                let specs = [unet_config.specs()?, text_config.specs()?];
                Some((lora::chosen(options, &specs[0], &specs[1])?, specs, options))
            }
        };
        let mut sets = Vec::new();
        for pictures in [Some(&data.folder), data.held_out.as_ref()].into_iter().flatten() {
            sets.push(Dataset::open(pictures, data.size, data.memory_limit_mb)?);
        }
        let groups = [
            ("model.norm_num_groups", unet_config.norm_num_groups),
            ("norm_num_groups of model.autoencoder", vae_config.norm_num_groups),
        ];
        // The files of a LoRA are of no layout.
        if let Some(reason) = start::stays_a_folder(&groups, Some(&text_config)).filter(|_| lora.is_none()) {
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
            let captions = Captions::new(set.captions(), start.tokenizer());
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
        match start.vae() {
            Some(vae) => training.latents.scaling_factor = vae.config().scaling_factor,
            None => training.latents.measure_scaling_factor(&first, &mut generator(seed, Stream::ScaleFactor, 0)),
        }
        vae_config.scaling_factor = training.latents.scaling_factor;
        vae_config.sample_size = Some(PerBlock::All(data.size as usize));
        if let Some(held_out) = &mut held_out {
            held_out.latents.scaling_factor = vae_config.scaling_factor;
        }

        let on_tape = |tape: &Tape<B>| -> Result<_> {
            Ok(match start.networks() {
                Some((unet, text)) => (
                    unet_config.init(tape, &mut unet.stored_as(&unet_config)?)?,
                    text_config.init(tape, &mut text.stored_as(&text_config)?)?,
                ),
                None => (
                    unet_config.init(tape, &mut RandomResidual(Random { seed }))?,
                    text_config.init(tape, &mut Random { seed })?,
                ),
            })
        };
        let ((mut unet, mut text), lora) = match lora {
            None => (on_tape(tape)?, None),
            Some((modules, specs, options)) => {
                let networks = tape.no_grad(on_tape)?;
                (networks, Some(Lora::attach(tape, modules, specs, options, &mut Random { seed })?))
            }
        };
        unet.checkpointing = config.train.checkpointing;
        text.checkpointing = config.train.checkpointing;
        let config = config.clone();
        let noising = Noising {
            schedule: start.noise_schedule()?,
            prediction: config.model.prediction_type.or(start.prediction()).unwrap_or(Prediction::Epsilon),
            weighting: config.loss.weighting,
        };
        check_loss(&noising)?;
        Ok(Self {
            config,
            unet_config,
            text_config,
            start,
            unet,
            text,
            vae,
            vae_config,
            vae_weights,
            noising,
            training,
            held_out,
            lora,
        })
    }
}

/// The networks that are trained, on a backend that infers.
type ToInfer<B> = (UNet<<B as Backend>::Param>, ClipTextEncoder<<B as Backend>::Param>);

impl<B: Differentiable> DiffusionTask<B> {
    /// UNet and text encoder with the run's weights, to infer with.
    fn networks(&self, inner: &B, weights: &Weights) -> Result<ToInfer<B>> {
        let (Some(lora), Some((unet, text))) = (&self.lora, self.start.networks()) else {
            return Ok((self.unet_config.init(inner, &mut &*weights)?, self.text_config.init(inner, &mut &*weights)?));
        };
        let applied = [lora.applied(weights)?];
        let (mut of_unet, mut of_text) = (unet.stored_as(&self.unet_config)?, text.stored_as(&self.text_config)?);
        let threads = inner.threads();
        let mut of_unet = Adapted::new(&mut of_unet, Component::UNet, &applied, threads);
        let mut of_text = Adapted::new(&mut of_text, Component::TextEncoder, &applied, threads);
        Ok((self.unet_config.init(inner, &mut of_unet)?, self.text_config.init(inner, &mut of_text)?))
    }

    /// Writes the files of a LoRA.
    fn export_lora(&self, lora: &Lora, weights: &Weights, folder: &Path) -> Result<()> {
        let DiffusionConfig { output, data, train, report, lora: options, .. } = &self.config;
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make the folder", e))?;
        let name = output.file_name().map_or_else(|| "lora".to_owned(), |name| name.to_string_lossy().into_owned());
        let is_sd2 = self.text_config.is_open_clip();
        let is_v = self.noising.prediction == Prediction::VPrediction;
        let options = options.clone().unwrap_or_default();
        let mut settings = BTreeMap::new();
        let mut set = |key: &str, value: String| settings.insert(format!("ss_{key}"), value);
        set("output_name", name.clone());
        set("learning_rate", train.learning_rate.to_string());
        set("num_train_images", self.training.count.to_string());
        set("num_reg_images", "0".to_owned());
        set("max_train_steps", train.steps.to_string());
        set("gradient_accumulation_steps", train.gradient_accumulation.to_string());
        set("gradient_checkpointing", if train.checkpointing { "True" } else { "False" }.to_owned());
        set("lr_warmup_steps", train.warmup_steps.to_string());
        set("lr_scheduler", json!(train.decay).as_str().unwrap_or_default().to_owned());
        set("network_module", "networks.lora".to_owned());
        set("network_dim", options.rank.to_string());
        set("network_alpha", options.alpha.unwrap_or(options.rank as f32).to_string());
        set("network_dropout", options.dropout.to_string());
        if let Some(rank) = options.conv_rank {
            let alpha = options.conv_alpha.unwrap_or(rank as f32);
            set("network_args", json!({"conv_dim": rank.to_string(), "conv_alpha": alpha.to_string()}).to_string());
        }
        set("mixed_precision", if train.mixed_precision.is_no() { "no" } else { "bf16" }.to_owned());
        set("v2", if is_sd2 { "True" } else { "False" }.to_owned());
        let version = match (is_sd2, is_v) {
            (true, true) => "sd_v2_v",
            (true, false) => "sd_v2",
            (false, _) => "sd_v1",
        };
        set("base_model_version", version.to_owned());
        set("seed", train.seed.to_string());
        set("optimizer", "torch.optim.adamw.AdamW".to_owned());
        set("max_grad_norm", train.gradient_clip.to_string());
        set("caption_dropout_rate", self.config.loss.conditioning_dropout.to_string());
        set("resolution", format!("({0}, {0})", data.size));
        if let Some(model) = self.start.model() {
            set("sd_model_name", model.name().to_owned());
            set("new_sd_model_hash", model.hash()?.to_owned());
        }
        if let LossWeighting::MinSnr { gamma } = self.config.loss.weighting {
            set("min_snr_gamma", gamma.to_string());
        }
        let dtype = report.precision.dtype();
        let about = About { name, settings, is_sd2, size: data.size, is_v };
        Files { modules: &lora.modules, weights, dtype, about }.write(folder)
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

/// Refuses a weighting that is not for what the UNet predicts.
fn check_loss(noising: &Noising) -> Result<()> {
    match (noising.weighting, noising.prediction) {
        (LossWeighting::Velocity { .. }, Prediction::VPrediction) => {
            let problem = "velocity makes an error of ε one of v, and this UNet predicts v: leave it out";
            Err(Error::config(Path::new("loss.weighting"), problem))
        }
        _ => Ok(()),
    }
}

/// `[h, w, c]` of the latents of a picture of side `size`, for a UNet of so many levels.
pub(crate) fn latent_shape(size: u32, levels: usize, vae: &VaeConfig) -> Result<[usize; 3]> {
    let (size, factor) = (size as usize, vae.downscale());
    let halvings = levels.saturating_sub(1);
    if !size.is_multiple_of(factor << halvings) {
        let problem =
            format!("expected a multiple of {} for this autoencoder and UNet, got {size}", factor << halvings);
        return Err(Error::config(Path::new("data.size"), problem));
    }
    Ok([size / factor, size / factor, vae.latent_channels])
}

/// The mean squared error of what `unet` predicts, weighted: a tensor of shape `(1)`.
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
    let Noised { noisy, target, timesteps, weights } = noised;
    let shape = [timesteps.len(), h, w, c].into();
    let (time, context) = (unet.time_embedding(backend, &timesteps, None)?, unet.prepare(backend, context)?);
    let predicted = unet.forward(backend, &UNetInputs::new(&backend.from_f32(shape, noisy)?, &time, &context))?;
    let error = backend.sub(&predicted, &backend.from_f32(shape, target)?)?;
    let mut square = backend.mul(&error, &error)?;
    if !weights.is_empty() {
        square = backend.mul(&square, &backend.from_f32(shape, weights)?)?;
    }
    Ok(backend.mean(&square)?)
}

impl<B: Differentiable + Clone> Task<B> for DiffusionTask<B> {
    fn name(&self) -> &'static str {
        if self.lora.is_some() { "lora" } else { "diffusion" }
    }

    fn inputs(&self) -> serde_json::Value {
        let mut inputs = json!({"pictures": self.training.hash, "autoencoder": self.vae_weights.hash()});
        // Of other runs all that is taken from it is in the checkpoint.
        if let Some(hash) = self.lora.as_ref().and_then(|_| self.start.model()?.hash().ok()) {
            inputs["train.init_from"] = json!(hash);
        }
        inputs
    }

    fn pictures(&self) -> usize {
        self.training.count
    }

    fn loss(&self, tape: &Tape<B>, _: u64, pictures: &[usize], random: &mut Generator) -> Result<Loss<B>> {
        let (config, LatentSet { latents, captions, .. }) = (&self.config.loss, &self.training);
        let (mut noised, mut ids) = (Noised::default(), Vec::new());
        if let Some(lora) = &self.lora {
            lora.begin_batch(|| random.random64());
        }
        for &picture in pictures {
            let timestep = timestep(config, &self.noising.schedule, random);
            let dropped = random.uniform_f64() < config.conditioning_dropout;
            ids.extend(if dropped { captions.empty() } else { captions.ids(picture) });
            let x0 = latents.get(picture, config.sample_posterior.then_some(&mut *random));
            let noise = random.randn(latents.size());
            self.noising.push(&mut noised, &x0, noise, timestep)?;
        }
        let value = noise_loss(tape, &self.unet, &self.text, &ids, noised, latents.shape())?;
        Ok(Loss { value, terms: Vec::new(), total: None })
    }

    /// The unweighted loss at fixed timesteps, evenly spread, with fixed noise.
    fn evaluate(&self, inner: &B, weights: &Weights) -> Result<BTreeMap<String, f64>> {
        let Some(LatentSet { latents, captions, count, .. }) = &self.held_out else { return Ok(BTreeMap::new()) };
        let (unet, text) = self.networks(inner, weights)?;
        let pictures: Vec<usize> = (0..self.config.report.evaluate_pictures.min(*count)).collect();
        let (noising, mut sum) = (self.noising.unweighted(), 0.0);
        let timesteps = noising.schedule.num_train_timesteps();
        for (place, batch) in pictures.chunks(BATCH).enumerate() {
            let mut random = generator(self.config.train.seed, Stream::HeldOut, place as u64);
            let (mut noised, mut ids) = (Noised::default(), Vec::new());
            for &picture in batch {
                ids.extend(captions.ids(picture));
                let timestep = (2 * picture + 1) * timesteps / (2 * pictures.len());
                let x0 = latents.get(picture, None);
                let noise = random.randn(latents.size());
                noising.push(&mut noised, &x0, noise, timestep)?;
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
        let (unet, text) = self.networks(inner, weights)?;
        let networks = Networks {
            inner,
            tokenizer: self.start.tokenizer(),
            unet: &unet,
            text: &text,
            vae: &self.vae,
            scaling_factor: self.vae_config.scaling_factor,
            prediction: match self.noising.prediction {
                Prediction::Epsilon => PredictionType::Epsilon,
                Prediction::VPrediction => PredictionType::VPrediction,
            },
        };
        let shape = self.training.latents.shape();
        let pictures = networks.sample(report, &self.noising.schedule, shape, self.config.train.seed)?;
        Ok(Some(grid(&pictures, COLUMNS, 2)?))
    }

    fn export(&self, weights: &Weights, folder: &Path) -> Result<()> {
        if let Some(lora) = &self.lora {
            return self.export_lora(lora, weights, folder);
        }
        let precision = self.config.report.precision;
        weights.write(folder, &self.unet_config, precision)?;
        weights.write(folder, &self.text_config, precision)?;
        self.vae_weights.write(folder, &self.vae_config, precision)?;
        copy_vocabulary(&self.config.data.folder, folder)?;
        let scheduler = self.start.scheduler_config(self.noising.prediction)?;
        write_model(folder, &scheduler, &self.start.tokenizer_files()?)
    }
}
