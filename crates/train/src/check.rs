//! Reading a config file, and the rules its values must keep.

use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    AutoencoderConfig, DataConfig, DiffusionConfig, Error, LoraConfig, LoraOptions, LossWeighting, PerceptualNetwork,
    ReportConfig, Result, RunKind, TimestepSampling, TrainConfig, complete::complete, config::is_built_in, keys::meant,
};
use calotype_models::PerBlock;

/// What may be another on `--resume`, as JSON pointers.
const MAY_CHANGE: [&str; 11] = [
    "/output",
    "/report",
    "/data/folder",
    "/data/held_out",
    "/data/memory_limit_mb",
    "/loss/perceptual",
    "/model/autoencoder",
    "/train/gradient_clip",
    "/train/init_from",
    "/train/learning_rate",
    "/train/steps",
];

/// A config that can be read and checked.
pub(crate) trait Config: Clone + Serialize + DeserializeOwned {
    /// What is trained by it.
    const KIND: RunKind;
    /// Every path, to be taken from the config file's folder; `builtin` in the place of a model is none.
    fn paths(&mut self) -> Vec<&mut PathBuf>;
    /// The first rule that a value breaks: the key, what was expected, what was got.
    fn problem(&self) -> Option<String>;
    /// The whole config as a file, its paths from the root.
    fn whole(&self) -> Result<String> {
        let mut config = self.clone();
        for path in config.paths() {
            *path = std::path::absolute(&*path).map_err(|e| Error::io(path, "find the path", e))?;
        }
        let kind = Self::KIND.name();
        let text = toml::to_string(&config).map_err(|e| Error::config(Path::new("config"), e.to_string()))?;
        Ok(format!("# All settings of this run, for `calotype train {kind} --config`.\n{text}"))
    }
    /// The settings that a resumed run must share with its checkpoint. Paths are not among them: a run may move.
    fn fixed(&self) -> Result<serde_json::Value> {
        let mut value = serde_json::to_value(self).map_err(|e| Error::config(Path::new("config"), e.to_string()))?;
        for pointer in MAY_CHANGE {
            let (table, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
            if let Some(table) = value.pointer_mut(table).and_then(|table| table.as_object_mut()) {
                table.remove(key);
            }
        }
        Ok(value)
    }
}

/// The longest config, in bytes.
const LONGEST_CONFIG: u64 = 1 << 20;

/// Reads and checks a config file, with the values of `set` (`train.steps=10`) in the place of its own.
pub(crate) fn read<C: Config>(file: &Path, set: &[String]) -> Result<Read<C>> {
    let text = calotype_files::read_text(file, LONGEST_CONFIG).map_err(|e| Error::io(file, "read the config", e))?;
    let refused = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(String::new(), |before| format!("line {}: ", before.matches('\n').count() + 1));
        Error::config(file, format!("{line}{}", told(error.message())))
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut table: toml::Table = toml::from_str(&text).map_err(|error| refused(&error))?;
    set.iter().try_for_each(|setting| replace(&mut table, setting))?;
    // Where in the file something was is not known of the table.
    let unplaced = |error: toml::de::Error| Error::config(file, told(error.message()));
    let as_given: Result<C> = match set {
        [] => toml::from_str(&text).map_err(|error| refused(&error)),
        _ => C::deserialize(table.clone()).map_err(unplaced),
    };
    let from = table.get("train").and_then(|train| Some(train.get("init_from")?.as_str()?.to_owned()));
    let lacks = match &as_given {
        // The defaults are for runs from nothing.
        Ok(_) => C::KIND == RunKind::Autoencoder,
        Err(Error::Config { problem, .. }) => problem.contains(MISSING),
        Err(_) => false,
    };
    let mut filled = Vec::new();
    let mut config = match (as_given, from) {
        (_, Some(from)) if lacks => {
            filled = complete(C::KIND, &mut table, &from, folder)?;
            C::deserialize(table).map_err(unplaced)?
        }
        (Err(Error::Config { file, problem }), None) if lacks => {
            let problem = format!("{problem}: give it, or train.init_from, a model to start from that says it");
            return Err(Error::Config { file, problem });
        }
        (given, _) => given?,
    };
    if let Some(problem) = config.problem() {
        return Err(Error::config(file, problem));
    }
    for path in config.paths() {
        *path = folder.join(&*path);
    }
    Ok(Read { config, filled })
}

/// What serde says of a key that must be there.
const MISSING: &str = "missing field";

/// A config that was read.
pub(crate) struct Read<C> {
    pub(crate) config: C,
    /// What the model that the run starts from, or the habit of other tools, put into it: `train.steps = 1600`.
    pub(crate) filled: Vec<String>,
}

/// What a parser says, in a line, with the key that was meant where one is unknown.
fn told(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match unknown.and_then(meant) {
        Some(key) => format!("{message}; it may be {key} that is meant"),
        None => message,
    }
}

/// Puts the value of `key=value` into its place.
fn replace(table: &mut toml::Table, setting: &str) -> Result<()> {
    let refuse = |problem: &str| Err(Error::config(Path::new(setting), problem.to_owned()));
    let Some((key, value)) = setting.split_once('=') else {
        return refuse("expected a key and its value, as in train.steps=10");
    };
    let (key, value) = (key.trim(), value.trim());
    // What is no TOML value is a text: paths need no quotes.
    let value = match format!("x = {value}").parse::<toml::Table>() {
        Ok(parsed) => parsed.get("x").cloned(),
        Err(_) => Some(toml::Value::String(value.to_owned())),
    };
    let (mut parts, mut table) = (key.split('.').peekable(), table);
    while let (Some(part), Some(value)) = (parts.next(), &value) {
        if part.is_empty() {
            return refuse("expected a key and its value, as in train.steps=10");
        }
        if parts.peek().is_none() {
            table.insert(part.to_owned(), value.clone());
            break;
        }
        let inner = table.entry(part).or_insert_with(|| toml::Table::new().into());
        match inner.as_table_mut() {
            Some(inner) => table = inner,
            None => return refuse(&format!("{part} is a value and has no keys")),
        }
    }
    Ok(())
}

/// `key: expected … , got …` unless the rule holds.
macro_rules! rules {
    ($($ok:expr, $key:literal, $expected:literal, $got:expr;)*) => {
        $(
            let ok: bool = $ok;
            if !ok {
                return Some(format!("{}: expected {}, got {:?}", $key, $expected, $got));
            }
        )*
    };
}

impl TrainConfig {
    fn problem(&self) -> Option<String> {
        let share = 0.0..=1.0;
        let below_one = |x: &f64| (0.0..1.0).contains(x);
        rules! {
            self.batch_size > 0, "train.batch_size", "1 or more", self.batch_size;
            self.gradient_accumulation > 0, "train.gradient_accumulation", "1 or more", self.gradient_accumulation;
            self.steps > 0, "train.steps", "1 or more", self.steps;
            self.learning_rate > 0.0 && self.learning_rate.is_finite(), "train.learning_rate", "a number above 0", self.learning_rate;
            share.contains(&self.final_ratio), "train.final_ratio", "0 to 1", self.final_ratio;
            share.contains(&self.weight_decay), "train.weight_decay", "0 to 1", self.weight_decay;
            self.betas.iter().all(below_one), "train.betas", "two numbers from 0 to below 1", self.betas;
            self.eps > 0.0 && self.eps < 1.0, "train.eps", "a small number above 0", self.eps;
            self.gradient_clip >= 0.0, "train.gradient_clip", "0 (never) or more", self.gradient_clip;
            below_one(&self.ema_decay), "train.ema_decay", "0 (none) to below 1", self.ema_decay;
        }
        None
    }
}

impl ReportConfig {
    fn problem(&self) -> Option<String> {
        rules! {
            (1..=1000).contains(&self.keep), "report.keep", "1 to 1000", self.keep;
            self.checkpoint_minutes > 0.0, "report.checkpoint_minutes", "a number above 0", self.checkpoint_minutes;
            self.guidance_scale.is_finite(), "report.guidance_scale", "a number", self.guidance_scale;
            (1..=1000).contains(&self.sample_steps), "report.sample_steps", "1 to 1000", self.sample_steps;
        }
        None
    }
}

/// Checks the widths of a network's levels, and that the groups of the norms divide them.
fn levels(channels: &[usize], layers: &[usize], groups: usize) -> Option<String> {
    let divided = groups > 0 && channels.iter().all(|c| *c > 0 && c.is_multiple_of(groups));
    rules! {
        (1..=8).contains(&channels.len()), "model.block_out_channels", "1 to 8 levels", channels;
        divided, "model.block_out_channels", "multiples of model.norm_num_groups", (channels, groups);
        layers.iter().all(|layers| (1..=16).contains(layers)), "model.layers_per_block", "1 to 16", layers;
    }
    None
}

/// The settings of so many levels.
fn each(setting: &PerBlock, levels: usize) -> Vec<usize> {
    (0..levels).map(|level| setting.get(level)).collect()
}

impl DataConfig {
    /// Side of what a step learns from.
    fn learned_side(&self) -> u32 {
        self.random_crop.unwrap_or(self.size)
    }

