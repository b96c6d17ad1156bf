//! `calotype upscale`, `calotype compare`, and images that a network enlarges as they are made.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_image::{DeepImage, Limits, Samples, read_png_text};
use calotype_models::{CompactConfig, ParamSource, Random, UpscalerConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    line::{run, said},
    vgg::VGG,
};

/// It worked, and this is what it printed.
fn done(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// It failed with this status and these words, in one line and perhaps a hint.
fn refused(folder: &Path, args: &str, status: i32, words: &str) {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(status), "{args}: {}", said(&output));
    let said = said(&output);
    assert!(said.contains(words), "{args}: {said}");
    assert!(said.lines().count() <= 2 && said.starts_with("error: "), "{args}: {said}");
}

/// A small network that doubles pictures.
fn write_network(path: &Path, seed: u64) {
    let config =
        UpscalerConfig::Compact(CompactConfig { colours: 3, outputs: 3, channels: 8, convolutions: 1, scale: 2 });
    let tensor = |spec: &calotype_models::ParamSpec| {
        let data: Vec<f32> = Random { seed }.data(spec).unwrap().to_vec().unwrap().iter().map(|x| x * 0.3).collect();
        (spec.name.clone(), DType::F32, spec.shape.clone(), Cow::from(encode_f32(&data, DType::F32).unwrap()))
    };
    write_safetensors(path, config.specs().unwrap().iter().map(tensor), &BTreeMap::new()).unwrap();
}

fn write_picture(path: &Path, channels: usize) {
    let words = (0..24 * 16 * channels).map(|n| ((n * 7919) % 60_000) as u16).collect();
    let picture = DeepImage::new(24, 16, channels, Samples::Words(words)).unwrap();
    fs::write(path, picture.encode_png(&[("parameters", "a fox\nSteps: 1"), ("calotype", "{}")]).unwrap()).unwrap();
}

fn read(path: &Path) -> DeepImage {
    DeepImage::decode(&fs::read(path).unwrap(), &Limits::default()).unwrap()
}

fn text(path: &Path, keyword: &str) -> Option<String> {
    let texts = read_png_text(&fs::read(path).unwrap()).unwrap();
    texts.into_iter().find(|(key, _)| key == keyword).map(|(_, text)| text)
}

#[test]
fn images_and_folders_are_enlarged() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_network(&folder.join("double.safetensors"), 1);
    write_network(&folder.join("other.safetensors"), 2);
    write_picture(&folder.join("a.png"), 4);
    fs::create_dir(folder.join("in")).unwrap();
    write_picture(&folder.join("in/b.png"), 3);
    write_picture(&folder.join("in/c.png"), 1);
    fs::write(folder.join("in/notes.txt"), "no picture").unwrap();

    assert_eq!(done(folder, "upscale a.png --model double.safetensors"), "outputs/a-2x.png\n");
    let large = read(&folder.join("outputs/a-2x.png"));
    assert_eq!((large.width(), large.height(), large.channels()), (48, 32, 4));
    assert!(matches!(large.samples(), Samples::Words(_)));
    assert_eq!(text(&folder.join("outputs/a-2x.png"), "parameters").as_deref(), Some("a fox\nSteps: 1"));
    let expected = "Postprocess upscale by: 2, Postprocess upscaler: double";
    assert_eq!(text(&folder.join("outputs/a-2x.png"), "postprocessing").as_deref(), Some(expected));
    // Nothing is replaced.
    assert_eq!(done(folder, "upscale a.png --model double.safetensors"), "outputs/a-2x-2.png\n");

    let printed = done(folder, "upscale in a.png a.png --model double.safetensors --scale 1.5 --output large --json");
    let rows: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: Vec<&str> = rows.iter().map(|row| row["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["large/b-1.5x.png", "large/c-1.5x.png", "large/a-1.5x.png"]);
    assert_eq!((&rows[1]["width"], &rows[1]["height"], &rows[1]["channels"]), (&36.into(), &24.into(), &1.into()));
    assert_eq!(rows[0]["upscaler"], "Real-ESRGAN Compact ×2, 8 channels, 1 convolutions");

    done(folder, "upscale a.png --model double.safetensors --size 0x20 --tile 10 --output one.png --quiet");
    assert_eq!((read(&folder.join("one.png")).width(), read(&folder.join("one.png")).height()), (30, 20));
    // Two networks, mixed.
    for (name, args) in [("x", "double.safetensors"), ("y", "other.safetensors")] {
        done(folder, &format!("upscale in/b.png --model {args} --output {name}.png"));
    }
    done(folder, "upscale in/b.png --model double.safetensors --model2 other.safetensors --blend 0.25 --output z.png");
    let [x, y, z] = ["x", "y", "z"].map(|name| read(&folder.join(format!("{name}.png"))));
    assert!(x != y && z == x.mixed(&y, 0.25).unwrap());
    assert!(
        text(&folder.join("z.png"), "postprocessing")
            .unwrap()
            .ends_with("upscaler 2: other, Postprocess upscaler 2 visibility: 0.25")
    );

    // In numbers: equal, and in tiles.
    done(folder, "upscale in/b.png --model double.safetensors --tile 9 --output tiled.png");
    let printed = done(folder, "compare x.png tiled.png y.png --seam 18");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("tiled.png: ") && lines[0].contains("SSIM 1.0000, seams "), "{printed}");
    let row: Value = serde_json::from_str(&done(folder, "compare x.png y.png --json")).unwrap();
    assert!(row["psnr"].as_f64().unwrap() < 60.0 && row["ssim"].as_f64().unwrap() < 1.0 && row["equal"] == false);
    let row: Value = serde_json::from_str(&done(folder, "compare x.png x.png --json")).unwrap();
    assert!(row["equal"] == true && row["psnr"].is_null() && row["ssim"] == 1.0);
}

