use calotype_formats::Checkpoint;
use calotype_tensor::Backend;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CHANNELS, Check, CompVisConfig, LAYERS, LEVELS, ModelConfig, PerBlock, infer};
use crate::{
    AutoencoderKl, Component, Layout, ParamSource, Result, Scope, VaeDecoder, VaeEncoder, params::with_backend,
};

/// The config of diffusers' `AutoencoderKL`. Lists run from the highest resolution to the lowest.
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
}

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

impl ModelConfig for VaeConfig {
    type Model<P> = AutoencoderKl<P>;

    const COMPONENT: Component = Component::Vae;

    // `shift_factor`, `latents_mean` and `latents_std` are of other pipelines: those of Stable Diffusion 1 and 2 pass them over.
    fn only_supported() -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("_class_name", vec![json!("AutoencoderKL")]),
            ("act_fn", vec![json!("silu"), json!("swish")]),
            ("down_block_types", vec![json!(DOWN_BLOCK)]),
            ("up_block_types", vec![json!(UP_BLOCK)]),
        ]
    }

    fn validate(&self) -> Result<()> {
        let check = Check(Self::COMPONENT.name());
        let blocks = self.block_out_channels.len();
        check.within("number of block_out_channels", blocks, LEVELS)?;
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