    /// Checks that the pictures' side can be halved `halvings` times.
    fn problem(&self, halvings: usize) -> Option<String> {
        let divisor = 1u32 << halvings.min(16);
        if !(1..=4096).contains(&self.size) || !self.size.is_multiple_of(divisor) {
            return Some(format!("data.size: expected a multiple of {divisor} up to 4096, got {}", self.size));
        }
        let crop = self.learned_side();
        if crop == 0 || crop > self.size || !crop.is_multiple_of(divisor) {
            return Some(format!("data.random_crop: expected a multiple of {divisor} up to data.size, got {crop}"));
        }
        None
    }
}

impl Config for AutoencoderConfig {
    const KIND: RunKind = RunKind::Autoencoder;

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = vec![&mut self.output, &mut self.data.folder];
        paths.extend(self.data.held_out.as_mut());
        paths.extend(self.train.init_from.as_mut().filter(|from| !is_built_in(from)));
        match &mut self.loss.perceptual {
            Some(PerceptualNetwork::EfficientnetLite0(file)) => paths.push(file),
            Some(PerceptualNetwork::Lpips { trunk, heads }) => paths.extend([trunk, heads]),
            None => {}
        }
        paths
    }

    fn problem(&self) -> Option<String> {
        let Self { model, loss, .. } = self;
        levels(&model.block_out_channels, &[model.layers_per_block], model.norm_num_groups)
            .or_else(|| self.data.problem(model.block_out_channels.len() - 1))
            .or_else(|| self.train.problem())
            .or_else(|| self.report.problem())
            .or_else(|| {
                let weight = |x: f32| x.is_finite() && x >= 0.0;
                rules! {
                    (1..=64).contains(&model.latent_channels), "model.latent_channels", "1 to 64", model.latent_channels;
                    weight(loss.l1_weight) && loss.l1_weight > 0.0, "loss.l1_weight", "a number above 0", loss.l1_weight;
                    weight(loss.edge_weight), "loss.edge_weight", "0 (none) or more", loss.edge_weight;
                    weight(loss.kl_weight), "loss.kl_weight", "0 (none) or more", loss.kl_weight;
                    weight(loss.perceptual_weight), "loss.perceptual_weight", "0 (none) or more", loss.perceptual_weight;
                }
                if let Some(discriminator) = &loss.discriminator {
                    let least = 1u32 << discriminator.layers.min(16);
                    rules! {
                        weight(discriminator.weight), "loss.discriminator.weight", "0 (none) or more", discriminator.weight;
                        (1..=1024).contains(&discriminator.channels), "loss.discriminator.channels", "1 to 1024", discriminator.channels;
                        discriminator.layers > 0 && self.data.learned_side() >= 4 * least, "loss.discriminator.layers", "1 or more, and few enough for the pictures", discriminator.layers;
                    }
                }
                None
            })
    }
}

