//! The keys of adapter files: which module each is for, and what it is of it.
//!
//! A key is a module and a part. Modules are written in two ways, with underscores after a prefix (kohya's sd-scripts,
//! LyCORIS) or with dots (diffusers, PEFT), and in the names of diffusers or of CompVis.

use super::{
    UNetLevel, compvis_unet, folder,
    kind::{BASE_LAYER, PEFT},
};
use crate::Component;

/// What a tensor is of its module's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// LoRA (Hu et al. 2021): `(O, r)`.
    LoraUp,
    /// `(r, I)`, of a convolution `(r, I, KH, KW)`.
    LoraDown,
    /// LoCon's core `(r, r, KH, KW)`; the two others are then 1×1.
    LoraMid,
    /// The scale is this over the rank.
    Alpha,
    /// The scale itself.
    Scale,
    /// DoRA (Liu et al. 2024): the length of each row, or of each column.
    DoraScale,
    /// The length of each row, as PEFT has it.
    Magnitude,
    /// LoHa (Hyeon-Woo et al. 2021): two products, multiplied by element.
    HadaW1A,
    HadaW1B,
    HadaW2A,
    HadaW2B,
    HadaT1,
    HadaT2,
    /// LoKr: a Kronecker product; each factor whole, or a product.
    LokrW1,
    LokrW1A,
    LokrW1B,
    LokrW2,
    LokrW2A,
    LokrW2B,
    LokrT2,
    /// The change itself, of weight and of bias.
    Diff,
    DiffB,
    /// The change of a norm.
    WNorm,
    BNorm,
    /// (IA)³ (Liu et al. 2022): a factor for each row or column, and which of them.
    Ia3,
    OnInput,
}

/// How keys end. An ending that ends another stands after it.
const ENDINGS: [(&str, Part); 42] = [
    (".lora_up.weight", Part::LoraUp),
    (".lora_down.weight", Part::LoraDown),
    (".lora_mid.weight", Part::LoraMid),
    (".lora_B.weight", Part::LoraUp),
    (".lora_A.weight", Part::LoraDown),
    (".lora_B.default.weight", Part::LoraUp),
    (".lora_A.default.weight", Part::LoraDown),
    (".lora_B.default_0.weight", Part::LoraUp),
    (".lora_A.default_0.weight", Part::LoraDown),
    (".lora.up.weight", Part::LoraUp),
    (".lora.down.weight", Part::LoraDown),
    ("_lora.up.weight", Part::LoraUp),
    ("_lora.down.weight", Part::LoraDown),
    (".lora_linear_layer.up.weight", Part::LoraUp),
    (".lora_linear_layer.down.weight", Part::LoraDown),
    ("_lora.alpha", Part::Alpha),
    (".lora.alpha", Part::Alpha),
    (".lora_linear_layer.alpha", Part::Alpha),
    (".alpha", Part::Alpha),
    (".scale", Part::Scale),
    (".dora_scale", Part::DoraScale),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
    (".lora_magnitude_vector.default.weight", Part::Magnitude),
    (".hada_w1_a", Part::HadaW1A),
    (".hada_w1_b", Part::HadaW1B),
    (".hada_w2_a", Part::HadaW2A),
    (".hada_w2_b", Part::HadaW2B),
    (".hada_t1", Part::HadaT1),
    (".hada_t2", Part::HadaT2),
    (".lokr_w1", Part::LokrW1),
    (".lokr_w1_a", Part::LokrW1A),
    (".lokr_w1_b", Part::LokrW1B),
    (".lokr_w2", Part::LokrW2),
    (".lokr_w2_a", Part::LokrW2A),
    (".lokr_w2_b", Part::LokrW2B),
    (".lokr_t2", Part::LokrT2),
    (".diff", Part::Diff),
    (".diff_b", Part::DiffB),
    (".w_norm", Part::WNorm),
    (".b_norm", Part::BNorm),
    (".on_input", Part::OnInput),
];

/// Whether a key is of a change: neither of an embedding, nor of a layer itself, which is there where PEFT's adapter was saved
/// with the layers that it is put around.
pub(crate) fn is_change(key: &str) -> bool {
    bundled_embedding(key).is_none() && !key.contains(BASE_LAYER)
}