/// VGG16 whose first block gives the colours on and whose others give nothing, with heads: in a file that `compare` takes.
fn write_vgg(path: &Path, heads: [f32; 3]) {
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, values: &[(usize, f32)]| {
        let mut data = vec![0.0; shape.iter().product()];
        values.iter().for_each(|&(at, value)| data[at] = value);
        tensors.push((name, DType::F32, shape, Cow::from(encode_f32(&data, DType::F32).unwrap())));
    };
    for [place, inputs, outputs] in VGG {
        // The middle of a kernel is its fifth number.
        let middle: Vec<(usize, f32)> = (0..3).map(|c| ((c * inputs + c) * 9 + 4, 1.0)).collect();
        let values = if place <= 2 { middle } else { Vec::new() };
        add(format!("features.{place}.weight"), vec![outputs, inputs, 3, 3], &values);
        add(format!("features.{place}.bias"), vec![outputs], &[]);
    }
    for (n, width) in [64, 128, 256, 512, 512].into_iter().enumerate() {
        let values: Vec<(usize, f32)> = heads.into_iter().enumerate().collect();
        add(format!("lin{n}.model.1.weight"), vec![1, width, 1, 1], if n == 0 { &values } else { &[] });
    }
    write_safetensors(path, tensors, &BTreeMap::new()).unwrap();
}

/// Of one colour each, LPIPS is the weighted square of how their directions differ.
#[test]
fn images_are_compared_by_lpips() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let heads = [0.5, 2.0, 1.25];
    write_vgg(&folder.join("vgg.safetensors"), heads);
    let colours = [[250, 180, 200], [160, 240, 210]];
    for (name, [side, n]) in [("a", [16, 0]), ("b", [16, 1]), ("small", [15, 0])] {
        let words = (0..side * side * 3).map(|at| colours[n][at % 3]).collect();
        let picture = DeepImage::new(side as u32, side as u32, 3, Samples::Bytes(words)).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture.encode_png(&[]).unwrap()).unwrap();
    }
    // PyPI lpips' scaling of colours in -1..1.
    let direction = |colour: [u8; 3]| {
        let scaled = [0, 1, 2].map(|c| {
            let x = f64::from(colour[c]) / 127.5 - 1.0;
            (x - [-0.030, -0.088, -0.188][c]) / [0.458, 0.448, 0.450][c]
        });
        let length = scaled.iter().map(|x| x * x).sum::<f64>().sqrt();
        scaled.map(|x| x / length)
    };
    let [x, y] = colours.map(direction);
    let expected: f64 = (0..3).map(|c| f64::from(heads[c]) * (x[c] - y[c]).powi(2)).sum();
    assert!(expected > 0.05);
    let printed = done(folder, "compare a.png b.png a.png --json --lpips vgg.safetensors");
    let rows: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!((rows[0]["lpips"].as_f64().unwrap() - expected).abs() < 1e-5 * expected.max(1.0), "{printed} {expected}");
    assert_eq!(rows[1]["lpips"], 0.0);
    let printed = done(folder, "compare a.png b.png --lpips vgg.safetensors --lpips-heads vgg.safetensors");
    assert!(printed.contains(&format!("LPIPS {expected:.4}")), "{printed}");
    refused(
        folder,
        "compare small.png small.png --lpips vgg.safetensors",
        1,
        "LPIPS needs sides of at least 16 pixels",
    );
    write_network(&folder.join("other.safetensors"), 1);
    refused(
        folder,
        "compare a.png b.png --lpips other.safetensors",
        1,
        "other.safetensors: tensor net.slice1.0.weight is missing",
    );
}

