//! The diffusers folder through the years.

/// The attention of the VAE's middle, now and before diffusers 0.15.
const VAE_ATTENTION: [(&str, &str); 4] =
    [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];

/// transformers 5 leaves out this prefix, earlier versions have it.
const TEXT_PREFIX: &str = "text_model.";

/// Constants that transformers before 4.31 saved beside the weights.
const TEXT_POSITION_IDS: &str = "embeddings.position_ids";

/// What a whole CLIP has beside its text encoder, and a text encoder with a projection.
const REST_OF_CLIP: [&str; 4] = ["vision_model.", "visual_projection.", "text_projection.", "logit_scale"];

pub(super) fn vae(name: &str) -> Vec<String> {
    let mut keys = vec![name.to_owned()];
    if let Some((path, rest)) = name.split_once("attentions.0.") {
        let old = VAE_ATTENTION.iter().find_map(|(new, old)| Some((old, rest.strip_prefix(new)?)));
        keys.extend(old.map(|(old, rest)| format!("{path}attentions.0.{old}{rest}")));
    }
    keys
}

pub(super) fn text_encoder(name: &str) -> Vec<String> {
    let short = name.strip_prefix(TEXT_PREFIX).map(str::to_owned);
    [name.to_owned()].into_iter().chain(short).collect()
}

pub(super) fn text_encoder_ignores(key: &str) -> bool {
    key.strip_prefix(TEXT_PREFIX).unwrap_or(key) == TEXT_POSITION_IDS
        || REST_OF_CLIP.iter().any(|rest| key.starts_with(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_known() {
        assert_eq!(
            vae("encoder.mid_block.attentions.0.to_out.0.weight"),
            ["encoder.mid_block.attentions.0.to_out.0.weight", "encoder.mid_block.attentions.0.proj_attn.weight"]
        );
        assert_eq!(vae("decoder.conv_in.bias"), ["decoder.conv_in.bias"]);
        assert_eq!(
            text_encoder("text_model.final_layer_norm.bias"),
            ["text_model.final_layer_norm.bias", "final_layer_norm.bias"]
        );
        assert!(text_encoder_ignores("text_model.embeddings.position_ids"));
        assert!(text_encoder_ignores("vision_model.embeddings.class_embedding"));
        assert!(!text_encoder_ignores("text_model.embeddings.token_embedding.weight"));
    }
}
