use calotype_formats::Checkpoint;
use calotype_tensor::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CHANNELS, Check, CompVisConfig, LAYERS, LEVELS, ModelConfig, PerBlock, infer};
use crate::{
    AutoencoderKl, Component, Layout, ParamSource, Result, Scope, VaeDecoder, VaeEncoder, params::with_backend,
};

/// The config of diffusers' `AutoencoderKL`, or of its `AutoencoderTiny`, where [`Self::tiny`] says so. Lists run from the highest
/// resolution to the lowest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, tag = "_class_name", rename = "AutoencoderKL")]
pub struct VaeConfig {
    /// Channels of the picture it encodes.
    pub in_channels: usize,
    /// Channels of the picture it decodes to.
    pub out_channels: usize,
    /// `DownEncoderBlock2D` for each resolution.
    pub down_block_types: Vec<String>,
    /// `UpDecoderBlock2D` for each resolution.
    pub up_block_types: Vec<String>,
    /// Channels at each resolution.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Height and width of the pictures it was trained on.
    pub sample_size: Option<PerBlock>,
    /// What latents are multiplied by before diffusion: 1 over their standard deviation.
    pub scaling_factor: f32,
    /// Whether the encoder ends with a 1×1 convolution.
    pub use_quant_conv: bool,
    /// Whether the decoder begins with a 1×1 convolution.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have an attention.
    pub mid_block_add_attention: bool,
    /// The blocks of an `AutoencoderTiny` (TAESD). Of the rest, it has channels, [`Self::block_out_channels`] (its encoder's) and the
    /// scaling factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiny: Option<TinyBlocks>,
}

/// What an `AutoencoderTiny` is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TinyBlocks {
    /// Residual blocks at each resolution of the encoder, from the highest.
    pub encoder: Vec<usize>,
    /// Residual blocks at each resolution of the decoder, from the lowest.
    pub decoder: Vec<usize>,
    /// Channels at each resolution of the decoder, which are all the same.
    pub decoder_channels: Vec<usize>,
}

/// The class of those.
const TINY: &str = "AutoencoderTiny";
/// The channels of TAESD.
const TINY_CHANNELS: [usize; 4] = [64; 4];

/// The only types of block that an autoencoder of this kind has.
const DOWN_BLOCK: &str = "DownEncoderBlock2D";
const UP_BLOCK: &str = "UpDecoderBlock2D";

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![DOWN_BLOCK.into()],
            up_block_types: vec![UP_BLOCK.into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: Some(PerBlock::All(32)),
            scaling_factor: 0.18215,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            tiny: None,
        }
    }
}

impl VaeConfig {
    /// The defaults with `channels` at the resolutions.
    pub fn with_channels(channels: &[usize]) -> Self {
        Self {
            down_block_types: vec![DOWN_BLOCK.into(); channels.len()],
            up_block_types: vec![UP_BLOCK.into(); channels.len()],
            block_out_channels: channels.to_vec(),
            ..Self::default()
        }
    }

    /// Stable Diffusion v1's: 83,653,863 parameters.
    pub fn sd15() -> Self {
        Self {
            layers_per_block: 2,
            sample_size: Some(PerBlock::All(512)),
            ..Self::with_channels(&[128, 256, 512, 512])
        }
    }

    /// An `AutoencoderTiny` with these blocks, of the same width everywhere; latents are not scaled.
    pub fn with_tiny_blocks(tiny: TinyBlocks, channels: usize) -> Self {
        let sample_size = Some(PerBlock::All(512));
        let widths = vec![channels; tiny.encoder.len()];
        Self { scaling_factor: 1.0, sample_size, tiny: Some(tiny), ..Self::with_channels(&widths) }
    }

    /// TAESD: 2,445,063 parameters.
    pub fn taesd() -> Self {
        let tiny = TinyBlocks {
            encoder: vec![1, 3, 3, 3],
            decoder: vec![3, 3, 3, 1],
            decoder_channels: TINY_CHANNELS.to_vec(),
        };
        Self::with_tiny_blocks(tiny, TINY_CHANNELS[0])
    }

