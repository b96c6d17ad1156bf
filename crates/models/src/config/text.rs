use calotype_formats::Checkpoint;
use calotype_tensor::Activation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CHANNELS, Check, CompVisConfig, ModelConfig, infer};
use crate::{ClipTextEncoder, Component, Layout, Result, Scope};

/// The activation between the two layers of a text encoder's MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// `x · sigmoid(1.702 x)`: OpenAI's CLIP.
    QuickGelu,
    /// The exact GELU: OpenCLIP.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// GELU by a hyperbolic tangent (Hendrycks & Gimpel 2016), under each of the names that transformers has for it.
    #[serde(
        rename = "gelu_pytorch_tanh",
        alias = "gelu_python_tanh",
        alias = "gelu_new",
        alias = "gelu_fast",
        alias = "gelu_accurate"
    )]
    GeluTanh,
    /// `x · sigmoid(x)`.
    #[serde(alias = "swish")]
    Silu,
}

impl HiddenAct {
    /// What a backend computes it by; none of what it has no operation for.
    pub(crate) fn native(self) -> Option<Activation> {
        match self {
            Self::QuickGelu => Some(Activation::QuickGelu),
            Self::Gelu => Some(Activation::Gelu),
            Self::Silu => Some(Activation::Silu),
            Self::GeluTanh => None,
        }
    }
}

/// The config of transformers' `CLIPTextModel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, tag = "model_type", rename = "clip_text_model")]
pub struct TextConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the context.
    pub hidden_size: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// Width of CLIP's joint space; not used here.
    pub projection_dim: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// The longest sequence, 77 in CLIP.
    pub max_position_embeddings: usize,
    /// Activation of the MLPs.
    pub hidden_act: HiddenAct,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f32,
    /// Whether what follows the end of a text is not attended to: Stable Diffusion's encoders attend to it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_attention_mask: bool,
    /// The id that fills up a sequence, as transformers' config has it; CLIP's tokenizer has its own.
    pub pad_token_id: Option<i64>,
    /// The id that begins a sequence.
    pub bos_token_id: Option<i64>,
    /// The id that ends a sequence.
    pub eos_token_id: Option<i64>,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: HiddenAct::QuickGelu,
            layer_norm_eps: 1e-5,
            use_attention_mask: false,
            pad_token_id: Some(1),
            bos_token_id: Some(49406),
            eos_token_id: Some(49407),
        }
    }
}

impl TextConfig {
    /// Whether it is OpenCLIP's, which has the exact GELU; CLIP has another.
    #[must_use]
    pub fn is_open_clip(&self) -> bool {
        self.hidden_act == HiddenAct::Gelu
    }

    /// The id that ends a text. transformers' first configs of CLIP say 2, which its tokenizer never made.
    pub(crate) fn end_of_text(&self) -> u32 {
        const WRONG: i64 = 2;
        const CLIP: u32 = 49407;
        let said = self.eos_token_id.filter(|&id| id != WRONG).and_then(|id| u32::try_from(id).ok());
        said.unwrap_or(CLIP)
    }

    /// Stable Diffusion v1's, CLIP ViT-L/14: 123,060,480 parameters.
    pub fn sd15() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 768,
            num_attention_heads: 12,
            ..Self::default()
        }
    }
}

impl ModelConfig for TextConfig {
    type Model<P> = ClipTextEncoder<P>;

    const COMPONENT: Component = Component::TextEncoder;

    fn only_supported(_: &Value) -> Vec<(&'static str, Vec<Value>)> {
        vec![("model_type", vec![json!("clip_text_model")])]
    }

    /// Of a whole CLIP's config, its text encoder's part, as transformers takes it.
    fn as_meant(mut config: Value) -> Value {
        if config["model_type"] == "clip" && config["text_config"].is_object() {
            let mut text = config["text_config"].take();
            text["model_type"] = json!("clip_text_model");
            // It stands beside the part, and the pipeline asks the whole.
            if let Some(mask) = config.get("use_attention_mask") {
                text["use_attention_mask"] = mask.clone();
            }
            return text;
        }
        config
    }

    fn validate(&self) -> Result<()> {
        let check = Check(Self::COMPONENT.name());
        check.within("vocab_size", self.vocab_size, 1..=1 << 24)?;
        check.within("hidden_size", self.hidden_size, CHANNELS)?;
        check.within("intermediate_size", self.intermediate_size, 1..=1 << 20)?;
        check.within("num_hidden_layers", self.num_hidden_layers, 1..=1 << 10)?;
        check.within("max_position_embeddings", self.max_position_embeddings, 1..=1 << 20)?;
        check.divides("num_attention_heads", self.num_attention_heads, self.hidden_size)?;
        check.positive("layer_norm_eps", self.layer_norm_eps)
    }

    fn infer(file: &Checkpoint, layout: &Layout, compvis: &CompVisConfig) -> Result<Self> {
        infer::text(file, layout, compvis)
    }

    fn build<P>(&self, scope: &mut Scope<'_, P>) -> Result<ClipTextEncoder<P>> {
        ClipTextEncoder::new(self, scope)
    }
}
