//! What is said of files: adapters, alone and with a model; files of anything else, in bounded time and words.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path, time::Instant};

use calotype::{
    Model, ModelOptions,
    checkpoint::{DType, WeightSet},
};
use calotype_checkpoint::{AdapterInspection, FileInspection, Inspection, ModelInspection, inspect, inspect_for};
use calotype_formats::{encode_f32, write_safetensors};
use tempfile::TempDir;

use crate::common::{
    Sizes, Tensors,
    family::{SD1, UNET, renamed, write},
    write_weights,
};

fn file(path: &Path) -> FileInspection {
    match inspect(path, &ModelOptions::default()).unwrap() {
        Inspection::File(file) => *file,
        other => panic!("{other:?}"),
    }
}

fn write_with(path: &Path, tensors: &Tensors, metadata: &[(&str, &str)]) {
    let encoded = tensors.iter().map(|(name, (shape, data))| {
        (name.clone(), DType::F16, shape.clone(), Cow::from(encode_f32(data, DType::F16).unwrap()))
    });
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    write_safetensors(path, encoded.collect::<Vec<_>>(), &metadata).unwrap();
}

fn zeros(shapes: &[(&str, &[usize])]) -> Tensors {
    let zeros = |shape: &[usize]| (shape.to_vec(), vec![0.0; shape.iter().product()]);
    shapes.iter().map(|(key, shape)| ((*key).to_owned(), zeros(shape))).collect()
}

/// One layer of the UNet and one of the text encoder of Stable Diffusion 1.
fn lora() -> Tensors {
    let mut tensors = zeros(&[
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", &[4, 768]),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight", &[320, 4]),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", &[2, 768]),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight", &[768, 2]),
        ("nonsense", &[1]),
    ]);
    let key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.alpha";
    tensors.insert(key.into(), (vec![], vec![2.0]));
    tensors
}

#[test]
fn a_lora_says_what_it_is() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("style.safetensors");
    let tags = r#"{"10_cat": {"1girl": 7, "solo ": 3}, "2_dog": {"solo": 5, "outdoors": 1}}"#;
    let metadata = [
        ("ss_output_name", "inkstyle"),
        ("ss_base_model_version", "sd_v1"),
        ("ss_sd_model_name", "sd-v1-4.ckpt"),
        ("ss_network_module", "networks.lora"),
        ("ss_network_dim", "4"),
        ("ss_network_alpha", "2.0"),
        ("ss_steps", "1200"),
        ("ss_num_train_images", "40"),
        ("ss_resolution", "(512, 512)"),
        ("ss_tag_frequency", tags),
        ("modelspec.trigger_phrase", "inkstyle"),
    ];
    write_with(&path, &lora(), &metadata);
    let found = file(&path);
    assert_eq!(found.what, "an adapter (LoRA (kohya))");
    let Some(AdapterInspection::Lora(lora)) = &found.adapter else { panic!("{found:?}") };
    assert_eq!(lora.family, Some("Stable Diffusion 1"));
    assert_eq!((lora.context_width, lora.text_width), (Some(768), Some(768)));
    assert_eq!(lora.ranks, BTreeMap::from([(2, 1), (4, 1)]));
    assert_eq!(lora.alphas.iter().map(|a| (a.alpha, a.layers)).collect::<Vec<_>>(), [(2.0, 1)]);
    assert_eq!(lora.layers["unet"], BTreeMap::from([("cross_attention", 1)]));
    assert_eq!(lora.layers["text_encoder"], BTreeMap::from([("self_attention", 1)]));
    assert_eq!((lora.unknown, lora.first_unknown.as_deref()), (1, Some("nonsense")));
    let training = &lora.training;
    assert_eq!(training.trigger.as_deref(), Some("inkstyle"));
    assert_eq!(training.base_file.as_deref(), Some("sd-v1-4.ckpt"));
    assert_eq!(training.network.as_deref(), Some("networks.lora, rank 4, alpha 2.0"));
    let tags: Vec<(&str, u64)> = training.tags.iter().map(|(tag, count)| (tag.as_str(), *count)).collect();
    assert_eq!(tags, [("solo", 8), ("1girl", 7), ("outdoors", 1)]);
    let rows: Vec<(&str, usize)> = found.components.iter().map(|c| (c.name.as_str(), c.tensors)).collect();
    assert_eq!(rows, [("nonsense", 1), ("text_encoder", 2), ("unet", 3)]);
    assert!(found.sha256.starts_with(&found.short_hash) && lora.lora_hash.len() == 12);
    // A1111's hash is of the data: other metadata don't change it.
    write_with(&path, &self::lora(), &[]);
    let again = file(&path);
    let Some(AdapterInspection::Lora(other)) = &again.adapter else { panic!("{again:?}") };
    assert_eq!(other.lora_hash, lora.lora_hash);
    assert_ne!(again.sha256, found.sha256);
    // It can be said as JSON.
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["adapter"]["type"], "lora");
    assert_eq!(json["adapter"]["training"]["tags"][0], serde_json::json!(["solo", 8]));
}