impl Config for DiffusionConfig {
    const KIND: RunKind = RunKind::Diffusion;

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = vec![&mut self.output, &mut self.data.folder];
        paths.extend(Some(&mut self.model.autoencoder).filter(|from| !is_built_in(from)));
        paths.extend(self.data.held_out.as_mut());
        paths.extend(self.train.init_from.as_mut().filter(|from| !is_built_in(from)));
        paths
    }

    fn problem(&self) -> Option<String> {
        if self.lora.is_some() {
            return Some("lora: is a table of `calotype train lora`: use that, or leave it out".to_owned());
        }
        self.problem_beside_lora()
    }
}

impl Config for LoraConfig {
    const KIND: RunKind = RunKind::Lora;

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        self.0.paths()
    }

    fn problem(&self) -> Option<String> {
        let of_lora = || self.0.lora.as_ref().and_then(LoraOptions::problem);
        let no_start = self.0.train.init_from.is_none();
        no_start
            .then(|| "train.init_from: expected the model that gets the LoRA, got none".to_owned())
            .or_else(of_lora)
            .or_else(|| self.0.problem_beside_lora())
    }
}

impl LoraOptions {
    fn problem(&self) -> Option<String> {
        let is_rank = |rank: usize| (1..=1024).contains(&rank);
        let is_alpha = |alpha: f32| alpha > 0.0 && alpha.is_finite();
        rules! {
            is_rank(self.rank), "lora.rank", "1 to 1024", self.rank;
            self.conv_rank.is_none_or(is_rank), "lora.conv_rank", "1 to 1024", self.conv_rank;
            self.alpha.is_none_or(is_alpha), "lora.alpha", "a number above 0", self.alpha;
            self.conv_alpha.is_none_or(is_alpha), "lora.conv_alpha", "a number above 0", self.conv_alpha;
            (0.0..1.0).contains(&self.dropout), "lora.dropout", "0 to below 1", self.dropout;
        }
        None
    }
}

