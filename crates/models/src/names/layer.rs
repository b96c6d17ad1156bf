//! Which network the module of an adapter's key is of, and what it does there: told by the key alone, for files of any model.

use std::fmt;

use crate::{Component, family};

/// What a layer does in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LayerKind {
    /// Queries, keys, values and output of attention to the text.
    CrossAttention,
    /// Those of a picture's or a text's attention to itself.
    SelfAttention,
    /// The feed-forward part of a transformer.
    FeedForward,
    /// The linear map or 1×1 convolution before and after a transformer.
    Projection,
    /// Residual blocks, and what changes the resolution.
    Convolution,
    /// What is made of the timestep.
    TimeEmbedding,
    /// The tables of tokens and positions.
    Embedding,
    /// A norm.
    Norm,
    /// None of these.
    Other,
}

impl LayerKind {
    /// As one word.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::CrossAttention => "cross_attention",
            Self::SelfAttention => "self_attention",
            Self::FeedForward => "feed_forward",
            Self::Projection => "projection",
            Self::Convolution => "convolution",
            Self::TimeEmbedding => "time_embedding",
            Self::Embedding => "embedding",
            Self::Norm => "norm",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id().replace('_', "-"))
    }
}

/// What begins the names of a network, dots as underscores.
const NETWORKS: [(&str, Component); 9] = [
    ("lora_te2_", Component::TextEncoder2),
    ("text_encoder_2_", Component::TextEncoder2),
    ("lora_te1_", Component::TextEncoder),
    ("lora_te_", Component::TextEncoder),
    ("text_encoder_", Component::TextEncoder),
    ("lora_unet_", Component::UNet),
    ("unet_", Component::UNet),
    ("diffusion_model_", Component::UNet),
    ("transformer_", Component::UNet),
];

/// What is in the names of layers, the first that is there decides.
const KINDS: [(&[&str], LayerKind); 8] = [
    (&["_attn2_"], LayerKind::CrossAttention),
    (&["_attn1_", "_self_attn_", "_attn_"], LayerKind::SelfAttention),
    (&["_ff_", "_mlp_"], LayerKind::FeedForward),
    (&["_proj_in_", "_proj_out_"], LayerKind::Projection),
    (&["_time_emb", "_emb_layers_"], LayerKind::TimeEmbedding),
    (&["_token_embedding_", "_position_embedding_"], LayerKind::Embedding),
    (&["norm", "_in_layers_0_", "_out_layers_0_", "_out_0_"], LayerKind::Norm),
    (
        &["_conv", "_in_layers_2_", "_out_layers_3_", "_skip_connection_", "_op_", "_input_blocks_0_0_", "_out_2_"],
        LayerKind::Convolution,
    ),
];

/// The network and the kind of the layer that a module of an adapter changes; none if its name tells no network.
pub(crate) fn layer(module: &str) -> Option<(Component, LayerKind)> {
    let flat = module.replace('.', "_");
    let flat = flat.strip_prefix("base_model_model_").unwrap_or(&flat);
    let flat = flat.strip_prefix("lycoris_").unwrap_or(flat);
    let named = NETWORKS.iter().find(|(prefix, _)| flat.starts_with(prefix)).map(|(_, network)| *network);
    // Without a prefix: PEFT's own files, and LyCORIS'.
    let network = named.or_else(|| {
        let starts = |with: &[&str]| with.iter().any(|with| flat.starts_with(with));
        match () {
            () if starts(&["text_model_", "encoder_layers_", "embeddings_", "final_layer_norm"]) => {
                Some(Component::TextEncoder)
            }
            () if starts(&["down_blocks_", "mid_block_", "up_blocks_", "conv_", "time_embed"])
                || starts(&["input_blocks_", "middle_block_", "output_blocks_", "out_"]) =>
            {
                Some(Component::UNet)
            }
            () => None,
        }
    })?;
    let ended = format!("_{flat}_");
    let kind = KINDS.iter().find(|(words, _)| words.iter().any(|word| ended.contains(word))).map(|(_, kind)| *kind);
    Some((network, kind.unwrap_or(LayerKind::Other)))
}

/// Whether a module's inputs are the text's vectors, so that they are as wide as the model's contexts.
pub(crate) fn reads_context(module: &str) -> bool {
    let flat = module.replace('.', "_");
    // Keys and values of attention to the text; diffusers' processors held them once.
    flat.contains("attn2_") && (flat.ends_with("to_k") || flat.ends_with("to_v"))
}

/// Whether a module's inputs are as wide as the text encoder.
pub(crate) fn reads_hidden_states(module: &str) -> bool {
    ["q_proj", "k_proj", "v_proj"].iter().any(|last| module.ends_with(last))
}

/// What is in the names of models that are no UNet of Stable Diffusion 1 or 2, dots as underscores, and their families.
const OTHERS: [(&[&str], &str); 3] = [
    (&["_double_blocks_", "_single_blocks_", "_single_transformer_blocks_"], "Flux"),
    (&["_joint_blocks_", "_add_k_proj"], "Stable Diffusion 3"),
    (&["_add_embedding_", "_label_emb_"], family::XL),
];

/// The family that a module's name tells of, if it is none of Stable Diffusion 1 or 2.
pub(crate) fn other_family(module: &str) -> Option<&'static str> {
    let flat = module.replace('.', "_");
    OTHERS.iter().find(|(words, _)| words.iter().any(|word| flat.contains(word))).map(|(_, family)| *family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_by_their_names() {
        use Component::{TextEncoder as Text, TextEncoder2 as Text2, UNet};
        use LayerKind::*;
        for (module, expected) in [
            ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", Some((UNet, CrossAttention))),
            ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_out_0", Some((UNet, SelfAttention))),
            ("unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", Some((UNet, FeedForward))),
            ("base_model.model.up_blocks.1.attentions.2.proj_in", Some((UNet, Projection))),
            ("lycoris_mid_block_resnets_0_time_emb_proj", Some((UNet, TimeEmbedding))),
            ("lora_unet_time_embedding_linear_1", Some((UNet, TimeEmbedding))),
            ("lora_unet_mid_block_resnets_0_conv1", Some((UNet, Convolution))),
            ("lora_unet_mid_block_resnets_0_norm1", Some((UNet, Norm))),
            ("lora_unet_input_blocks_3_0_op", Some((UNet, Convolution))),
            ("lora_unet_conv_in", Some((UNet, Convolution))),
            ("lora_unet_conv_norm_out", Some((UNet, Norm))),
            ("lora_te_text_model_encoder_layers_0_mlp_fc1", Some((Text, FeedForward))),
            ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", Some((Text, SelfAttention))),
            ("lora_te2_text_model_encoder_layers_31_self_attn_q_proj", Some((Text2, SelfAttention))),
            ("base_model.model.text_model.embeddings.token_embedding", Some((Text, Embedding))),
            ("optimizer.7", None),
        ] {
            assert_eq!(layer(module), expected, "{module}");
        }
        assert!(reads_context("unet.x.attn2.processor.to_k") && !reads_context("unet.x.attn2.to_q"));
        assert_eq!(other_family("lora_unet_double_blocks_0_img_attn_proj"), Some("Flux"));
    }
}