/// What is in the keys of changes that are not supported, and what they are.
const UNSUPPORTED: [(&str, &str); 13] = [
    (".oft_blocks", "LyCORIS OFT or BOFT"),
    (".oft_diag", "LyCORIS OFT"),
    (".oft_R", "OFT of PEFT"),
    (".boft_R", "BOFT of PEFT"),
    (".a1.weight", "GLoRA"),
    ("_custom_diffusion.", "Custom Diffusion"),
    (".lora_embedding_A", "a LoRA of an embedding table"),
    (".lora_embedding_B", "a LoRA of an embedding table"),
    (".trainable_tokens_", "trained vectors of tokens (PEFT)"),
    (".modules_to_save.", "whole trained layers (PEFT)"),
    (".vera_lambda_", "VeRA"),
    (".ia3_l", "(IA)³ of PEFT"),
    (".hra_u", "HRA of PEFT"),
];

/// What a key is of, if that is not supported.
pub(crate) fn unsupported(key: &str) -> Option<&'static str> {
    // PEFT's file has the parameters of layers themselves only where they were trained.
    let is_parameter = [".weight", ".bias"].iter().any(|end| key.ends_with(end))
        && matches!(split(key), None | Some((_, Part::Ia3)))
        && is_change(key);
    let trained = (key.starts_with(PEFT) && is_parameter).then_some("trained biases or whole layers (PEFT)");
    UNSUPPORTED.iter().find(|(part, _)| key.contains(part)).map(|(_, name)| *name).or(trained)
}

/// How the key of another part of the same module ends: as that of `key` does, where one word makes the difference.
pub(crate) fn ending_like(key: &str, part: Part) -> Option<&'static str> {
    const TURNS: [(&str, &str); 4] = [("up", "down"), ("down", "up"), ("_A", "_B"), ("_B", "_A")];
    let like = ENDINGS.iter().find(|(ending, _)| key.ends_with(ending)).map_or("", |(ending, _)| *ending);
    let turned = TURNS.map(|(from, to)| like.replacen(from, to, 1));
    let mut of_part = ENDINGS.iter().filter(|(_, known)| *known == part).map(|(ending, _)| *ending);
    of_part.clone().find(|ending| turned.iter().any(|turned| turned == ending)).or_else(|| of_part.next())
}

/// Ends a factor of (IA)³; much else ends so, which is not a part.
const IA3: &str = ".weight";

/// A key's module and part. (IA)³'s factor is told from other weights by [`Part::OnInput`] beside it.
pub(crate) fn split(key: &str) -> Option<(&str, Part)> {
    let all = ENDINGS.iter().copied().chain([(IA3, Part::Ia3)]);
    all.into_iter().find_map(|(ending, part)| Some((key.strip_suffix(ending)?, part)))
}

