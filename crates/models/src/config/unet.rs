use calotype_formats::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CHANNELS, Check, CompVisConfig, LAYERS, LEVELS, ModelConfig, PerBlock, infer, is_before};
use crate::{Component, Layout, Result, Scope, UNet};

/// A `down_block_types` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks only.
    #[serde(rename = "DownBlock2D")]
    Plain,
    /// A transformer after each residual block.
    #[serde(rename = "CrossAttnDownBlock2D")]
    CrossAttention,
}

/// An `up_block_types` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks only.
    #[serde(rename = "UpBlock2D")]
    Plain,
    /// A transformer after each residual block.
    #[serde(rename = "CrossAttnUpBlock2D")]
    CrossAttention,
}

/// The `mid_block_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlockType {
    /// One residual block.
    #[serde(rename = "UNetMidBlock2D")]
    Plain,
    /// A transformer between two residual blocks.
    #[serde(rename = "UNetMidBlock2DCrossAttn")]
    CrossAttention,
}

/// The config of diffusers' `UNet2DConditionModel`. Lists run from the highest resolution to the lowest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, tag = "_class_name", rename = "UNet2DConditionModel")]
pub struct UNetConfig {
    /// Height and width of the latents it was trained on.
    pub sample_size: Option<PerBlock>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Whether the input is mapped by `2x - 1` first.
    pub center_input_sample: bool,
    /// Whether the timestep embedding has its cosines first.
    pub flip_sin_to_cos: bool,
    /// Shifts the frequencies of the timestep embedding.
    pub freq_shift: f32,
    /// The blocks on the way down.
    pub down_block_types: Vec<DownBlockType>,
    /// The block at the bottom, if any.
    pub mid_block_type: Option<MidBlockType>,
    /// The blocks on the way up, from the lowest resolution to the highest.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels at each resolution.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each resolution on the way down; on the way up there is one more.
    pub layers_per_block: PerBlock,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Added to the variance in the residual blocks' norms.
    pub norm_eps: f32,
    /// Width of the context.
    pub cross_attention_dim: PerBlock,
    /// Layers of each transformer.
    pub transformer_layers_per_block: PerBlock,
    /// The number of heads: diffusers misnamed it, and kept the name.
    pub attention_head_dim: PerBlock,
    /// The number of heads, if given by its own name.
    pub num_attention_heads: Option<PerBlock>,
    /// Whether transformers project in and out by linear maps, not 1×1 convolutions.
    pub use_linear_projection: bool,
    /// Width of the time embedding; four times the first block's if not given.
    pub time_embedding_dim: Option<usize>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use {DownBlockType as Down, UpBlockType as Up};
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![Down::CrossAttention, Down::CrossAttention, Down::CrossAttention, Down::Plain],
            mid_block_type: Some(MidBlockType::CrossAttention),
            up_block_types: vec![Up::Plain, Up::CrossAttention, Up::CrossAttention, Up::CrossAttention],
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerBlock::All(2),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: PerBlock::All(1280),
            transformer_layers_per_block: PerBlock::All(1),
            attention_head_dim: PerBlock::All(8),
            num_attention_heads: None,
            use_linear_projection: false,
            time_embedding_dim: None,
        }
    }
}

impl UNetConfig {
    /// Stable Diffusion v1's: 859,520,964 parameters.
    pub fn sd15() -> Self {
        Self { sample_size: Some(PerBlock::All(64)), cross_attention_dim: PerBlock::All(768), ..Self::default() }
    }

    /// What height and width of the latents must be a multiple of: each resolution but the last halves them.
    pub fn latent_multiple(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1).min(*LEVELS.end())
    }

    /// How many heads the attentions of a resolution have.
    pub(crate) fn heads(&self, block: usize) -> usize {
        self.num_attention_heads.as_ref().unwrap_or(&self.attention_head_dim).get(block)
    }

    /// Width of the time embedding.
    pub(crate) fn time_width(&self) -> usize {
        self.time_embedding_dim.unwrap_or_else(|| self.block_out_channels.first().map_or(0, |c| 4 * c))
    }
}