#[test]
fn an_adapter_is_tried_with_a_model() {
    let place = TempDir::new().unwrap();
    SD1.sizes.write(place.path());
    let model = Model::open(place.path()).unwrap();
    let fit = |path: &Path| match inspect_for(path, &model).unwrap() {
        Inspection::File(file) => file.fit.unwrap(),
        other => panic!("{other:?}"),
    };
    let mut tensors = zeros(&[
        ("lora_unet_mid_block_resnets_0_conv1.lora_down.weight", &[4, 64, 3, 3]),
        ("lora_unet_mid_block_resnets_0_conv1.lora_up.weight", &[64, 4, 1, 1]),
    ]);
    tensors.extend((0..100).map(|n| (format!("lora_unet_gone_{n}.lora_down.weight"), (vec![1, 1], vec![0.0]))));
    let path = write(place.path(), "some.safetensors", &tensors);
    let found = fit(&path);
    assert!(found.fits && found.problem.is_none());
    assert_eq!((found.tensors, found.used, found.unet, found.text_encoder), (102, 2, 1, 0));
    assert_eq!((found.unused.len(), found.unused[0].as_str()), (20, "lora_unet_gone_0.lora_down.weight"));
    // Of another family.
    let other = place.path().join("other.safetensors");
    write_with(&other, &lora(), &[]);
    let found = fit(&other);
    assert!(!found.fits && found.problem.as_ref().unwrap().contains("for the layer is"), "{found:?}");
    let vectors = write(place.path(), "word.safetensors", &zeros(&[("emb_params", &[3, 64])]));
    assert!(fit(&vectors).fits);
    let vectors = write(place.path(), "wide.safetensors", &zeros(&[("emb_params", &[3, 768])]));
    assert!(fit(&vectors).problem.unwrap().contains("vectors of 768 numbers, but the model's text encoder has 64"));
    let vae = write(place.path(), "vae.safetensors", &SD1.weights["vae"]);
    let error = inspect_for(vae, &model).unwrap_err().to_string();
    assert!(error.contains("this is no LoRA, embedding or hypernetwork"), "{error}");
}

#[test]
fn embeddings_and_hypernetworks_say_what_they_are() {
    let place = TempDir::new().unwrap();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/goldens");
    let Some(AdapterInspection::Embedding(found)) = file(&goldens.join("adapters_embedding.pt")).adapter else {
        panic!("no embedding")
    };
    assert_eq!((found.tokens, found.width, found.family), (3, 16, None));
    assert_eq!((found.name.as_deref(), found.step.as_deref()), (Some("three"), Some("5")));
    let path = write(place.path(), "two.safetensors", &zeros(&[("<cat>", &[2, 1024])]));
    let Some(AdapterInspection::Embedding(found)) = file(&path).adapter else { panic!("no embedding") };
    assert_eq!((found.tokens, found.name.as_deref(), found.family), (2, Some("<cat>"), Some("Stable Diffusion 2")));
    let path = write(place.path(), "xl.safetensors", &zeros(&[("clip_l", &[4, 768]), ("clip_g", &[4, 1280])]));
    let Some(AdapterInspection::Embedding(found)) = file(&path).adapter else { panic!("no embedding") };
    assert_eq!((found.tokens, found.family), (4, Some("Stable Diffusion XL")));
    let Some(AdapterInspection::Hypernetwork(found)) = file(&goldens.join("adapters_hypernetwork_2.pt")).adapter else {
        panic!("no hypernetwork")
    };
    assert!(found.layer_structure.len() > 1 && !found.widths.is_empty(), "{found:?}");
}

