//! What files call the tensors of transformers over images.

use calotype_formats::Checkpoint;

/// The names of a file: asked for by short names, those of CLIP's vision encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VisionNames {
    /// CLIP's, after this prefix; the projection after another.
    Clip {
        /// Before `embeddings` and `encoder`.
        prefix: String,
        /// Before `visual_projection`.
        projection: String,
    },
    /// A ViT classifier of transformers.
    Vit,
}

/// A tensor that every file of CLIP's vision encoder has, after its prefix.
const CLIP_FIRST: &str = "embeddings.patch_embedding.weight";
const VIT_FIRST: &str = "vit.embeddings.patch_embeddings.projection.weight";
/// What may stand before CLIP's names: of the safety checker in a file of its own or in a whole model, and of CLIP itself.
const PREFIXES: [(&str, &str); 5] = [
    ("vision_model.vision_model.", ""),
    ("safety_checker.vision_model.vision_model.", "safety_checker."),
    ("safety_checker.vision_model.", "safety_checker."),
    ("vision_model.", ""),
    ("", ""),
];

/// ViT's names of what CLIP calls otherwise; `{n}` is the layer.
const VIT: [(&str, &str); 8] = [
    ("layer_norm1", "layernorm_before"),
    ("layer_norm2", "layernorm_after"),
    ("self_attn.q_proj", "attention.attention.query"),
    ("self_attn.k_proj", "attention.attention.key"),
    ("self_attn.v_proj", "attention.attention.value"),
    ("self_attn.out_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];

impl VisionNames {
    /// Those of a file; none if it has no such network.
    pub(crate) fn detect(file: &Checkpoint) -> Option<Self> {
        if file.get(VIT_FIRST).is_some() {
            return Some(Self::Vit);
        }
        let of = |(prefix, _): &&(&str, &str)| file.get(&format!("{prefix}{CLIP_FIRST}")).is_some();
        let (prefix, projection) = PREFIXES.iter().find(of)?;
        Some(Self::Clip { prefix: (*prefix).to_owned(), projection: (*projection).to_owned() })
    }

    pub(crate) fn is_vit(&self) -> bool {
        *self == Self::Vit
    }

    /// The name in the file.
    pub(crate) fn of(&self, name: &str) -> String {
        match self {
            Self::Clip { prefix, projection } => match name.split_once('.') {
                Some(("head", rest)) => format!("{projection}visual_projection.{rest}"),
                Some(("layers", _)) => format!("{prefix}encoder.{name}"),
                Some(("pre_layrnorm" | "post_layernorm", _)) => format!("{prefix}{name}"),
                _ => format!("{prefix}embeddings.{name}"),
            },
            Self::Vit => match name {
                "class_embedding" => "vit.embeddings.cls_token".to_owned(),
                "position_embedding.weight" => "vit.embeddings.position_embeddings".to_owned(),
                _ => match name.split_once('.') {
                    Some(("head", rest)) => format!("classifier.{rest}"),
                    Some(("post_layernorm", rest)) => format!("vit.layernorm.{rest}"),
                    Some(("patch_embedding", rest)) => format!("vit.embeddings.patch_embeddings.projection.{rest}"),
                    _ => {
                        let mut name = name.replacen("layers.", "vit.encoder.layer.", 1);
                        for (clip, vit) in VIT {
                            name = name.replacen(clip, vit, 1);
                        }
                        name
                    }
                },
            },
        }
    }
}
