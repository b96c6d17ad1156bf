//! Networks for super-resolution, held to PyPI `spandrel` on weights by formula (`reference/upscalers.py`), and told by their tensors.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use calotype_formats::{Checkpoint, DType, encode_f32, to_bytes};
use calotype_models::{FileKind, ParamSource, ParamSpec, UpscalerFile, UpscalerKind};
use calotype_tensor::{Backend, ParamKind, cpu::Cpu, reference::Reference};
use common::{Formula, assert_close, channels_last, values};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    tensors: HashMap<String, Vec<usize>>,
    input: [usize; 3],
    shape: [usize; 3],
    output: Vec<f32>,
}

fn goldens() -> BTreeMap<String, Golden> {
    serde_json::from_str(&std::fs::read_to_string(path("upscalers.json")).unwrap()).unwrap()
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/goldens", name].iter().collect()
}

/// A file of tensors of these names and shapes by formula, `before` each.
fn file<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Vec<usize>)>, before: &str) -> Checkpoint {
    let tensor = |(name, shape): (&String, &Vec<usize>)| {
        let spec = ParamSpec {
            name: name.clone(),
            kind: ParamKind::Vector,
            shape: if shape.is_empty() { vec![1] } else { shape.clone() },
            init: calotype_models::Init::Zeros,
            quantise: false,
        };
        let data = Formula.data(&spec).unwrap().to_vec().unwrap();
        (format!("{before}{name}"), DType::F32, shape.clone(), Cow::from(encode_f32(&data, DType::F32).unwrap()))
    };
    let tensors: Vec<_> = tensors.into_iter().map(tensor).collect();
    let tensors = tensors.iter().map(|(name, dtype, shape, data)| (name.as_str(), *dtype, shape.clone(), data.clone()));
    Checkpoint::from_bytes("a file", to_bytes(tensors, &BTreeMap::new()).unwrap()).unwrap()
}

/// The input of a case, channels last, in 0..1.
fn input(case: &str, [c, h, w]: [usize; 3]) -> Vec<f32> {
    let values: Vec<f32> = values(case, c * h * w).into_iter().map(|x| (x * 0.5 + 0.5) as f32).collect();
    channels_last(&values, [1, c, h, w])
}

fn check<B: Backend>(b: &B, tolerance: f32) {
    let goldens = goldens();
    assert!(goldens.len() >= 26);
    for (case, Golden { tensors, input: shape, shape: [outputs, height, width], output }) in &goldens {
        let file = file(tensors, "");
        let network = UpscalerFile::of(&file).unwrap().load(b, &file).unwrap();
        let config = network.config();
        let [c, h, w] = *shape;
        let expected = [h * config.scale(), w * config.scale(), config.outputs(), config.colours()];
        assert_eq!([*height, *width, *outputs, c], expected, "{case}: {}", config.describe());
        let x = b.from_f32([1, h, w, c].into(), input(case, *shape)).unwrap();
        let expected = channels_last(output, [1, *outputs, *height, *width]);
        let y = network.forward(b, &x).unwrap();
        assert_eq!(&*b.shape(&y), [1, *height, *width, *outputs], "{case}");
        assert_close(case, &b.to_f32(&y).unwrap(), &expected, tolerance);
        assert_close(&format!("{case}, in bands"), &network.upscale(b, &x).unwrap(), &expected, tolerance);
    }
}

#[test]
fn networks_are_those_of_spandrel() {
    check(&Reference::<f32>::new(), 1e-5);
}

#[test]
fn networks_are_those_of_spandrel_on_the_processor() {
    check(&Cpu::new(2).unwrap(), 1e-5);
}

#[test]
fn bands_are_the_whole() {
    let b = Cpu::new(2).unwrap();
    for (case, Golden { tensors, input: [c, ..], .. }) in goldens() {
        let file = file(&tensors, "");
        let network = UpscalerFile::of(&file).unwrap().load(&b, &file).unwrap();
        // More rows than a band has, and no multiple.
        let (h, w) = (37, 9);
        let x = b.from_f32([1, h, w, c].into(), input(&case, [c, h, w])).unwrap();
        let whole = b.to_f32(&network.forward(&b, &x).unwrap()).unwrap();
        assert_close(&case, &network.upscale(&b, &x).unwrap(), &whole, 2e-6);
        assert!(network.upscale(&b, &b.from_f32([2, 1, 1, c].into(), vec![0.0; 2 * c]).unwrap()).is_err());
    }
}