impl DiffusionConfig {
    fn problem_beside_lora(&self) -> Option<String> {
        let Self { model, loss, .. } = self;
        levels(&model.block_out_channels, &each(&model.layers_per_block, model.block_out_channels.len()), model.norm_num_groups)
            .or_else(|| self.data.problem(0))
            .or_else(|| self.data.random_crop.map(|_| "data.random_crop: is for an autoencoder, leave it out".to_owned()))
            .or_else(|| self.train.problem())
            .or_else(|| self.report.problem())
            .or_else(|| {
                let levels = model.block_out_channels.len();
                let (text, heads) = (&model.text_encoder, each(&model.attention_heads, levels));
                let divides = |heads: usize, width: usize| heads > 0 && width > 0 && width.is_multiple_of(heads);
                let all_divided = heads.iter().zip(&model.block_out_channels).all(|(&heads, &c)| divides(heads, c));
                let sampling = match loss.timesteps {
                    TimestepSampling::Uniform => true,
                    TimestepSampling::LogitNormal { mean, std } => mean.is_finite() && std.is_finite() && std > 0.0,
                };
                let weighting = match loss.weighting {
                    LossWeighting::Uniform => true,
                    LossWeighting::MinSnr { gamma: limit } | LossWeighting::Velocity { max: limit } => limit.is_finite() && limit > 0.0,
                };
                rules! {
                    model.attention_levels.len() == levels, "model.attention_levels", "one entry for each of model.block_out_channels", model.attention_levels;
                    all_divided, "model.attention_heads", "a divisor of all of model.block_out_channels", model.attention_heads;
                    divides(text.num_attention_heads, text.hidden_size), "model.text_encoder.num_attention_heads", "a divisor of hidden_size", text.num_attention_heads;
                    (1..=64).contains(&text.num_hidden_layers), "model.text_encoder.num_hidden_layers", "1 to 64", text.num_hidden_layers;
                    (0.0..=1.0).contains(&loss.conditioning_dropout), "loss.conditioning_dropout", "0 to 1", loss.conditioning_dropout;
                    sampling, "loss.timesteps.logit_normal", "a mean, and a std above 0", loss.timesteps;
                    weighting, "loss.weighting", "a number above 0", loss.weighting;
                }
                None
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calotype_models::ModelConfig;

    #[test]
    fn the_examples_are_sound_and_their_model_fits_in_32_megabytes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/emoji");
        let autoencoder: AutoencoderConfig = read(&folder.join("autoencoder.toml"), &[]).unwrap().config;
        let diffusion: DiffusionConfig = read(&folder.join("diffusion.toml"), &[]).unwrap().config;
        assert_eq!(diffusion.model.autoencoder, autoencoder_model(&folder, &autoencoder));

        let vae = autoencoder.model.vae(autoencoder.data.size);
        let side = diffusion.data.size as usize / vae.downscale();
        let unet = diffusion.model.unet([side, side, vae.latent_channels]);
        let specs = [vae.specs(), unet.specs(), diffusion.model.text().specs()].map(Result::unwrap);
        let bytes: usize = specs.iter().flatten().map(|spec| 2 * spec.count()).sum();
        assert!((20_000_000..=32_000_000).contains(&bytes), "{bytes}");
    }

    /// Where the diffusion config looks for what the autoencoder's run ends in.
    fn autoencoder_model(folder: &Path, config: &AutoencoderConfig) -> PathBuf {
        assert!(config.output.starts_with(folder));
        config.output.join("model")
    }
}