    /// Whether a picture has but one latent, from which none is drawn.
    pub fn is_deterministic(&self) -> bool {
        self.tiny.is_some()
    }

    /// Channels at each resolution of the decoder, from the highest.
    pub fn decoder_channels(&self) -> &[usize] {
        self.tiny.as_ref().map_or(&self.block_out_channels, |tiny| &tiny.decoder_channels)
    }

    /// How many rows of latents are decoded at a time where a picture is decoded in bands that know nothing of each other, as that of
    /// an `AutoencoderTiny` is.
    pub fn band_rows(&self) -> Option<usize> {
        self.tiny.as_ref().map(TinyBlocks::band_rows)
    }

    /// How many pixels of the picture one of the latents stands for, in each direction. Pictures must be a multiple of it.
    pub fn downscale(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1).min(*LEVELS.end())
    }

    /// Only the encoder, with parameters from `source`.
    ///
    /// # Errors
    /// As [`ModelConfig::init`].
    pub fn init_encoder<B: Backend>(&self, backend: &B, source: &mut dyn ParamSource) -> Result<VaeEncoder<B::Param>> {
        self.validate()?;
        with_backend(backend, source, |scope| VaeEncoder::new(self, scope))
    }

    /// Only the decoder, with parameters from `source`.
    ///
    /// # Errors
    /// As [`ModelConfig::init`].
    pub fn init_decoder<B: Backend>(&self, backend: &B, source: &mut dyn ParamSource) -> Result<VaeDecoder<B::Param>> {
        self.validate()?;
        with_backend(backend, source, |scope| VaeDecoder::new(self, scope))
    }
}

impl VaeConfig {
    fn validate_tiny(&self, check: &Check, tiny: &TinyBlocks) -> Result<()> {
        let levels = self.block_out_channels.len();
        check.length("num_encoder_blocks", tiny.encoder.len(), levels)?;
        check.length("num_decoder_blocks", tiny.decoder.len(), levels)?;
        check.length("decoder_block_out_channels", tiny.decoder_channels.len(), levels)?;
        for (key, widths) in [
            ("encoder_block_out_channels", &self.block_out_channels),
            ("decoder_block_out_channels", &tiny.decoder_channels),
        ] {
            let first = widths.first().copied().unwrap_or(0);
            check.within(key, first, CHANNELS)?;
            check.that(widths.iter().all(|&width| width == first), || {
                format!("{key} = {widths:?}, expected the same everywhere")
            })?;
        }
        for (key, counts) in [("num_encoder_blocks", &tiny.encoder), ("num_decoder_blocks", &tiny.decoder)] {
            counts.iter().try_for_each(|&count| check.within(key, count, 0..=*LAYERS.end()))?;
        }
        check.within("in_channels", self.in_channels, CHANNELS)?;
        check.within("out_channels", self.out_channels, CHANNELS)?;
        check.within("latent_channels", self.latent_channels, CHANNELS)?;
        check.positive("scaling_factor", self.scaling_factor)
    }
}

impl ModelConfig for VaeConfig {
    type Model<P> = AutoencoderKl<P>;

    const COMPONENT: Component = Component::Vae;

    // `shift_factor`, `latents_mean` and `latents_std` are of other pipelines: those of Stable Diffusion 1 and 2 pass them over.
    fn only_supported(config: &Value) -> Vec<(&'static str, Vec<Value>)> {
        if config.get("tiny").is_some() {
            return vec![
                ("act_fn", vec![json!("relu")]),
                ("upsample_fn", vec![json!("nearest")]),
                ("upsampling_scaling_factor", vec![json!(2)]),
            ];
        }
        vec![
            ("_class_name", vec![json!("AutoencoderKL"), json!(TINY)]),
            ("act_fn", vec![json!("silu"), json!("swish")]),
            ("down_block_types", vec![json!(DOWN_BLOCK)]),
            ("up_block_types", vec![json!(UP_BLOCK)]),
        ]
    }

