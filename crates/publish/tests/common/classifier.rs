//! A classifier of images that says what a test wants.

use std::{fs, path::Path};

use calotype_formats::{DType, write_safetensors};

/// A ViT classifier that finds in every image the second of its two classes by the share of `bias`: all else is 0.
pub(crate) fn classifier(folder: &Path, bias: f32) {
    fs::create_dir_all(folder).unwrap();
    let shapes: &[(&str, &[usize])] = &[
        ("vit.embeddings.cls_token", &[1, 1, 4]),
        ("vit.embeddings.position_embeddings", &[1, 2, 4]),
        ("vit.embeddings.patch_embeddings.projection.weight", &[4, 3, 8, 8]),
        ("vit.embeddings.patch_embeddings.projection.bias", &[4]),
        ("vit.layernorm.weight", &[4]),
        ("vit.layernorm.bias", &[4]),
        ("classifier.weight", &[2, 4]),
        ("classifier.bias", &[2]),
    ];
    let layer = "vit.encoder.layer.0";
    let of_layer = ["attention.attention.query", "attention.attention.key", "attention.attention.value"]
        .into_iter()
        .chain(["attention.output.dense", "intermediate.dense", "output.dense"])
        .flat_map(|name| [(format!("{layer}.{name}.weight"), vec![4, 4]), (format!("{layer}.{name}.bias"), vec![4])]);
    let norms = ["layernorm_before", "layernorm_after"]
        .into_iter()
        .flat_map(|name| ["weight", "bias"].map(|part| (format!("{layer}.{name}.{part}"), vec![4])));
    let named = shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    let tensors = named.chain(of_layer).chain(norms).map(|(name, shape)| {
        let count = shape.iter().product();
        let values = if name == "classifier.bias" { vec![0.0, bias] } else { vec![0.0; count] };
        let data = values.iter().flat_map(|value: &f32| value.to_le_bytes()).collect::<Vec<u8>>();
        (name, DType::F32, shape, data.into())
    });
    write_safetensors(folder.join("model.safetensors"), tensors.collect::<Vec<_>>(), &Default::default()).unwrap();
    let config = r#"{"num_attention_heads": 1, "id2label": {"0": "normal", "1": "nsfw"}}"#;
    fs::write(folder.join("config.json"), config).unwrap();
}
