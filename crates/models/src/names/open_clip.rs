//! OpenCLIP's text tower, in which queries, keys and values are one tensor.

use super::numbered;

/// The modules outside the layers.
const ENDS: [(&str, &str); 3] = [
    ("embeddings.token_embedding.weight", "token_embedding.weight"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm.", "ln_final."),
];

/// The parts of a layer that are tensors of their own.
const LAYER: [(&str, &str); 5] = [
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
    ("self_attn.out_proj.", "attn.out_proj."),
];

/// In the order of their rows.
const FUSED: [&str; 3] = ["self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."];

/// Present where the tower is whole, with the last layer that Stable Diffusion does not use.
pub(super) const PROJECTION: &str = "text_projection";

/// What OpenCLIP calls the parameter of this canonical name, and which part of it the parameter is.
pub(super) fn place(name: &str) -> Option<(String, Option<(usize, usize)>)> {
    let name = name.strip_prefix("text_model.")?;
    let renamed = |names: &[(&str, &str)], name: &str| {
        names.iter().find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
    };
    if let Some(end) = renamed(&ENDS, name) {
        return Some((end, None));
    }
    let (layer, rest) = numbered(name.strip_prefix("encoder.layers.")?)?;
    let fused = FUSED.iter().enumerate().find_map(|(n, ours)| Some((n, rest.strip_prefix(ours)?)));
    if let Some((n, kind)) = fused {
        return Some((format!("transformer.resblocks.{layer}.attn.in_proj_{kind}"), Some((n, FUSED.len()))));
    }
    Some((format!("transformer.resblocks.{layer}.{}", renamed(&LAYER, rest)?), None))
}
