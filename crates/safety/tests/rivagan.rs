//! RivaGAN's reader beside torch and beside the Python package (`reference/rivagan.py`).
//!
//! With the package's weights in `CALOTYPE_RIVAGAN` (`rivagan_decoder.onnx`) images by formula are read as the package does, and with
//! `CALOTYPE_RIVAGAN_MARKS`, a file of that script, image files that the package has marked.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

#[path = "common/formula.rs"]
mod formula;
#[path = "../../formats/tests/common/onnx.rs"]
mod onnx;
#[path = "common/smooth.rs"]
mod smooth;

use std::{env, fs, path::Path};

use calotype_safety::watermark::rivagan::{RivaGan, RivaGanBits};
use calotype_tensor::{Device, cpu::CpuDevice};
use formula::values;
use onnx::{model, node, tensor};
use serde::Deserialize;
use smooth::image;

#[derive(Deserialize)]
struct Goldens {
    formula: Vec<Golden>,
    package: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    kind: String,
    size: [u32; 2],
    values: Vec<f32>,
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("goldens/rivagan.json")).unwrap()
}

type Cpu = <CpuDevice as Device>::Backend;

fn open(path: &Path) -> Result<RivaGan<Cpu>, calotype_safety::Error> {
    RivaGan::open(&CpuDevice::new(Default::default()).unwrap(), path)
}

/// A tensor of the package's file, by formula.
fn of_formula(name: &str, shape: &[usize]) -> Vec<u8> {
    let scale = if shape.len() > 1 { (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt() } else { 0.1 };
    let around = if shape.len() == 1 && (name.ends_with("weight") || name.ends_with("var")) { 1.0 } else { 0.0 };
    let numbers = values(name, shape.iter().product()).map(|value| (around + scale * value) as f32);
    tensor(name, 1, shape, (9, &numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()))
}

fn graph() -> Vec<Vec<u8>> {
    let mut fields = vec![node("Conv", &["frame", "_attention.0.weight", "_attention.0.bias"], "27")];
    for branch in ["_attention", "_conv"] {
        for (index, inputs) in [(0, 3), (3, 32)] {
            fields.push(of_formula(&format!("{branch}.{index}.weight"), &[32, inputs, 1, 11, 11]));
            fields.push(of_formula(&format!("{branch}.{index}.bias"), &[32]));
        }
    }
    for norm in ["_attention.2", "_attention.5", "_conv.2"] {
        let parts = ["weight", "bias", "running_mean", "running_var"];
        fields.extend(parts.map(|part| of_formula(&format!("{norm}.{part}"), &[32])));
    }
    fields
}

fn most(found: &RivaGanBits, expected: &[f32]) -> f32 {
    assert_eq!(expected.len(), 32);
    found.values.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_network_is_that_of_the_formulas() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rivagan_decoder.onnx"), model(&graph())).unwrap();
    let rivagan = open(folder.path()).unwrap();
    for Golden { kind, size: [width, height], values } in goldens().formula {
        let most = most(&rivagan.read(&image(width, height, &kind)).unwrap(), &values);
        assert!(most < 2e-5, "{kind} {width} x {height}: {most:e}");
    }
}

#[test]
fn bits_are_those_above_the_threshold() {
    let mut values = [0.0; 32];
    (values[0], values[1], values[31]) = (0.53, 0.52, 7.0);
    let read = RivaGanBits { values };
    assert_eq!(read.bits(), 0x8000_0001);
    assert_eq!((read.right(0x8000_0001), read.right(0), read.right(u32::MAX)), (32, 30, 2));
    assert!(read.is(0x8000_0001 ^ 0xf0) && !read.is(0x8000_0001 ^ 0x1f0));
}

#[test]
fn what_is_another_network_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let refused = |fields: &[Vec<u8>], expected: &str| {
        fs::write(&path, model(fields)).unwrap();
        let message = open(&path).err().unwrap().to_string();
        assert!(message.contains(expected) && !message.contains('\n') && message.len() < 500, "{message}");
    };
    let missing: Vec<_> =
        graph().into_iter().filter(|field| !field.windows(12).any(|part| part == b"_conv.2.bias")).collect();
    refused(&missing, "the file has no tensor _conv.2.bias: give rivagan_decoder.onnx of PyPI's invisible-watermark");
    let mut other = graph();
    other[1] = of_formula("_attention.0.weight", &[32, 4, 1, 11, 11]);
    refused(&other, "tensor _attention.0.weight is [32, 4, 1, 11, 11]");
    let mut wrong = graph();
    wrong[2] = tensor("_attention.0.bias", 1, &[32], (9, &f32::NAN.to_le_bytes().repeat(32)));
    refused(&wrong, "tensor _attention.0.bias has numbers that are not finite");
    for absent in [folder.path().join("nothing"), folder.path().to_owned()] {
        let message = open(&absent).err().unwrap().to_string();
        assert!(message.contains("there is no such file: get rivagan_decoder.onnx by `pip download"), "{message}");
    }
}

/// The package's own weights, where they are.
fn real() -> Option<RivaGan<Cpu>> {
    let path = env::var_os("CALOTYPE_RIVAGAN");
    if path.is_none() {
        println!("skipped: CALOTYPE_RIVAGAN does not name rivagan_decoder.onnx of PyPI's invisible-watermark");
    }
    path.map(|path| open(Path::new(&path)).unwrap())
}

#[test]
fn images_are_read_as_by_the_package() {
    let Some(rivagan) = real() else { return };
    for Golden { kind, size: [width, height], values } in goldens().package {
        let read = rivagan.read(&image(width, height, &kind)).unwrap();
        println!("{kind} {width} x {height}: at most {:.1e} from the package", most(&read, &values));
        assert!(most(&read, &values) < 1e-3);
    }
}

#[test]
fn marks_of_the_package_are_read() {
    #[derive(Deserialize)]
    struct Mark {
        file: String,
        written: String,
        right: u32,
        values: Vec<f32>,
    }
    let Some((rivagan, path)) = real().zip(env::var_os("CALOTYPE_RIVAGAN_MARKS")) else { return };
    let marks: Vec<Mark> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for Mark { file, written, right, values } in marks {
        let image = calotype_image::decode(&fs::read(&file).unwrap(), &Default::default()).unwrap();
        let (read, written) = (rivagan.read(&image).unwrap(), u32::from_str_radix(&written, 16).unwrap());
        println!("{file}: {} of 32 bits, at most {:.1e} from the package", read.right(written), most(&read, &values));
        assert!(most(&read, &values) < 1e-3 && read.right(written) == right && read.is(written));
    }
}