/// Folders of PEFT and of single networks.
#[test]
fn folders_that_are_no_model_say_what_they_are() {
    let place = TempDir::new().unwrap();
    let peft = place.path().join("peft");
    fs::create_dir(&peft).unwrap();
    fs::write(peft.join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 12}"#).unwrap();
    let key = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v";
    let tensors = zeros(&[(&format!("{key}.lora_A.weight"), &[4, 768]), (&format!("{key}.lora_B.weight"), &[320, 4])]);
    write_weights(&peft.join("adapter_model.safetensors"), &tensors);
    let found = file(&peft);
    assert_eq!(found.what, "an adapter (PEFT)");
    let Some(AdapterInspection::Lora(lora)) = found.adapter else { panic!("no LoRA") };
    assert_eq!((lora.alphas[0].alpha, lora.family), (12.0, Some("Stable Diffusion 1")));
    let model = place.path().join("model");
    fs::create_dir(&model).unwrap();
    Sizes::default().write(&model);
    assert_eq!(file(&model.join("vae")).components[0].name, "decoder");
    let error = inspect(peft.join("nothing"), &ModelOptions::default()).unwrap_err().to_string();
    assert!(error.contains("there is no such file or folder"), "{error}");
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let error = inspect(&empty, &ModelOptions::default()).unwrap_err().to_string();
    assert!(error.contains("no diffusers model") && !error.contains('\n'), "{error}");
}

/// Ten thousand keys that nothing asks for are a few rows, in a moment.
#[test]
fn extra_keys_are_few_words() {
    let place = TempDir::new().unwrap();
    let mut tensors = SD1.compvis();
    tensors.extend((0..10_000).map(|n| (format!("junk{n}.weight"), (vec![1], vec![0.0]))));
    let path = write(place.path(), "model.safetensors", &tensors);
    let start = Instant::now();
    let Inspection::Model(model) = inspect(&path, &ModelOptions::default()).unwrap() else { panic!("no model") };
    assert!(start.elapsed().as_secs_f64() < 5.0, "{:?}", start.elapsed());
    assert_eq!(model.extra.len(), 40);
    assert_eq!(model.extra.iter().map(|component| component.tensors).sum::<usize>(), 10_000);
    assert_eq!(model.extra[39].name, "9961 more");
    assert!(serde_json::to_string(&model).unwrap().len() < 20_000);
}

fn model(path: &Path, options: &ModelOptions) -> ModelInspection {
    match inspect(path, options).unwrap() {
        Inspection::Model(model) => *model,
        other => panic!("{other:?}"),
    }
}

/// EMA, raw or neither told, and what is said of it.
fn sets(path: &Path, options: &ModelOptions) -> (bool, bool, &'static str, String) {
    let found = model(path, options);
    (found.weights.ema, found.weights.raw, found.weights.used, found.warnings.join("; "))
}

