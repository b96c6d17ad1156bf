//! Every key of a config file: what it means, its default, and what kohya's and diffusers' tools call it.

use std::fmt::Write;

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// An autoencoder.
    Autoencoder,
    /// Latent diffusion with its text encoder.
    Diffusion,
    /// A LoRA of such a model.
    Lora,
}

impl RunKind {
    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Autoencoder => "autoencoder",
            Self::Diffusion => "diffusion",
            Self::Lora => "lora",
        }
    }
}

/// Which kinds of runs have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    All,
    Only(RunKind),
    /// Of latent diffusion, its weights trained or a LoRA.
    Latents,
    /// Of a model's own weights.
    Weights,
}

/// What a template says of a key that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// It must be given; an example.
    Needed(&'static str),
    /// The same, unless `train.init_from` says it.
    Unsaid(&'static str),
    /// What it then is.
    Default(&'static str),
    /// It then does nothing; an example.
    Off(&'static str),
}

/// A key of a config file.
struct Key {
    /// Its table (empty for the top) and its name.
    path: (&'static str, &'static str),
    kinds: In,
    value: Value,
    help: &'static str,
    /// What other tools call it, `""` where they don't have it.
    kohya: &'static str,
    diffusers: &'static str,
}

/// `table.name KINDS VALUE "what it means" "kohya's name" "diffusers' name"`.
macro_rules! keys {
    ($($table:literal $name:literal $kinds:expr, $value:expr, $help:literal, $kohya:literal, $diffusers:literal;)*) => {
        &[$(Key { path: ($table, $name), kinds: $kinds, value: $value, help: $help, kohya: $kohya, diffusers: $diffusers },)*]
    };
}

use In::{All, Latents, Only, Weights};
use RunKind::{Autoencoder, Diffusion, Lora};
use Value::{Default, Needed, Off, Unsaid};

/// All of them, in the order of a file.
const KEYS: &[Key] = keys! {
    "" "output" All, Needed("\"run\""), "Where the run is kept. Like every path, it starts from the folder of this file.", "output_dir", "output_dir";

    "data" "folder" All, Needed("\"pictures\""), "The pictures, with metadata.jsonl or metadata.csv, or a .txt beside each.", "train_data_dir", "train_data_dir";
    "data" "held_out" All, Off("\"held_out\""), "Pictures that are only measured.", "", "";
    "data" "size" All, Unsaid("512"), "Side in pixels; pictures are cropped to a centred square and resized.", "resolution", "resolution";
    "data" "random_crop" Only(Autoencoder), Off("256"), "Learn from a part of this side, at a random place.", "random_crop", "";
    "data" "memory_limit_mb" All, Default("2000"), "Decoded pictures are kept in memory up to this many MiB.", "", "";

    "model" "autoencoder" Latents, Unsaid("\"model\""), "A folder or file with the autoencoder.", "vae", "";
    "model" "block_out_channels" Only(Autoencoder), Default("[32, 64, 96]"), "Channels of each level; every level but the last halves the sides.", "", "block_out_channels";
    "model" "layers_per_block" Only(Autoencoder), Default("1"), "Residual blocks in a level of the encoder (the decoder has one more).", "", "layers_per_block";
    "model" "latent_channels" Only(Autoencoder), Default("4"), "Channels of the latents.", "", "latent_channels";
    "model" "norm_num_groups" Only(Autoencoder), Default("16"), "Groups of the group norms. Checkpoints in one file have 32.", "", "norm_num_groups";
    "model" "freeze_encoder" Only(Autoencoder), Default("false"), "Train the decoder alone: latents stay what they are.", "", "";
    "model" "block_out_channels" Only(Diffusion), Unsaid("[320, 640, 1280, 1280]"), "Channels of each level; every level but the last halves the sides. (Here: Stable Diffusion 1's.)", "", "block_out_channels";
    "model" "layers_per_block" Only(Diffusion), Unsaid("2"), "Residual blocks in a level on the way down (the way up has one more).", "", "layers_per_block";
    "model" "attention_levels" Only(Diffusion), Unsaid("[true, true, true, false]"), "Which levels have cross-attention, from the largest.", "", "down_block_types";
    "model" "attention_heads" Only(Diffusion), Unsaid("8"), "Attention heads, one number for all levels or a list.", "", "attention_head_dim";
    "model" "norm_num_groups" Only(Diffusion), Unsaid("32"), "Groups of the group norms. Checkpoints in one file have 32.", "", "norm_num_groups";
    "model" "use_linear_projection" Only(Diffusion), Off("false"), "Whether transformers project by linear maps, as Stable Diffusion 2's, not by 1×1 convolutions.", "", "use_linear_projection";
    "model" "prediction_type" Only(Diffusion), Off("\"epsilon\""), "What the UNet predicts: that of train.init_from, else \"epsilon\"; or \"v_prediction\".", "v_parameterization", "prediction_type";
    "model.text_encoder" "hidden_size" Only(Diffusion), Unsaid("768"), "Width of the text encoder.", "", "hidden_size";
    "model.text_encoder" "num_hidden_layers" Only(Diffusion), Unsaid("12"), "Its transformer layers.", "", "num_hidden_layers";
    "model.text_encoder" "num_attention_heads" Only(Diffusion), Unsaid("12"), "Its attention heads.", "", "num_attention_heads";
    "model.text_encoder" "intermediate_size" Only(Diffusion), Off("3072"), "Width inside its feed-forward layers; else four times hidden_size.", "", "intermediate_size";
    "model.text_encoder" "hidden_act" Only(Diffusion), Off("\"quick_gelu\""), "Activation of its feed-forward layers: \"quick_gelu\" (CLIP) or \"gelu\" (OpenCLIP).", "", "hidden_act";

    "loss" "l1_weight" Only(Autoencoder), Default("1.0"), "Weight of the mean absolute error.", "", "";
    "loss" "edge_weight" Only(Autoencoder), Default("0.0"), "Weight of that of the differences of neighbouring pixels.", "", "";
    "loss" "kl_weight" Only(Autoencoder), Default("1e-6"), "Weight of the Kullback-Leibler divergence, in nats per value of a picture.", "", "kl_scale";
    "loss" "perceptual_weight" Only(Autoencoder), Default("1.0"), "Weight of the perceptual distance, if there is one.", "", "lpips_scale";
    "loss" "perceptual" Only(Autoencoder), Off("{ lpips = { trunk = \"vgg16.pth\", heads = \"vgg.pth\" } }"), "What it is measured by: this, or { efficientnet_lite0 = \"efficientnet-lite0-57934424.pth\" }.", "", "lpips_scale";
    "loss" "discriminator" Only(Autoencoder), Off("{ start = 50001, weight = 0.5, channels = 64, layers = 3 }"), "Train against a discriminator from step `start` on (CompVis' disc_start, disc_weight).", "", "disc_start";
    "loss" "conditioning_dropout" Latents, Default("0.1"), "How likely a caption is replaced by the empty one, so that guidance works.", "caption_dropout_rate", "proportion_empty_prompts";
    "loss" "timesteps" Latents, Default("\"uniform\""), "How timesteps are drawn: \"uniform\", or { logit_normal = { mean = 0.0, std = 1.0 } }.", "timestep_sampling", "weighting_scheme";
    "loss" "weighting" Latents, Default("\"uniform\""), "How samples are weighted: \"uniform\", { min_snr = { gamma = 5.0 } }, or { velocity = { max = 16.0 } } (the loss of v).", "min_snr_gamma", "snr_gamma";
    "loss" "sample_posterior" Latents, Default("true"), "Draw latents from the autoencoder's distribution, else take its mean.", "", "";

    "train" "batch_size" All, Unsaid("4"), "Pictures that go through the network at once.", "train_batch_size", "train_batch_size";
    "train" "gradient_accumulation" All, Default("1"), "Batches whose gradients are averaged for one step.", "gradient_accumulation_steps", "gradient_accumulation_steps";
    "train" "steps" All, Unsaid("10000"), "Steps of the optimiser in the whole run.", "max_train_steps", "max_train_steps";
    "train" "learning_rate" All, Unsaid("1e-4"), "Learning rate after warm-up.", "learning_rate", "learning_rate";
    "train" "warmup_steps" All, Default("0"), "Steps in which the learning rate rises to it.", "lr_warmup_steps", "lr_warmup_steps";
    "train" "decay" Weights, Default("\"cosine\""), "How it falls afterwards: \"cosine\", \"linear\" or \"constant\".", "lr_scheduler", "lr_scheduler";
    "train" "decay" Only(Lora), Default("\"constant\""), "How it falls afterwards: \"cosine\", \"linear\" or \"constant\".", "lr_scheduler", "lr_scheduler";
    "train" "final_ratio" All, Default("0.0"), "What is left of it at the end, as a share.", "lr_scheduler_min_lr_ratio", "";
    "train" "weight_decay" All, Default("0.01"), "Decoupled weight decay of convolutions and linear maps.", "optimizer_args", "adam_weight_decay";
    "train" "betas" All, Default("[0.9, 0.999]"), "Decay of AdamW's two moments.", "optimizer_args", "adam_beta1";
    "train" "eps" All, Default("1e-8"), "AdamW's epsilon.", "optimizer_args", "adam_epsilon";
    "train" "gradient_clip" All, Default("1.0"), "The gradient is scaled down to this norm; 0 for never.", "max_grad_norm", "max_grad_norm";
    "train" "ema_decay" Weights, Default("0.999"), "Decay of the weights' moving average, which is what the run ends in; 0 for none.", "", "use_ema";
    "train" "ema_decay" Only(Lora), Default("0.0"), "Decay of the weights' moving average, which is what the run ends in; 0 for none.", "", "use_ema";
    "train" "seed" All, Default("0"), "Everything random follows from it.", "seed", "seed";
    "train" "checkpointing" All, Default("false"), "Compute the blocks again for the gradient, which saves memory.", "gradient_checkpointing", "gradient_checkpointing";
    "train" "mixed_precision" All, Default("\"no\""), "What products are computed in: \"no\" (f32) or \"bf16\" (processors with AVX-512 BF16).", "mixed_precision", "mixed_precision";
    "train" "init_from" Weights, Off("\"model.safetensors\""), "A model whose weights are the start, or \"builtin\"; what is left out above is as there.", "pretrained_model_name_or_path", "pretrained_model_name_or_path";
    "train" "init_from" Only(Lora), Needed("\"builtin\""), "The model that gets the LoRA: a file, a folder, or \"builtin\".", "pretrained_model_name_or_path", "pretrained_model_name_or_path";

    "lora" "rank" Only(Lora), Default("16"), "Rank of linear maps and 1×1 convolutions.", "network_dim", "rank";
    "lora" "alpha" Only(Lora), Off("8.0"), "The change is multiplied by this over the rank; the rank itself when left out.", "network_alpha", "lora_alpha";
    "lora" "conv_rank" Only(Lora), Off("8"), "Rank of wider convolutions; with it residual blocks are changed too.", "conv_dim", "";
    "lora" "conv_alpha" Only(Lora), Off("4.0"), "The alpha of wider convolutions.", "conv_alpha", "";
    "lora" "dropout" Only(Lora), Default("0.0"), "How likely an input of a change is 0 in a step.", "network_dropout", "lora_dropout";
    "lora" "text_encoder" Only(Lora), Default("true"), "Whether the text encoder is changed too.", "network_train_unet_only", "train_text_encoder";
    "lora" "targets" Only(Lora), Default("[]"), "Modules, as [\"unet.*.attn2.*\", \"*.q_proj\"]; when empty those that kohya takes.", "", "target_modules";

    "report" "sample_every" All, Default("500"), "Steps between sample sheets, and between curves; 0 for none before the end.", "sample_every_n_steps", "validation_steps";
    "report" "evaluate_every" All, Default("500"), "Steps between measurements on held-out pictures; 0 for none.", "validate_every_n_steps", "validation_steps";
    "report" "evaluate_pictures" All, Default("64"), "Held-out pictures that are measured.", "", "";
    "report" "checkpoint_every" All, Default("0"), "Steps between checkpoints; 0 to go by time alone.", "save_every_n_steps", "checkpointing_steps";
    "report" "checkpoint_minutes" All, Default("5.0"), "Minutes between checkpoints.", "", "";
    "report" "keep" All, Default("1"), "Checkpoints that are kept.", "save_last_n_steps", "checkpoints_total_limit";
    "report" "prompts" All, Default("[]"), "The prompts of sample sheets (diffusion).", "sample_prompts", "validation_prompts";
    "report" "guidance_scale" All, Default("5.0"), "Guidance scale of sample sheets.", "", "";
    "report" "sample_steps" All, Default("25"), "Sampler steps of sample sheets.", "", "";
    "report" "precision" All, Default("\"f16\""), "The dtype of the folder that the run ends in: \"f16\" or \"f32\".", "save_precision", "";
};

impl Key {
    fn is_in(&self, kind: RunKind) -> bool {
        match self.kinds {
            All => true,
            Only(only) => only == kind,
            Latents => kind != Autoencoder,
            Weights => kind != Lora,
        }
    }

    /// As `--set` and messages write it.
    fn dotted(&self) -> String {
        let (table, name) = self.path;
        if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
    }
}

/// A config file with every key: what must be given as an example, the rest with its default.
#[must_use]
pub fn template(kind: RunKind) -> String {
    let mut text = format!(
        "# Every setting of `calotype train {0} --config FILE.toml`. Give what has no default; leave out the rest or change it.\n\
         # To fine-tune a model, output, data.folder and train.init_from are enough.\n\
         # In brackets: what kohya's sd-scripts and diffusers' scripts call it.\n",
        kind.name()
    );
    text += &tables(KEYS.iter().filter(|key| key.is_in(kind)), |key| {
        let others = match (key.kohya, key.diffusers) {
            ("", "") => String::new(),
            (kohya, "") => format!(" [kohya: {kohya}]"),
            ("", diffusers) => format!(" [diffusers: {diffusers}]"),
            (kohya, diffusers) if kohya == diffusers => format!(" [both: {kohya}]"),
            (kohya, diffusers) => format!(" [kohya: {kohya}; diffusers: {diffusers}]"),
        };
        let name = key.path.1;
        let (must, line) = match key.value {
            Needed(value) => (" Needed.", format!("{name} = {value}")),
            Unsaid(value) if kind == Lora => (" As train.init_from says when left out.", format!("# {name} = {value}")),
            Unsaid(value) => (" Needed without train.init_from.", format!("{name} = {value}")),
            Default(value) => ("", format!("{name} = {value}")),
            Off(value) => (" Off by default.", format!("# {name} = {value}")),
        };
        format!("# {}{must}{others}\n{line}\n", key.help)
    });
    text
}

/// The lines of these keys, each table under its name.
fn tables<'a>(keys: impl Iterator<Item = &'a Key>, lines: impl Fn(&Key) -> String) -> String {
    let (mut text, mut table) = (String::new(), "");
    for key in keys {
        if key.path.0 != table {
            table = key.path.0;
            let _ = write!(text, "\n[{table}]\n");
        }
        text += &lines(key);
    }
    text
}

/// What a key that is none was meant to be: its name in another tool, or one of ours that is nearly spelt so.
pub(crate) fn meant(unknown: &str) -> Option<String> {
    /// Letters for each change that a misspelt name may have.
    const LETTERS_FOR_A_CHANGE: usize = 3;
    let flat = unknown.trim_start_matches('-').replace('-', "_").to_lowercase();
    let others = [(|key: &Key| key.kohya) as fn(&Key) -> &'static str, |key| key.diffusers];
    let theirs = KEYS.iter().find(|key| others.iter().any(|name| name(key) == flat));
    let most = flat.chars().count() / LETTERS_FOR_A_CHANGE;
    let near = || {
        let distances = KEYS.iter().map(|key| (strsim::osa_distance(key.path.1, &flat), key));
        distances.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= most).map(|(_, key)| key)
    };
    theirs.or_else(near).map(Key::dotted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value as Json;

    use super::*;
    #[cfg(feature = "builtin")]
    use crate::LoraConfig;
    use crate::{
        AutoencoderConfig, DiffusionConfig,
        check::{self, Config},
    };

    fn read<C: Config>(text: &str) -> C {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        std::fs::write(&file, text).unwrap();
        let config: C = check::read(&file, &[]).unwrap().config;
        // Paths from the folder are as they were given.
        let here = format!("{}/", folder.path().display());
        let value = serde_json::to_string(&config).unwrap().replace(&here, "");
        serde_json::from_str(&value).unwrap()
    }

    /// What must be given, and nothing else.
    fn needed(kind: RunKind) -> String {
        let value = |key: &Key| match key.value {
            Needed(value) => Some(value),
            Unsaid(value) if kind != Lora => Some(value),
            _ => None,
        };
        let keys = KEYS.iter().filter(|key| key.is_in(kind) && value(key).is_some());
        tables(keys, |key| format!("{} = {}\n", key.path.1, value(key).unwrap_or_default()))
    }

    /// The keys of a config as the code has them.
    fn of_code(value: &Json, table: &str, keys: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().unwrap() {
            let path = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
            let is_table =
                matches!(path.as_str(), "data" | "model" | "model.text_encoder" | "loss" | "train" | "lora" | "report");
            match is_table {
                true => of_code(value, &path, keys),
                false => _ = keys.insert(path),
            }
        }
    }

    fn holds<C: Config + PartialEq + std::fmt::Debug>() {
        let text = template(C::KIND);
        let all: C = read(&text);
        assert_eq!(all, read::<C>(&needed(C::KIND)), "the defaults are those of the code");
        // With what is off by default, which serde leaves out or writes as null.
        let is_off = |line: &&str| line.starts_with("# ") && line.split(' ').nth(2) == Some("=");
        // But for a start, which would have to be there.
        let on = |line| if is_off(&line) && !line.starts_with("# init_from") { &line[2..] } else { line };
        let on: Vec<&str> = text.lines().map(on).collect();
        let on: C = read(&on.join("\n").replace("random_crop = 256", "random_crop = 512"));
        assert_eq!(read::<C>(&on.whole().unwrap()).whole().unwrap(), on.whole().unwrap(), "what a run keeps");
        let mut found = BTreeSet::new();
        of_code(&serde_json::to_value(&on).unwrap(), "", &mut found);
        // Not written where it is "no".
        found.insert("train.mixed_precision".to_owned());
        // A LoRA's model has its sizes.
        found.retain(|key| C::KIND != Lora || !key.starts_with("model.") || key == "model.autoencoder");
        let listed: BTreeSet<String> = KEYS.iter().filter(|key| key.is_in(C::KIND)).map(Key::dotted).collect();
        assert_eq!(found, listed);
        assert!(on != all && text.lines().all(|line| line.chars().count() < 200));
    }

    #[test]
    fn templates_are_what_the_code_reads() {
        holds::<AutoencoderConfig>();
        holds::<DiffusionConfig>();
    }

    #[cfg(feature = "builtin")]
    #[test]
    fn the_template_of_a_lora_is_what_the_code_reads() {
        holds::<LoraConfig>();
    }

    #[test]
    fn names_of_other_tools_and_slips_are_understood() {
        for (unknown, expected) in [
            ("max_train_steps", Some("train.steps")),
            ("--max-grad-norm", Some("train.gradient_clip")),
            ("snr_gamma", Some("loss.weighting")),
            ("resolution", Some("data.size")),
            ("batchsize", Some("train.batch_size")),
            ("learning_rat", Some("train.learning_rate")),
            ("network_dim", Some("lora.rank")),
            ("x", None),
            ("something_else", None),
        ] {
            assert_eq!(meant(unknown).as_deref(), expected, "{unknown}");
        }
    }
}