#[test]
fn what_can_not_be_done_is_said_in_a_line() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_network(&folder.join("double.safetensors"), 1);
    write_picture(&folder.join("a.png"), 3);
    fs::write(folder.join("broken.png"), "no picture").unwrap();
    let tensor = ("x".to_owned(), DType::F32, vec![1], Cow::from(vec![0; 4]));
    write_safetensors(folder.join("other.safetensors"), [tensor], &BTreeMap::new()).unwrap();
    let model = "--model double.safetensors";
    refused(folder, "upscale a.png --model none.pth", 1, "none.pth");
    refused(
        folder,
        "upscale a.png --model other.safetensors",
        1,
        "its tensors are of no upscaler that is known: give one of",
    );
    refused(folder, "upscale a.png --model a.png", 1, "a.png");
    refused(folder, &format!("upscale broken.png {model}"), 1, "broken.png: not a PNG, JPEG");
    refused(folder, &format!("upscale none.png {model}"), 1, "none.png: cannot be read");
    refused(folder, &format!("upscale a.png {model} --scale 0"), 2, "expected a number from 0.01 to 64");
    refused(folder, &format!("upscale a.png {model} --size 5"), 2, "expected width x height");
    refused(folder, &format!("upscale a.png {model} --blend 0.5"), 2, "--model2");
    refused(folder, &format!("upscale a.png {model} --output b.jpg"), 2, "written as PNG");
    refused(folder, &format!("upscale a.png broken.png {model} --output b.png"), 2, "several images need a folder");
    refused(folder, "compare a.png broken.png", 1, "broken.png: not a PNG");
    refused(folder, "compare a.png", 2, "required");
    // One of several fails, the others are there.
    let output = run(folder, &format!("upscale broken.png a.png {model}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("error: 1 of 2 images could not be enlarged"), "{}", said(&output));
    assert!(folder.join("outputs/a-2x.png").is_file());
}

#[test]
fn images_are_enlarged_as_they_are_made() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    write_network(&folder.join("double.safetensors"), 1);
    let base = "txt2img fox --steps 1 --width 64 --height 64 --no-watermark --quiet";
    done(folder, &format!("{base} -o plain.png"));
    // After it is made: what `upscale` makes of it.
    done(folder, &format!("{base} --upscaler double.safetensors -o after.png"));
    done(folder, "upscale plain.png --model double.safetensors --output expected.png");
    let [after, expected] = ["after.png", "expected.png"].map(|name| read(&folder.join(name)));
    assert_eq!((after.width(), after.height()), (128, 128));
    assert_eq!(after, expected);
    let done_text = "Postprocess upscale by: 2, Postprocess upscaler: double";
    assert_eq!(text(&folder.join("after.png"), "postprocessing").as_deref(), Some(done_text));
    done(folder, &format!("{base} --upscaler double.safetensors --upscale-by 1.5 -o by.png"));
    assert_eq!(read(&folder.join("by.png")).width(), 96);
    // Made again, it is the small one, or with the network the same.
    done(folder, "remake after.png --no-watermark --quiet -o again.png");
    assert_eq!(read(&folder.join("again.png")), read(&folder.join("plain.png")));
    done(folder, "remake after.png --no-watermark --quiet --upscaler double.safetensors -o same.png");
    assert_eq!(read(&folder.join("same.png")), after);

    // Between two passes.
    let hires = format!("{base} --hires-size 128x128 --hires-steps 1 --hires-strength 0.3");
    done(folder, &format!("{hires} --upscaler double.safetensors -o hires.png"));
    done(folder, &format!("{hires} --hires-upscaler lanczos -o lanczos.png"));
    let [by_network, by_filter] = ["hires.png", "lanczos.png"].map(|name| read(&folder.join(name)));
    assert_eq!((by_network.width(), by_network.height()), (128, 128));
    assert!(by_network != by_filter);
    let parameters = text(&folder.join("hires.png"), "parameters").unwrap();
    assert!(parameters.contains("Hires upscaler: double"), "{parameters}");
    refused(folder, "remake hires.png -o no.png", 2, "by the network \"double\", which was not given");
    done(folder, "remake hires.png --no-watermark --quiet --upscaler double.safetensors -o hires-again.png");
    assert_eq!(read(&folder.join("hires-again.png")), by_network);
    refused(folder, &format!("{base} --upscale-by 2 -o no.png"), 2, "--upscaler");
    refused(folder, &format!("{base} --upscaler plain.png -o no.png"), 1, "plain.png");
}