#[test]
fn raw_weights_are_warned_of_and_no_others() {
    let place = TempDir::new().unwrap();
    let none = ModelOptions::default();
    let raw = ModelOptions { weights: WeightSet::Raw, ..none.clone() };
    let plain = SD1.compvis();
    let quiet = String::new();
    let path = write(place.path(), "plain.safetensors", &plain);
    assert_eq!(sets(&path, &none), (false, true, "single", quiet.clone()));
    // What CompVis' script leaves when it puts the average in the place of the raw weights: they are the average.
    let mut pruned = plain.clone();
    pruned.insert("model_ema.decay".into(), (vec![], vec![0.9999]));
    pruned.insert("model_ema.num_updates".into(), (vec![], vec![7.0]));
    assert_eq!(sets(&write(place.path(), "pruned.safetensors", &pruned), &none), (false, true, "ema", quiet.clone()));
    // Both.
    let unet: Tensors =
        plain.iter().filter(|(name, _)| name.starts_with(UNET)).map(|(n, t)| (n.clone(), t.clone())).collect();
    let mut full = pruned.clone();
    full.extend(renamed(&unet, |name| format!("model_ema.{}", name["model.".len()..].replace('.', ""))));
    let path = write(place.path(), "full.safetensors", &full);
    assert_eq!(sets(&path, &none), (true, true, "ema", quiet.clone()));
    let (ema, has_raw, used, warning) = sets(&path, &raw);
    assert_eq!((ema, has_raw, used), (true, true, "raw"));
    assert!(warning.contains("leave out --weights raw"), "{warning}");
    // With an optimiser, and no average.
    let mut training = plain.clone();
    training.insert("optimizer_states.0.exp_avg".into(), (vec![2], vec![0.0; 2]));
    let (ema, _, used, warning) = sets(&write(place.path(), "training.safetensors", &training), &none);
    assert_eq!((ema, used), (false, "raw"));
    assert!(warning.contains("there are only raw weights here") && warning.contains("optimiser"), "{warning}");
    // A config that says so, given or beside the file; the published ones for making pictures say the opposite.
    for (use_ema, expected) in [(true, "its config has use_ema: true, but no average"), (false, "")] {
        let config = place.path().join("config.yaml");
        fs::write(&config, format!("model: {{params: {{use_ema: {use_ema}}}}}")).unwrap();
        let options = ModelOptions { config: Some(config), ..none.clone() };
        for (name, expected) in [("plain", expected), ("pruned", ""), ("full", "")] {
            let warning = sets(&place.path().join(format!("{name}.safetensors")), &options).3;
            assert!(warning.starts_with(expected) && (warning.is_empty() == expected.is_empty()), "{name}: {warning}");
        }
    }
}

#[test]
fn sets_of_a_folder_are_told_by_variants() {
    let place = TempDir::new().unwrap();
    let none = ModelOptions::default();
    let raw = ModelOptions { weights: WeightSet::Raw, ..none.clone() };
    let folder = place.path();
    SD1.sizes.write(folder);
    assert_eq!(sets(folder, &none), (false, true, "single", String::new()));
    let [plain, non_ema] =
        ["", ".non_ema"].map(|variant| folder.join(format!("unet/diffusion_pytorch_model{variant}.safetensors")));
    fs::copy(&plain, &non_ema).unwrap();
    assert_eq!(sets(folder, &none), (true, true, "ema", String::new()));
    let found = sets(folder, &raw);
    assert!(found.2 == "raw" && found.3.contains("leave out --weights raw"), "{found:?}");
    fs::remove_file(&plain).unwrap();
    let found = sets(folder, &none);
    assert!(!found.0 && found.2 == "raw" && found.3.contains("only raw weights here"), "{found:?}");
    // As a script of diffusers keeps both: `unet` and `unet_ema`.
    fs::rename(&non_ema, &plain).unwrap();
    fs::create_dir(folder.join("unet_ema")).unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs::copy(folder.join("unet").join(name), folder.join("unet_ema").join(name)).unwrap();
    }
    assert_eq!((sets(folder, &none).0, sets(folder, &none).2), (true, "ema"));
    let found = sets(folder, &raw);
    assert!(found.2 == "raw" && found.3.contains("leave out --weights raw"), "{found:?}");
}

/// A file that was made in its full size before the download was cut off.
#[test]
fn zeros_at_the_end_are_warned_of() {
    let place = TempDir::new().unwrap();
    let path = write(place.path(), "model.safetensors", &SD1.compvis());
    assert!(model(&path, &ModelOptions::default()).warnings.is_empty());
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 100_000..].fill(0);
    fs::write(&path, bytes).unwrap();
    let warnings = model(&path, &ModelOptions::default()).warnings;
    assert!(matches!(warnings.as_slice(), [one] if one.contains("64 KiB are zeros")), "{warnings:?}");
    assert!(
        calotype_checkpoint::verify(&path, &ModelOptions::default(), None, &mut |_, _| true).unwrap().ends_in_zeros
    );
}