#[test]
fn files_of_trainers_are_unwrapped() {
    let b = Reference::<f32>::new();
    let mut results = Vec::new();
    for name in ["params_ema", "module", "alone"] {
        let file = Checkpoint::open(&path(&format!("upscaler_{name}.pth")), "").unwrap();
        assert_eq!(FileKind::of(&file), FileKind::Upscaler(UpscalerKind::Compact), "{name}");
        let network = UpscalerFile::of(&file).unwrap().load(&b, &file).unwrap();
        let x = b.from_f32([1, 2, 3, 3].into(), input("x", [3, 2, 3])).unwrap();
        results.push(b.to_f32(&network.forward(&b, &x).unwrap()).unwrap());
    }
    // Zeros, which are beside the average, would give the input.
    assert!(results[0].iter().any(|x| (x * 1000.0).fract() != 0.0));
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn each_naming_is_told_in_each_wrapper() {
    for (case, Golden { tensors, .. }) in goldens() {
        let expected = match case.split([' ', ',']).next().unwrap() {
            "compact" => UpscalerKind::Compact,
            "span" => UpscalerKind::Span,
            "swinir" => UpscalerKind::SwinIr,
            "hat" => UpscalerKind::Hat,
            _ => UpscalerKind::Esrgan,
        };
        for before in ["", "params_ema.", "params.module.", "model.", "net.netG.", "generator."] {
            let file = file(&tensors, before);
            assert_eq!(FileKind::of(&file), FileKind::Upscaler(expected), "{case} after {before}");
            let names = UpscalerFile::of(&file).unwrap().names(&file).unwrap();
            assert!(names.iter().all(|(_, key)| file.get(key).is_some()), "{case} after {before}");
        }
    }
}

#[test]
fn what_is_no_upscaler_is_named() {
    let tensors = |names: &[(&str, &[usize])]| -> Vec<(String, Vec<usize>)> {
        names.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    };
    let refused = |names: &[(&str, &[usize])]| {
        let tensors = tensors(names);
        UpscalerFile::of(&file(tensors.iter().map(|(name, shape)| (name, shape)), ""))
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let dat = refused(&[("before_RG.1.weight", &[4]), ("layers.0.blocks.0.ffn.sg.conv.weight", &[4])]);
    assert_eq!(
        dat,
        "a file: this is an upscaler (DAT), which is not run here: give one of ESRGAN, Real-ESRGAN Compact, SPAN, SwinIR, HAT"
    );
    let unknown = refused(&[("x", &[4])]);
    assert!(
        unknown.starts_with("a file: its tensors are of no upscaler that is known: give one of ESRGAN"),
        "{unknown}"
    );
    // A Compact's last layer makes no picture, or a layer is not there.
    let odd = [("body.0.weight", &[4usize, 3, 3, 3][..]), ("body.1.weight", &[4]), ("body.2.weight", &[11, 4, 3, 3])];
    assert!(refused(&odd).contains("11 channels are no picture of 3 enlarged"), "{}", refused(&odd));
    assert!(refused(&odd[..2]).contains("2 layers were found"), "{}", refused(&odd[..2]));
    // A tensor of many is missing, or has another shape.
    let golden = goldens().remove("realesrgan x4").unwrap();
    let mut without = golden.tensors.clone();
    without.remove("conv_hr.bias");
    let error = UpscalerFile::of(&file(&without, "")).map(drop).unwrap_err().to_string();
    assert!(error.contains("tensor conv_hr.bias is missing"), "{error}");
    let mut misshapen = golden.tensors;
    misshapen.insert("body.0.rdb2.conv3.weight".to_owned(), vec![32, 7, 3, 3]);
    let error = UpscalerFile::of(&file(&misshapen, "")).map(drop).unwrap_err().to_string();
    assert!(error.contains("body.0.rdb2.conv3.weight is [32, 7, 3, 3], expected [32, 76, 3, 3]"), "{error}");
}
