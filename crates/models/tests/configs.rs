//! Configs: sizes that are known, what is refused, and what is written.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use proptest::prelude::*;

use calotype_models::{ModelConfig, ParamSpec, PerBlock, TextConfig, UNetConfig, VaeConfig};
use calotype_tensor::ParamKind;

fn count(config: &impl ModelConfig) -> (usize, usize) {
    let specs = config.specs().unwrap();
    (specs.len(), specs.iter().map(|spec| spec.count()).sum())
}

#[test]
fn stable_diffusion_v1_has_its_size() {
    assert_eq!(count(&UNetConfig::sd15()), (686, 859_520_964));
    assert_eq!(count(&VaeConfig::sd15()), (248, 83_653_863));
    assert_eq!(count(&TextConfig::sd15()), (196, 123_060_480));
    assert_eq!((UNetConfig::sd15().latent_multiple(), VaeConfig::sd15().downscale()), (8, 8));
}

/// What goes into every layer, or out of the network, keeps its bits.
#[test]
fn layers_at_the_ends_of_a_network_are_not_quantised() {
    let wide = |config: &dyn Fn() -> Vec<ParamSpec>| -> Vec<String> {
        let specs = config().into_iter().filter(|spec| !spec.quantise && spec.kind != ParamKind::Vector);
        specs.map(|spec| spec.name).collect()
    };
    let unet = wide(&|| UNetConfig::sd15().specs().unwrap());
    let ends =
        ["conv_in.weight", "time_embedding.linear_1.weight", "time_embedding.linear_2.weight", "conv_out.weight"];
    let (of_time, others): (Vec<_>, Vec<_>) = unet.iter().partition(|name| name.ends_with(".time_emb_proj.weight"));
    assert_eq!((of_time.len(), others), (22, ends.map(str::to_owned).iter().collect::<Vec<_>>()));
    let vae = wide(&|| VaeConfig::sd15().specs().unwrap());
    let ends = ["encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out"];
    assert_eq!(vae, ends.map(|name| format!("{name}.weight")));
    assert!(wide(&|| TextConfig::sd15().specs().unwrap()).is_empty());
}

