//! Classifiers beside diffusers' and transformers' (`reference/classifiers.py`): small networks, weights and images by formula.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/formula.rs"]
mod formula;

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_image::RgbImage;
use calotype_safety::classify::{Classifier, ClipHeads, SafetyChecker, VitClassifier};
use calotype_tensor::{cpu::CpuDevice, reference::ReferenceDevice};
use formula::values;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

#[derive(Deserialize)]
struct Goldens {
    sizes: Vec<[u32; 2]>,
    checker: Checker,
    vit: Vec<Vit>,
}

type Shapes = BTreeMap<String, Vec<usize>>;

#[derive(Deserialize)]
struct Checker {
    config: Value,
    shapes: Shapes,
    embeddings: Vec<Vec<f32>>,
    concepts: Vec<Vec<f32>>,
    special: Vec<Vec<f32>>,
    flagged: Vec<bool>,
}

#[derive(Deserialize)]
struct Vit {
    config: Value,
    shapes: Shapes,
    preprocessor: Value,
    scores: Vec<Vec<f32>>,
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("goldens/classifiers.json")).unwrap()
}

fn weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let is_plain = |name: &str| {
        ["embeds", "embedding.weight", "class_embedding", "cls_token", "position_embeddings"]
            .iter()
            .any(|end| name.ends_with(end))
            || name.contains("position_embedding.weight")
    };
    let scaled = |x: f64| match name {
        "concept_embeds_weights" | "special_care_embeds_weights" => f64::from(0.31 + 0.04 * x as f32),
        _ if is_plain(name) => x,
        _ if shape.len() > 1 => x * (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt(),
        _ if name.ends_with("weight") => 1.0 + 0.1 * x,
        _ => 0.1 * x,
    };
    values(name, shape.iter().product()).map(|x| scaled(x) as f32).collect()
}

fn write(file: &Path, shapes: &Shapes, rename: impl Fn(&str) -> String) {
    let tensors = shapes.iter().map(|(name, shape)| {
        let data = encode_f32(&weight(name, shape), DType::F32).unwrap();
        (rename(name), DType::F32, shape.clone(), Cow::from(data))
    });
    write_safetensors(file, tensors.collect::<Vec<_>>(), &BTreeMap::new()).unwrap();
}

fn image(width: u32, height: u32) -> RgbImage {
    let pixel = |x: u32, y: u32, c: u32| ((x * 7 + y * 13 + c * 50 + x * y % 31 * 3) % 256) as u8;
    let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| pixel(x, y, c))));
    RgbImage::new(width, height, data.collect()).unwrap()
}

fn checker_folder() -> (TempDir, Goldens) {
    let (folder, goldens) = (tempfile::tempdir().unwrap(), goldens());
    let at = folder.path().join("safety_checker");
    fs::create_dir(&at).unwrap();
    write(&at.join("model.safetensors"), &goldens.checker.shapes, str::to_owned);
    fs::write(at.join("config.json"), goldens.checker.config.to_string()).unwrap();
    (folder, goldens)
}

#[test]
fn the_safety_checker_is_diffusers() {
    let (folder, goldens) = checker_folder();
    let device = CpuDevice::new(Default::default()).unwrap();
    let checker = SafetyChecker::open(&device, &folder.path().join("safety_checker")).unwrap();
    let golden = &goldens.checker;
    let thresholds = |name: &str, count| weight(name, &[count]);
    let (of_concepts, of_special) =
        (thresholds("concept_embeds_weights", 17), thresholds("special_care_embeds_weights", 3));
    for (n, &[width, height]) in goldens.sizes.iter().enumerate() {
        let image = image(width, height);
        let embedding = checker.embedding(&image).unwrap();
        let far = embedding.iter().zip(&golden.embeddings[n]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{width} x {height}: {far}");
        let scores = checker.scores(&image).unwrap();
        assert_eq!(scores[0].name, "nsfw");
        assert_eq!(scores[0].value == 1.0, golden.flagged[n], "{width} x {height}");
        let special_found = golden.special[n].iter().zip(&of_special).any(|(cos, threshold)| cos - threshold >= 5e-4);
        let adjustment = if special_found { 0.01 } else { 0.0 };
        for k in 0..17 {
            let expected = golden.concepts[n][k] - of_concepts[k] + adjustment;
            assert!((scores[1 + k].value - expected).abs() < 1e-3, "{width} x {height} concept {k}");
        }
        assert!((scores[18].value - (golden.special[n][0] - of_special[0])).abs() < 1e-3);
        assert_eq!(scores[18].name, "special_care_0");
    }
    assert_eq!(checker.version().len(), 64);
}

/// transformers 4's names have `vision_model.` twice; a whole model's file says whose they are.
#[test]
fn a_checker_in_one_file_is_the_same() {
    let (folder, goldens) = checker_folder();
    let device = ReferenceDevice::<f32>::new();
    let expected = SafetyChecker::open(&device, &folder.path().join("safety_checker")).unwrap();
    let image = image(40, 33);
    let scores = expected.scores(&image).unwrap();
    type Rename = fn(&str) -> String;
    let old: Rename = |name| name.replacen("vision_model.", "vision_model.vision_model.", 1);
    let whole: Rename =
        |name| format!("safety_checker.{}", name.replacen("vision_model.", "vision_model.vision_model.", 1));
    for rename in [old, whole] {
        let file = folder.path().join("checker.safetensors");
        write(&file, &goldens.checker.shapes, rename);
        // Heads are 64 wide where no config says otherwise: these are 8.
        fs::write(folder.path().join("config.json"), goldens.checker.config.to_string()).unwrap();
        let checker = SafetyChecker::open(&device, &file).unwrap();
        assert_eq!(checker.scores(&image).unwrap(), scores);
    }
}

#[test]
fn a_vit_classifier_is_transformers() {
    let goldens = goldens();
    let device = CpuDevice::new(Default::default()).unwrap();
    for golden in &goldens.vit {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("model.safetensors"), &golden.shapes, str::to_owned);
        fs::write(folder.path().join("config.json"), golden.config.to_string()).unwrap();
        fs::write(folder.path().join("preprocessor_config.json"), golden.preprocessor.to_string()).unwrap();
        let classifier = VitClassifier::open(&device, folder.path()).unwrap();
        assert_eq!(classifier.names(), ["normal", "nsfw", "drawing"]);
        for (&[width, height], expected) in goldens.sizes.iter().zip(&golden.scores) {
            let scores = classifier.scores(&image(width, height)).unwrap();
            for (score, expected) in scores.iter().zip(expected) {
                assert!((score.value - expected).abs() < 1e-4, "{width} x {height} {}: {}", score.name, score.value);
            }
        }
    }
}

