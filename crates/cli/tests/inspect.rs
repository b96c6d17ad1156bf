//! `calotype models inspect` and `list` from outside: what is printed, for people and as JSON.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use calotype_formats::{DType, write_safetensors};
use serde_json::Value;
use tempfile::TempDir;

fn calotype(folder: &Path, args: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).env_clear().env("HOME", folder).args(args);
    variables.iter().for_each(|(name, value)| {
        command.env(name, value);
    });
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains(expected) && stderr.starts_with("error: "), "{stderr}");
}

/// A LoRA of one layer, for contexts that are so wide.
fn lora(path: &Path, width: usize) {
    let module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
    let zeros =
        |shape: Vec<usize>| (DType::F16, shape.clone(), Cow::from(vec![0; 2 * shape.iter().product::<usize>()]));
    let tensors = [("lora_down.weight", vec![4, width]), ("lora_up.weight", vec![320, 4])].map(|(part, shape)| {
        let (dtype, shape, data) = zeros(shape);
        (format!("{module}.{part}"), dtype, shape, data)
    });
    let tags = r#"{"10_x": {"cat": 3, "dog": 9}}"#;
    let metadata = [("ss_network_dim", "4"), ("ss_tag_frequency", tags), ("modelspec.trigger_phrase", "inkstyle")];
    let metadata: BTreeMap<String, String> = metadata.map(|(key, value)| (key.into(), value.into())).into();
    write_safetensors(path, tensors, &metadata).unwrap();
}

#[test]
fn an_adapter_is_inspected_alone_and_with_a_model() {
    let place = TempDir::new().unwrap();
    lora(&place.path().join("style.safetensors"), 768);
    let text = stdout(&calotype(place.path(), &["models", "inspect", "style.safetensors"], &[]));
    for line in [
        "style.safetensors: an adapter (LoRA (kohya))",
        "for         Stable Diffusion 1 (contexts 768 wide)",
        "form        LoRA (1)",
        "ranks       4 (1)",
        "unet        1 layers: 1 cross-attention",
        "trigger     inkstyle",
        "tags        dog 9, cat 3",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let json = stdout(&calotype(place.path(), &["models", "inspect", "style.safetensors", "--json"], &[]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["kind"], &json["adapter"]["family"]), (&"file".into(), &"Stable Diffusion 1".into()));
    assert!(json.get("fit").is_none());
    // With a model that it is not for.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji");
    let model = model.to_str().unwrap();
    let text = stdout(&calotype(place.path(), &["models", "inspect", "style.safetensors", "--model", model], &[]));
    assert!(text.contains("fits        not \"emoji\": style.safetensors: "), "{text}");
    refused(
        &calotype(place.path(), &["models", "inspect", model, "--model", model], &[]),
        "this is no LoRA, embedding",
    );
    refused(&calotype(place.path(), &["models", "inspect", "--model", model], &[]), "give the adapter's file");
}

#[test]
fn the_hubs_cache_is_listed_wherever_it_is() {
    let place = TempDir::new().unwrap();
    let cache = place.path().join("elsewhere");
    let snapshot = cache.join("models--org--style/snapshots/abc");
    fs::create_dir_all(&snapshot).unwrap();
    lora(&snapshot.join("pytorch_lora_weights.safetensors"), 768);
    let list = |variables: &[(&str, &Path)]| -> Value {
        serde_json::from_str(&stdout(&calotype(place.path(), &["models", "list", "--json"], variables))).unwrap()
    };
    for variable in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
        let found = list(&[(variable, &cache)]);
        assert_eq!(found[0]["name"], "org/style", "{variable}: {found}");
        assert_eq!(found[0]["what"], "an adapter (LoRA (kohya))");
    }
    assert_eq!(list(&[]), serde_json::json!([]));
    let given = stdout(&calotype(place.path(), &["models", "list", "elsewhere"], &[]));
    assert!(given.contains("org/style"), "{given}");
    refused(&calotype(place.path(), &["models", "list", "nowhere"], &[]), "nowhere: there is no such folder");
}

/// The built-in model tells what it can draw, and which words of a prompt it can't know.
#[test]
fn the_words_of_the_built_in_model_are_told() {
    let place = tempfile::tempdir().unwrap();
    let text = stdout(&calotype(place.path(), &["models", "inspect"], &[]));
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}")).to_owned();
    assert!(line("subjects").contains(", fox, ") && line("backgrounds").contains("blue"), "{text}");
    let json: Value =
        serde_json::from_str(&stdout(&calotype(place.path(), &["models", "inspect", "--json"], &[]))).unwrap();
    assert!(json["vocabulary"]["words"].as_array().unwrap().iter().any(|word| word == "background"));

    let draw = |prompt: &str| {
        let output = calotype(place.path(), &["txt2img", prompt, "--steps", "1", "-o", "-"], &[]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = draw("a photo of a (foxx:1.2) on a blue background");
    let expected = "the model was not trained on \"photo\", \"foxx\" (nearest: \"fox\")";
    assert_eq!(said.matches(expected).count(), 1, "{said}");
    assert!(!draw("a [fox|wolf] on a blue background").contains("not trained"));
}