impl ModelConfig for UNetConfig {
    type Model<P> = UNet<P>;

    const COMPONENT: Component = Component::UNet;

    fn only_supported(_: &Value) -> Vec<(&'static str, Vec<Value>)> {
        let null = || vec![Value::Null];
        vec![
            ("_class_name", vec![json!("UNet2DConditionModel")]),
            ("act_fn", vec![json!("silu"), json!("swish")]),
            ("addition_embed_type", null()),
            ("attention_type", vec![json!("default")]),
            ("class_embed_type", null()),
            ("class_embeddings_concat", vec![json!(false)]),
            ("conv_in_kernel", vec![json!(3)]),
            ("conv_out_kernel", vec![json!(3)]),
            ("cross_attention_norm", null()),
            ("downsample_padding", vec![json!(1)]),
            ("dual_cross_attention", vec![json!(false)]),
            ("encoder_hid_dim", null()),
            ("encoder_hid_dim_type", null()),
            ("mid_block_only_cross_attention", vec![Value::Null, json!(false)]),
            ("mid_block_scale_factor", vec![json!(1)]),
            ("num_class_embeds", null()),
            ("only_cross_attention", vec![json!(false)]),
            ("resnet_out_scale_factor", vec![json!(1)]),
            ("resnet_skip_time_act", vec![json!(false)]),
            ("resnet_time_scale_shift", vec![json!("default")]),
            ("reverse_transformer_layers_per_block", null()),
            ("time_cond_proj_dim", null()),
            ("time_embedding_act_fn", null()),
            ("time_embedding_type", vec![json!("positional")]),
            ("timestep_post_act", null()),
        ]
    }

    /// Before diffusers 0.9 the configs of Stable Diffusion said 32, and its pipelines took 64 (`StableDiffusionPipeline`).
    fn as_meant(mut config: Value) -> Value {
        const VERSION: [u64; 2] = [0, 9];
        const LATENTS: u64 = 64;
        if is_before(&config, VERSION) && config["sample_size"].as_u64().is_some_and(|size| size < LATENTS) {
            config["sample_size"] = json!(LATENTS);
        }
        config
    }

    fn validate(&self) -> Result<()> {
        let check = Check(Self::COMPONENT.name());
        let blocks = self.block_out_channels.len();
        check.within("number of block_out_channels", blocks, LEVELS)?;
        check.length("down_block_types", self.down_block_types.len(), blocks)?;
        check.length("up_block_types", self.up_block_types.len(), blocks)?;
        check.within("in_channels", self.in_channels, CHANNELS)?;
        check.within("out_channels", self.out_channels, CHANNELS)?;
        check.within("time_embedding_dim", self.time_width(), CHANNELS)?;
        check.each("layers_per_block", &self.layers_per_block, blocks, LAYERS)?;
        check.each("cross_attention_dim", &self.cross_attention_dim, blocks, CHANNELS)?;
        check.each("transformer_layers_per_block", &self.transformer_layers_per_block, blocks, LAYERS)?;
        if let Some(heads) = &self.num_attention_heads {
            check.each("num_attention_heads", heads, blocks, CHANNELS)?;
        }
        check.each("attention_head_dim", &self.attention_head_dim, blocks, CHANNELS)?;
        for (block, &channels) in self.block_out_channels.iter().enumerate() {
            check.within("block_out_channels", channels, CHANNELS)?;
            check.divides("norm_num_groups", self.norm_num_groups, channels)?;
            check.divides("the number of heads", self.heads(block), channels)?;
        }
        check.positive("norm_eps", self.norm_eps)?;
        let half = self.block_out_channels.first().map_or(0, |c| c / 2) as f32;
        check.that(self.freq_shift.is_finite() && self.freq_shift < half, || {
            format!("freq_shift = {}, expected less than half of the first block's channels ({half})", self.freq_shift)
        })
    }

    fn infer(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<Self> {
        infer::unet(file, layout, compvis)
    }

    fn build<P>(&self, scope: &mut Scope<'_, P>) -> Result<UNet<P>> {
        UNet::new(self, scope)
    }
}