#[test]
fn heads_are_of_the_embedding() {
    let (folder, _) = checker_folder();
    let device = ReferenceDevice::<f32>::new();
    let encoder = folder.path().join("safety_checker");
    let checker = SafetyChecker::open(&device, &encoder).unwrap();
    let image = image(50, 40);
    let embedding = checker.embedding(&image).unwrap();
    let length = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
    let file = folder.path().join("heads.safetensors");
    let shapes = Shapes::from([
        ("violence.weight".into(), vec![1, 24]),
        ("violence.bias".into(), vec![1]),
        ("q16.weight".into(), vec![2, 24]),
    ]);
    write(&file, &shapes, str::to_owned);
    let heads = ClipHeads::open(&device, &encoder, &file).unwrap();
    assert_eq!(heads.names(), ["q16.0", "q16.1", "violence"]);
    let scores = heads.scores(&image).unwrap();
    let logit = |row: &[f32]| row.iter().zip(&embedding).map(|(w, e)| w * e / length).sum::<f32>();
    let violence = logit(&weight("violence.weight", &[1, 24])) + weight("violence.bias", &[1])[0];
    assert!((scores[2].value - 1.0 / (1.0 + (-violence).exp())).abs() < 1e-5);
    let rows = weight("q16.weight", &[2, 24]);
    let (a, b) = (logit(&rows[..24]).exp(), logit(&rows[24..]).exp());
    assert!((scores[0].value - a / (a + b)).abs() < 1e-5 && (scores[1].value - b / (a + b)).abs() < 1e-5);
    assert_ne!(heads.version(), checker.version());
}

#[test]
fn what_is_no_classifier_is_refused_in_one_line() {
    let (folder, goldens) = checker_folder();
    let device = ReferenceDevice::<f32>::new();
    let at = folder.path().join("safety_checker");
    let file = folder.path().join("other.safetensors");
    let refused = |message: String, expected: &str| {
        assert!(message.contains(expected) && !message.contains('\n') && message.len() < 500, "{message}");
    };
    let checker = |path: &Path| SafetyChecker::open(&device, path).err().unwrap().to_string();
    refused(checker(folder.path()), "no model.safetensors in this folder");
    refused(checker(&folder.path().join("nothing")), "nothing");
    write(&file, &Shapes::from([("x".into(), vec![1])]), str::to_owned);
    refused(checker(&file), "it has no concept_embeds");
    refused(VitClassifier::open(&device, &at).err().unwrap().to_string(), "it has no classifier.weight");
    let without = |name: &str| {
        let mut shapes = goldens.checker.shapes.clone();
        shapes.remove(name);
        write(&at.join("model.safetensors"), &shapes, str::to_owned);
        checker(&at)
    };
    refused(without("concept_embeds_weights"), "tensor concept_embeds_weights is missing");
    refused(without("visual_projection.weight"), "visual_projection.weight is missing");
    let with = |name: &str, shape: Vec<usize>| {
        let mut shapes = goldens.checker.shapes.clone();
        shapes.insert(name.into(), shape);
        write(&at.join("model.safetensors"), &shapes, str::to_owned);
        checker(&at)
    };
    refused(with("concept_embeds", vec![17, 23]), "tensor concept_embeds is [17, 23], expected 17 x 24");
    refused(with("vision_model.embeddings.position_embedding.weight", vec![16, 32]), "one more than a square");
    refused(with("vision_model.encoder.layers.1.mlp.fc1.weight", vec![7, 32]), "fc1.weight is [7, 32]");
    fs::write(at.join("config.json"), r#"{"vision_config": {"num_attention_heads": 5}}"#).unwrap();
    refused(with("x", vec![1]), "num_attention_heads = 5 does not divide its width 32");
    fs::write(at.join("config.json"), "[").unwrap();
    refused(with("x", vec![1]), "not valid JSON");
    let heads = |shape: Vec<usize>, name: &str| {
        fs::write(at.join("config.json"), goldens.checker.config.to_string()).unwrap();
        write(&at.join("model.safetensors"), &goldens.checker.shapes, str::to_owned);
        write(&file, &Shapes::from([(name.to_owned(), shape)]), str::to_owned);
        ClipHeads::open(&device, &at, &file).err().unwrap().to_string()
    };
    refused(heads(vec![1, 768], "a.weight"), "tensor a.weight is [1, 768], expected rows of 24");
    refused(heads(vec![1, 24], "a"), "it has no head");
}
