//! Perceptual distances, held to PyPI `lpips` and `efficientnet-lite-pytorch` on weights by formula (`reference/adversary.py`).

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;
#[path = "common/vgg.rs"]
mod vgg;

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use calotype_formats::{Checkpoint, DType, encode_f32, write_safetensors};
use calotype_models::{DiscriminatorConfig, EfficientNetLite0, PerceptualDistance, Random};
use calotype_tensor::{Backend, cpu::Cpu, tape::Tape};
use common::values;
use serde_json::Value;
use vgg::VGG;

fn golden() -> Value {
    let path = format!("{}/tests/goldens/perceptual.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Writes tensors of these names and shapes, whose elements are `value(name, shape, formula)`.
fn write(path: &Path, tensors: &[(String, Vec<usize>)], value: impl Fn(&str, &[usize], f64) -> f64) {
    let tensor = |(name, shape): &(String, Vec<usize>)| {
        let data: Vec<f32> =
            values(name, shape.iter().product()).into_iter().map(|x| value(name, shape, x) as f32).collect();
        (name.clone(), DType::F32, shape.clone(), Cow::from(encode_f32(&data, DType::F32).unwrap()))
    };
    write_safetensors(path, tensors.iter().map(tensor), &BTreeMap::new()).unwrap();
}

fn write_vgg(path: &Path, name_of: impl Fn(usize) -> String) {
    let mut tensors = Vec::new();
    for [place, inputs, outputs] in VGG {
        tensors.push((format!("{}.weight", name_of(place)), vec![outputs, inputs, 3, 3]));
        tensors.push((format!("{}.bias", name_of(place)), vec![outputs]));
    }
    for (i, width) in [64, 128, 256, 512, 512].into_iter().enumerate() {
        tensors.push((format!("lin{i}.model.1.weight"), vec![1, width, 1, 1]));
    }
    write(path, &tensors, |name, shape, x| match shape.len() {
        _ if name.starts_with("lin") => x.abs(),
        1 => 0.1 * x,
        _ => x * (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt(),
    });
}

fn write_efficientnet(path: &Path) {
    let mut tensors = Vec::new();
    let mut add = |conv: String, norm: String, shape: [usize; 4]| {
        tensors.push((format!("{conv}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    };
    add("_conv_stem".into(), "_bn0".into(), [32, 3, 3, 3]);
    let (mut inputs, mut index) = (32, 0);
    let stages =
        [(1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112), (4, 5, 6, 192), (1, 3, 6, 320)];
    for (blocks, side, expansion, outputs) in stages {
        for _ in 0..blocks {
            let name = |part: &str| format!("_blocks.{index}.{part}");
            let width = inputs * expansion;
            if expansion > 1 {
                add(name("_expand_conv"), name("_bn0"), [width, inputs, 1, 1]);
            }
            add(name("_depthwise_conv"), name("_bn1"), [width, 1, side, side]);
            add(name("_project_conv"), name("_bn2"), [outputs, width, 1, 1]);
            (inputs, index) = (outputs, index + 1);
        }
    }
    add("_conv_head".into(), "_bn1".into(), [1280, 320, 1, 1]);
    write(path, &tensors, |name, shape, x| match shape.len() {
        4 => x * (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt(),
        _ if name.ends_with("running_var") || name.ends_with("weight") => 1.0 + 0.1 * x,
        _ => 0.1 * x,
    });
}

fn pictures(name: &str) -> Vec<f32> {
    values(name, 2 * 32 * 40 * 3).into_iter().map(|x| x as f32).collect()
}

fn close(what: &str, got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance * expected.abs(), "{what} is {got}, expected {expected}");
}

fn check(name: &str, golden: &Value, tape: &Tape<Cpu>, distance: &PerceptualDistance<<Tape<Cpu> as Backend>::Param>) {
    let shape = [2, 32, 40, 3].into();
    let x = tape.from_f32(shape, pictures("x")).unwrap();
    let y = tape.leaf(tape.inner().from_f32(shape, pictures("y")).unwrap());
    let loss = distance.distance(tape, &y, &x).unwrap();
    close(name, tape.to_f32(&loss).unwrap()[0].into(), golden["distance"].as_f64().unwrap(), 1e-5);
    assert!(tape.parameters().is_empty());
    let gradients = tape.backward(&loss).unwrap();
    let gradient = tape.inner().to_f32(gradients.leaf(&y).unwrap()).unwrap();
    let norm = gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let expected = golden["gradient_norm"].as_f64().unwrap();
    close(name, norm, expected, 1e-4);
    for (&got, expected_value) in
        gradient.iter().step_by(gradient.len() / 12).zip(golden["gradient"].as_array().unwrap())
    {
        let error = (f64::from(got) - expected_value.as_f64().unwrap()).abs();
        // Relative to the mean size of an element: single ones may be near 0.
        assert!(error < 1e-3 * expected / (gradient.len() as f64).sqrt(), "{name}: {got}, expected {expected_value}");
    }
}

#[test]
fn lpips_is_that_of_the_package_under_both_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vgg.safetensors");
    let golden = golden();
    let slice = |place: usize| 1 + [4, 9, 16, 23].iter().filter(|&&end| place >= end).count();
    for name in ["lpips", "torchvision"] {
        write_vgg(&path, |place| match name {
            "torchvision" => format!("features.{place}"),
            _ => format!("net.slice{}.{place}", slice(place)),
        });
        let file = Checkpoint::open(&path, "").unwrap();
        let tape = Tape::new(Cpu::new(2).unwrap());
        let distance = tape.no_grad(|tape| PerceptualDistance::lpips(tape, &file, &file)).unwrap();
        check(name, &golden[name], &tape, &distance);
    }
}

#[test]
fn efficientnet_lite0_is_that_of_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lite0.safetensors");
    write_efficientnet(&path);
    let (golden, file) = (golden(), Checkpoint::open(&path, "").unwrap());
    let tape = Tape::new(Cpu::new(2).unwrap());
    let distance = tape.no_grad(|tape| PerceptualDistance::efficientnet_lite0(tape, &file)).unwrap();
    check("efficientnet_lite0", &golden["efficientnet_lite0"], &tape, &distance);

    let cpu = Cpu::new(2).unwrap();
    let network = EfficientNetLite0::new(&cpu, &file).unwrap();
    let pooled = network.pooled(&cpu, &cpu.from_f32([2, 32, 40, 3].into(), pictures("x")).unwrap()).unwrap();
    assert!(pooled.len() == 2 && pooled.iter().all(|row| row.len() == 1280));
    let sum: f64 = pooled.iter().flatten().map(|&x| f64::from(x)).sum();
    close("the sum of the features", sum, golden["pooled"]["sum"].as_f64().unwrap(), 1e-5);
    for (row, expected) in pooled.iter().zip(golden["pooled"]["first"].as_array().unwrap()) {
        for (&got, expected) in row.iter().zip(expected.as_array().unwrap()) {
            assert!((f64::from(got) - expected.as_f64().unwrap()).abs() < 1e-4, "{got}, expected {expected}");
        }
    }
}

#[test]
fn a_file_of_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vgg.safetensors");
    write(&path, &[("features.0.weight".into(), vec![64, 3, 5, 5])], |_, _, x| x);
    let file = Checkpoint::open(&path, "").unwrap();
    let cpu = Cpu::new(1).unwrap();
    for (error, expected) in [
        (PerceptualDistance::lpips(&cpu, &file, &file).err(), "features.0.weight is [64, 3, 5, 5]"),
        (PerceptualDistance::efficientnet_lite0(&cpu, &file).err(), "tensor _conv_stem.weight is missing"),
    ] {
        let message = error.unwrap().to_string();
        assert!(message.contains(expected) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn the_discriminator_has_tamings_parameters() {
    let specs = DiscriminatorConfig::default().specs().unwrap();
    assert_eq!(specs.iter().map(|spec| spec.count()).sum::<usize>(), 2_765_633);
    let cpu = Cpu::new(1).unwrap();
    let network = DiscriminatorConfig { channels: 2, layers: 3 }.init(&cpu, &mut Random { seed: 1 }).unwrap();
    let pictures = cpu.from_f32([1, 64, 64, 3].into(), vec![0.5; 64 * 64 * 3]).unwrap();
    assert_eq!(*cpu.shape(&network.forward(&cpu, &pictures).unwrap()), [1, 6, 6, 1]);
}