#[test]
fn configs_survive_writing() {
    let unet = UNetConfig { attention_head_dim: PerBlock::Each(vec![5, 10, 20, 20]), ..UNetConfig::sd15() };
    assert_eq!(UNetConfig::from_json(&unet.to_json()).unwrap(), unet);
    assert_eq!(VaeConfig::from_json(&VaeConfig::sd15().to_json()).unwrap(), VaeConfig::sd15());
    assert_eq!(TextConfig::from_json(&TextConfig::sd15().to_json()).unwrap(), TextConfig::sd15());
    assert!(unet.to_json().contains(r#""_class_name": "UNet2DConditionModel""#));
    let tiny = VaeConfig::from_json(r#"{"_class_name": "AutoencoderTiny"}"#).unwrap();
    assert_eq!((count(&tiny), tiny.downscale()), ((134, 2_445_063), 8));
    assert_eq!(tiny, VaeConfig::taesd());
    assert_eq!(VaeConfig::from_json(&tiny.to_json()).unwrap(), tiny);
    assert!(VaeConfig::sd15().to_json().contains(r#""_class_name": "AutoencoderKL""#));
    assert!(TextConfig::sd15().to_json().contains(r#""model_type": "clip_text_model""#));
}

#[test]
fn missing_keys_have_the_references_defaults_and_unknown_ones_are_ignored() {
    assert_eq!(UNetConfig::from_json("{}").unwrap(), UNetConfig::default());
    assert_eq!(UNetConfig::from_json(r#"{"surprise": [1, {}]}"#).unwrap(), UNetConfig::default());
    assert_eq!(TextConfig::from_json("{}").unwrap(), TextConfig::default());
}

fn refused<C: ModelConfig>(json: &str, message: &str) {
    let error = C::from_json(json).err().unwrap_or_else(|| panic!("{json} was taken")).to_string();
    assert!(error.contains(message), "{error}");
    assert!(!error.contains('\n') && error.len() < 400, "{error}");
}

#[test]
fn what_can_not_be_made_is_refused_by_name_and_value() {
    refused::<UNetConfig>("", "UNet config: not valid JSON");
    refused::<UNetConfig>("[]", "UNet config: ");
    refused::<UNetConfig>("3", "UNet config: ");
    refused::<UNetConfig>(r#"{"_class_name": "UNet2DModel"}"#, r#"_class_name = "UNet2DModel" is not supported"#);
    refused::<UNetConfig>(
        r#"{"class_embed_type": "timestep"}"#,
        r#"class_embed_type = "timestep" is not supported, only null is"#,
    );
    refused::<UNetConfig>(r#"{"only_cross_attention": [false, true]}"#, "only_cross_attention = [false,true]");
    refused::<UNetConfig>(r#"{"resnet_time_scale_shift": "scale_shift"}"#, "resnet_time_scale_shift");
    refused::<UNetConfig>(r#"{"down_block_types": ["AttnDownBlock2D"]}"#, "AttnDownBlock2D");
    refused::<UNetConfig>(r#"{"block_out_channels": []}"#, "number of block_out_channels = 0");
    refused::<UNetConfig>(
        r#"{"block_out_channels": [320, 640]}"#,
        "down_block_types has 4 entries, expected one for each of 2 blocks",
    );
    refused::<UNetConfig>(r#"{"block_out_channels": [320, 640, 1280, 1000000000]}"#, "block_out_channels = 1000000000");
    refused::<UNetConfig>(
        r#"{"block_out_channels": [320, 640, 1280, 1300]}"#,
        "1300 channels can't be divided by norm_num_groups = 32",
    );
    refused::<UNetConfig>(r#"{"attention_head_dim": 0}"#, "attention_head_dim = 0");
    refused::<UNetConfig>(r#"{"attention_head_dim": 7}"#, "320 channels can't be divided by the number of heads = 7");
    refused::<UNetConfig>(r#"{"attention_head_dim": [5, 10]}"#, "attention_head_dim has 2 entries");
    refused::<UNetConfig>(r#"{"attention_head_dim": -8}"#, "UNet config: ");
    refused::<UNetConfig>(r#"{"norm_num_groups": null}"#, "UNet config: ");
    refused::<UNetConfig>(r#"{"norm_num_groups": 0}"#, "norm_num_groups = 0");
    refused::<UNetConfig>(r#"{"norm_eps": -1}"#, "norm_eps = -1");
    refused::<UNetConfig>(r#"{"freq_shift": 160}"#, "freq_shift = 160");
    refused::<UNetConfig>(r#"{"layers_per_block": 4000000000}"#, "layers_per_block = 4000000000");
    refused::<UNetConfig>(r#"{"layers_per_block": 18446744073709551616}"#, "UNet config: ");
    refused::<UNetConfig>(&format!(r#"{{"act_fn": "{}"}}"#, "\\n".repeat(10_000)), "act_fn = ");
    refused::<VaeConfig>(r#"{"_class_name": "VQModel"}"#, "VQModel");
    let tiny = |keys: &str| format!(r#"{{"_class_name": "AutoencoderTiny", {keys}}}"#);
    refused::<VaeConfig>(&tiny(r#""act_fn": "silu""#), r#"act_fn = "silu" is not supported, only "relu" is"#);
    refused::<VaeConfig>(&tiny(r#""upsampling_scaling_factor": 4"#), "upsampling_scaling_factor = 4");
    refused::<VaeConfig>(&tiny(r#""num_decoder_blocks": [1]"#), "num_decoder_blocks has 1 entries");
    refused::<VaeConfig>(&tiny(r#""encoder_block_out_channels": [64, 64, 64, 32]"#), "expected the same everywhere");
    refused::<VaeConfig>(r#"{"down_block_types": ["AttnDownEncoderBlock2D"]}"#, "AttnDownEncoderBlock2D");
    refused::<VaeConfig>(r#"{"scaling_factor": 0}"#, "scaling_factor = 0");
    refused::<VaeConfig>(r#"{"latent_channels": 0}"#, "latent_channels = 0");
    refused::<TextConfig>(r#"{"model_type": "t5"}"#, r#"model_type = "t5""#);
    refused::<TextConfig>(r#"{"hidden_act": "relu"}"#, "relu");
    refused::<TextConfig>(r#"{"num_attention_heads": 0}"#, "num_attention_heads = 0");
    refused::<TextConfig>(r#"{"hidden_size": 100}"#, "100 channels can't be divided by num_attention_heads = 8");
}

/// A value of JSON that may stand at any key.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let one = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (0u64..200).prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    prop_oneof![one.clone(), prop::collection::vec(one, 0..5).prop_map(Into::into)]
}

/// Reads `config` with one key changed: an error of one line, or a config whose parameters can be listed.
fn with_a_key_changed<C: ModelConfig>(config: &C, key: &prop::sample::Index, value: serde_json::Value) {
    let mut json: serde_json::Value = serde_json::from_str(&config.to_json()).unwrap();
    let keys: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
    json[key.get(&keys)] = value;
    match C::from_json(&json.to_string()) {
        Ok(config) => assert!(!config.specs().unwrap().is_empty()),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

proptest! {
    #[test]
    fn no_value_of_any_key_is_a_panic(key in any::<prop::sample::Index>(), value in any_value()) {
        with_a_key_changed(&UNetConfig::default(), &key, value.clone());
        with_a_key_changed(&VaeConfig::sd15(), &key, value.clone());
        with_a_key_changed(&VaeConfig::taesd(), &key, value.clone());
        with_a_key_changed(&TextConfig::default(), &key, value);
    }

    #[test]
    fn no_text_is_a_panic(text in ".*") {
        prop_assert!(UNetConfig::from_json(&text).is_err());
    }
}

#[test]
fn configs_of_other_years_mean_what_they_say() {
    // Python's words for no number, in a key that is passed over and in one that is not.
    assert_eq!(UNetConfig::from_json(r#"{"loss": NaN, "best": -Infinity}"#).unwrap(), UNetConfig::default());
    refused::<UNetConfig>(r#"{"norm_eps": NaN}"#, r#"invalid type: string "NaN""#);
    // Before diffusers 0.9 a size of 32 meant 64.
    let side = |json: &str| UNetConfig::from_json(json).unwrap().sample_size.map(|size| size.get(0));
    assert_eq!(side(r#"{"sample_size": 32, "_diffusers_version": "0.8.1"}"#), Some(64));
    assert_eq!(side(r#"{"sample_size": 32, "_diffusers_version": "0.4.0.dev0"}"#), Some(64));
    assert_eq!(side(r#"{"sample_size": 96, "_diffusers_version": "0.8.1"}"#), Some(96));
    assert_eq!(side(r#"{"sample_size": [32, 48], "_diffusers_version": "0.8.1"}"#), Some(32));
    assert_eq!(side(r#"{"sample_size": 32, "_diffusers_version": "0.9.0"}"#), Some(32));
    assert_eq!(side(r#"{"sample_size": 32, "_diffusers_version": "0.10.2"}"#), Some(32));
    assert_eq!(side(r#"{"sample_size": 32}"#), Some(32));
    // Of other pipelines, or in capitals.
    let vae = VaeConfig::from_json(
        r#"{"sample_size": [128, 64], "act_fn": "SiLU", "shift_factor": 0.1, "latents_mean": [0.5], "latents_std": [2]}"#,
    );
    assert_eq!(vae.unwrap().sample_size, Some(PerBlock::Each(vec![128, 64])));
    refused::<VaeConfig>(r#"{"act_fn": "mish"}"#, r#"act_fn = "mish" is not supported"#);
    // A whole CLIP.
    let clip = r#"{"model_type": "clip", "text_config": {"hidden_size": 24, "model_type": "clip_text_model"}, "vision_config": {}}"#;
    assert_eq!(TextConfig::from_json(clip).unwrap(), TextConfig { hidden_size: 24, ..TextConfig::default() });
    refused::<TextConfig>(r#"{"hidden_act": "gelu_10"}"#, "gelu_10");
}