    /// An `AutoencoderTiny` by the names of here.
    fn as_meant(mut config: Value) -> Value {
        let is_tiny = config.get("_class_name").is_some_and(|class| class == TINY);
        let Some(keys) = config.as_object_mut() else { return config };
        keys.remove("tiny");
        if !is_tiny {
            return config;
        }
        let defaults = Self::taesd();
        let mut take = |key: &str, default: Value| keys.remove(key).unwrap_or(default);
        let channels = take("encoder_block_out_channels", json!(TINY_CHANNELS));
        let blocks = defaults.tiny.as_ref();
        let tiny = json!({
            "encoder": take("num_encoder_blocks", json!(blocks.map(|tiny| &tiny.encoder))),
            "decoder": take("num_decoder_blocks", json!(blocks.map(|tiny| &tiny.decoder))),
            "decoder_channels": take("decoder_block_out_channels", json!(TINY_CHANNELS)),
        });
        let levels = channels.as_array().map_or(0, Vec::len).min(*LEVELS.end() + 1);
        // What it has none of.
        for key in ["_class_name", "layers_per_block", "norm_num_groups"] {
            keys.remove(key);
        }
        for (key, value) in [
            ("block_out_channels", channels),
            ("tiny", tiny),
            ("down_block_types", json!(vec![DOWN_BLOCK; levels])),
            ("up_block_types", json!(vec![UP_BLOCK; levels])),
        ] {
            keys.insert(key.to_owned(), value);
        }
        for (key, value) in [("scaling_factor", json!(1.0)), ("sample_size", json!(512))] {
            keys.entry(key).or_insert(value);
        }
        config
    }

    fn to_json(&self) -> String {
        let Some(tiny) = &self.tiny else { return serde_json::to_string_pretty(self).unwrap_or_default() };
        let json = json!({
            "_class_name": TINY,
            "act_fn": "relu",
            "decoder_block_out_channels": tiny.decoder_channels,
            "encoder_block_out_channels": self.block_out_channels,
            "force_upcast": false,
            "in_channels": self.in_channels,
            "latent_channels": self.latent_channels,
            "latent_magnitude": 3,
            "latent_shift": 0.5,
            "num_decoder_blocks": tiny.decoder,
            "num_encoder_blocks": tiny.encoder,
            "out_channels": self.out_channels,
            "scaling_factor": self.scaling_factor,
            "upsample_fn": "nearest",
            "upsampling_scaling_factor": 2,
        });
        serde_json::to_string_pretty(&json).unwrap_or_default()
    }

    fn validate(&self) -> Result<()> {
        let check = Check(Self::COMPONENT.name());
        let blocks = self.block_out_channels.len();
        check.within("number of block_out_channels", blocks, LEVELS)?;
        if let Some(tiny) = &self.tiny {
            return self.validate_tiny(&check, tiny);
        }
        check.length("down_block_types", self.down_block_types.len(), blocks)?;
        check.length("up_block_types", self.up_block_types.len(), blocks)?;
        check.within("in_channels", self.in_channels, CHANNELS)?;
        check.within("out_channels", self.out_channels, CHANNELS)?;
        check.within("latent_channels", self.latent_channels, CHANNELS)?;
        check.within("layers_per_block", self.layers_per_block, LAYERS)?;
        for &channels in &self.block_out_channels {
            check.within("block_out_channels", channels, CHANNELS)?;
            check.divides("norm_num_groups", self.norm_num_groups, channels)?;
        }
        check.positive("scaling_factor", self.scaling_factor)
    }

    fn infer(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<Self> {
        infer::vae(file, layout, compvis)
    }

    fn build<P>(&self, scope: &mut Scope<'_, P>) -> Result<AutoencoderKl<P>> {
        AutoencoderKl::new(self, scope)
    }
}