/// The levels of the UNet whose parameters are called so.
pub(crate) fn levels<'a>(names: impl Iterator<Item = &'a str>) -> Vec<UNetLevel> {
    let mut levels: Vec<UNetLevel> = Vec::new();
    for name in names {
        let mut parts = name.split('.');
        let (Some("down_blocks"), Some(level), kind, Some(layer)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (Ok(level), Ok(layer)) = (level.parse::<usize>(), layer.parse::<usize>()) else { continue };
        levels.resize(levels.len().max(level + 1), UNetLevel { layers: 0, attends: false });
        let here = &mut levels[level];
        match kind {
            Some("resnets") => here.layers = here.layers.max(layer + 1),
            Some("attentions") => here.attends = true,
            _ => {}
        }
    }
    levels
}

/// Everything that files call the module at `path`, such as `mid_block.resnets.0.conv1`, of a text encoder or of a UNet with
/// these levels.
pub(crate) fn modules(component: Component, path: &str, levels: &[UNetLevel]) -> Vec<String> {
    let flat = |prefix: &str, path: &str| format!("{prefix}_{}", path.replace('.', "_"));
    // PEFT alone, trainers that save what it wraps, and diffusers' pipelines.
    let dotted = |network: &str, path: &str| {
        ["", "base_model.model."]
            .map(|prefix| format!("{prefix}{path}"))
            .into_iter()
            .chain([format!("{network}.{path}")])
    };
    match component {
        Component::UNet => {
            let of_compvis = compvis_unet::names(&format!("{path}."), levels).into_iter().flat_map(|name| {
                let name = name.trim_end_matches('.');
                [flat("lora_unet", name), format!("diffusion_model.{name}"), flat("lycoris", name)]
            });
            dotted("unet", path).chain([flat("lora_unet", path), flat("lycoris", path)]).chain(of_compvis).collect()
        }
        Component::TextEncoder | Component::TextEncoder2 => folder::text_encoder(path)
            .iter()
            .flat_map(|path| {
                let flat = ["lora_te", "lora_te1"].map(|prefix| flat(prefix, path));
                dotted("text_encoder", path).chain(flat).collect::<Vec<_>>()
            })
            .collect(),
        Component::Vae => Vec::new(),
    }
}

/// What a module of a file of diffusers before 0.20 is called since: attention processors held the layers then.
pub(crate) fn modern(module: &str) -> String {
    const OF_TEXT_ENCODER: [(&str, &str); 4] =
        [("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"), ("to_out", "out_proj")];
    let module = module.replace(".processor.", ".");
    if let Some((path, last)) = module.rsplit_once('.') {
        if path.ends_with("self_attn") {
            let new = OF_TEXT_ENCODER.iter().find(|(old, _)| *old == last);
            return new.map_or(module.clone(), |(_, new)| format!("{path}.{new}"));
        }
        if last == "to_out" {
            return format!("{module}.0");
        }
    }
    module
}

/// The text encoder's table of tokens.
const TOKEN_TABLE: &str = "token_embedding.weight";

/// Whether this is the text encoder's table of tokens.
pub(crate) fn is_token_table(name: &str) -> bool {
    name.ends_with(TOKEN_TABLE)
}

/// Whether a key is of the vectors of a textual inversion embedding: kohya's, A1111's, or CLIP's among those of two encoders.
/// Otherwise the key is the token.
pub(crate) fn is_embedding(key: &str) -> bool {
    matches!(key, "emb_params" | "clip_l") || is_a1111_embedding(key)
}

/// Whether a key is of the vectors of an embedding in A1111's form.
pub(crate) fn is_a1111_embedding(key: &str) -> bool {
    key.starts_with("string_to_param.")
}

/// The name of an embedding inside of a LoRA's file, and what a file of its own would call the tensor.
pub(crate) fn bundled_embedding(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("bundle_emb.")?.split_once('.')
}

/// Whether a key may stand beside them: the token's number, as the first scripts kept it.
pub(crate) fn beside_an_embedding(key: &str) -> bool {
    key.starts_with("string_to_token.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_modules_and_parts() {
        for (key, expected) in [
            (
                "lora_unet_mid_block_resnets_0_conv1.lora_mid.weight",
                ("lora_unet_mid_block_resnets_0_conv1", Part::LoraMid),
            ),
            ("unet.a.attn1.processor.to_q_lora.down.weight", ("unet.a.attn1.processor.to_q", Part::LoraDown)),
            ("unet.a.attn1.to_q.lora_B.weight", ("unet.a.attn1.to_q", Part::LoraUp)),
            ("unet.a.attn1.to_q.lora.up.weight", ("unet.a.attn1.to_q", Part::LoraUp)),
            ("text_encoder.b.fc1.lora_linear_layer.up.weight", ("text_encoder.b.fc1", Part::LoraUp)),
            ("lora_te_b.alpha", ("lora_te_b", Part::Alpha)),
            ("lora_te_b.lokr_w2_a", ("lora_te_b", Part::LokrW2A)),
            ("lora_te_b.lokr_w2", ("lora_te_b", Part::LokrW2)),
            ("lora_te_b.weight", ("lora_te_b", Part::Ia3)),
        ] {
            assert_eq!(split(key), Some(expected), "{key}");
        }
        assert_eq!(split("model.conv.bias"), None);
    }

    #[test]
    fn no_ending_hides_another() {
        for (n, (ending, part)) in ENDINGS.iter().enumerate() {
            assert_eq!(split(&format!("module{ending}")), Some(("module", *part)), "{n}");
        }
    }

    #[test]
    fn processors_are_what_they_held() {
        for (old, new) in [
            ("unet.a.attn1.processor.to_q", "unet.a.attn1.to_q"),
            ("unet.a.attn1.processor.to_out", "unet.a.attn1.to_out.0"),
            (
                "text_encoder.text_model.encoder.layers.0.self_attn.to_out",
                "text_encoder.text_model.encoder.layers.0.self_attn.out_proj",
            ),
            ("text_encoder.b.mlp.fc1", "text_encoder.b.mlp.fc1"),
        ] {
            assert_eq!(modern(old), new);
        }
    }
}
