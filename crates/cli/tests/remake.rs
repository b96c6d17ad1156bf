//! Pictures that were made before are made again byte for byte, and what their files say is read and written alike:
//! `goldens/remake/*.png`. Run with `UPDATE_REMAKE=1` to make those that are missing; none is ever replaced.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use calotype::{
    RgbImage,
    metadata::{JSON_KEYWORD, Metadata, PARAMETERS_KEYWORD},
};
use calotype_formats::{DType, encode_f32, write_safetensors};
use calotype_image::{Limits, decode, encode_png, read_png_text};
use tempfile::TempDir;

use crate::models::{Sizes, values};

/// The names of the goldens, the arguments after which each was made with the small model, and which picture of the run
/// it is. Made by version 0.1.0, commit 6337cc6, on the portable kernels.
const GOLDENS: [(&str, &str, usize); 25] = [
    ("txt2img", "txt2img;a tree;--negative-prompt;blurry;--seed;9;--guidance-scale;7.3", 0),
    ("batch", "txt2img;a tree;--sampler;euler_a;--batch-size;3;--eta;0.5", 2),
    ("bf16", "txt2img;a tree;--precision;bf16;--sampler;dpmpp_2m;--schedule;karras", 0),
    ("tiling", "txt2img;a tree;--tiling=x;--width;24;--height;40", 0),
    ("plms-compvis", "txt2img;a tree;--plms;--schedule;compvis;--steps;5", 0),
    (
        "sampler-settings",
        "txt2img;a tree;--sampler;euler;--schedule;karras;--rho;5;--s-churn;2;--s-noise;1.01;--s-tmax;9",
        0,
    ),
    (
        "unipc",
        "txt2img;a tree;--sampler;unipc;--uni-pc-variant;bh2;--uni-pc-order;2;--uni-pc-lower-order-final;false;--steps;5",
        0,
    ),
    ("hires-latent", "txt2img;a tree;--hires-size;40x36;--hires-strength;0.5", 0),
    ("hires-pixels", "txt2img;a tree;--hires-scale;1.5;--hires-upscaler;lanczos;--hires-steps;4;--extra-noise;0.1", 0),
    ("img2img", "img2img;a tree;--init-img;init.png;--strength;0.8", 0),
    (
        "img2img-a1111",
        "img2img;a tree;--init-img;init.png;--strength;0.6;--strength-rule;a1111;--noise-multiplier;1.25;--extra-noise;0.125;--width;24;--resize-mode;crop",
        0,
    ),
    ("img2img-latent", "img2img;a tree;--init-img;init.png;--strength-rule;exact;--width;40;--resize-mode;latent", 0),
    (
        "inpaint",
        "inpaint;a tree;--init-img;init.png;--mask;mask.png;--mask-blur;2;--fill;latent-noise;--invert-mask",
        0,
    ),
    ("inpaint-masked", "inpaint;a tree;--init-img;init.png;--mask;mask.png;--inpaint-area;masked;--padding;2", 0),
    ("outpaint", "outpaint;a tree;--init-img;init.png;--left;6;--top;3", 0),
    (
        "a1111-prompt",
        "txt2img;(a tree:1.3) [red|blue] <mark> AND a [hill:sky:0.5] :0.4;--negative-prompt;[blurry];--prompt-style;a1111;--emphasis;no-norm;--old-prompt-editing;--embedding;mark.safetensors:<mark>",
        0,
    ),
    ("lora-in-prompt", "txt2img;a tree <lora:ink:0.5:0.75>;--lora-dir;.", 0),
    ("lora-given", "txt2img;a tree;--lora;ink.safetensors:0.5", 0),
    (
        "variation",
        "txt2img;a tree;--variation-seed;5;--variation-strength;0.3;--seed-resize;40x24;--ensd;31337;--rng;nv;--sampler;euler_a;--batch-size;2",
        1,
    ),
    ("seed-per-batch", "txt2img;a tree;--seed-per;batch;--batch-size;2;--batch-count;2;--eta;0.5", 3),
    ("fixed-code", "txt2img;a tree;--fixed-code;--batch-size;2;--batch-count;2;--rng;cuda", 3),
    ("fixed-code-per-batch", "txt2img;a tree;--seed-per;batch;--fixed-code;--batch-size;2;--batch-count;2", 3),
    (
        "shared-batch",
        "txt2img;--from-file;lines.txt;--seed-per;batch;--batch-size;2;--batch-count;2;--schedule;compvis;--steps;4",
        5,
    ),
    ("latents", "txt2img;a tree;--latents;start.safetensors", 1),
    ("largest-seed", "txt2img;a \"tree\", no: Steps;--seed;18446744073709551615;--batch-size;2", 1),
];

/// A folder with the small model in `model` and the files that the goldens began with.
fn workplace() -> TempDir {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    Sizes::default().write(&folder.join("model"));
    let (width, height) = (32, 24);
    let data = values("picture", width * height * 3).iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
    let mask = (0..width * height).flat_map(|n| [if n % width < 12 { 255 } else { 0 }; 3]).collect();
    for (name, data) in [("init.png", data), ("mask.png", mask)] {
        let picture = RgbImage::new(width as u32, height as u32, data).unwrap();
        fs::write(folder.join(name), encode_png(&picture, &[]).unwrap()).unwrap();
    }
    fs::write(folder.join("lines.txt"), "a tree\na house\na hill\n").unwrap();
    let numbers =
        |name: &str, count: usize| -> Vec<f32> { values(name, count).into_iter().map(|x| 3.0 * x as f32).collect() };
    let write = |name: &str, tensors: &[(&str, &[usize])]| {
        let tensors = tensors.iter().map(|(key, shape)| {
            let data = encode_f32(&numbers(key, shape.iter().product()), DType::F32).unwrap();
            ((*key).to_owned(), DType::F32, shape.to_vec(), Cow::from(data))
        });
        write_safetensors(folder.join(name), tensors, &BTreeMap::new()).unwrap();
    };
    write(
        "ink.safetensors",
        &[
            ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", &[2, 8]),
            ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight", &[8, 2]),
        ],
    );
    write("mark.safetensors", &[("emb_params", &[2, 8])]);
    write("start.safetensors", &[("latents", &[2, 4, 8, 8])]);
    place
}

/// Runs the program in the folder; it must succeed without a warning.
fn run<'a>(folder: &Path, args: impl IntoIterator<Item = &'a str>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args).args(["--model", "model", "--quiet"]);
    let output = command.env("CALOTYPE_ISA", "portable").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), crate::notes::without(&said)), (Some(0), ""));
}

fn make(folder: &Path, args: &str, index: usize) -> Vec<u8> {
    let given: Vec<&str> = args.split(';').collect();
    let defaults = ["--steps", "--precision"].into_iter().zip(["3", "f32"]);
    let defaults = defaults.filter(|(flag, _)| !given.contains(flag)).flat_map(|(flag, value)| [flag, value]);
    run(folder, given.iter().copied().chain(defaults).chain(["--output", "made/"]));
    let made = fs::read(folder.join(format!("made/{index:05}.png"))).unwrap();
    fs::remove_dir_all(folder.join("made")).unwrap();
    made
}

fn texts(png: &[u8]) -> [String; 2] {
    let texts = read_png_text(png).unwrap();
    let find = |keyword: &str| texts.iter().find(|(key, _)| key == keyword).unwrap().1.clone();
    [find(PARAMETERS_KEYWORD), find(JSON_KEYWORD)]
}

#[test]
fn pictures_of_version_0_1_0_are_remade() {
    let folder = workplace();
    let folder = folder.path();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/remake");
    for (name, args, index) in GOLDENS {
        let file = goldens.join(format!("{name}.png"));
        if !file.exists() && std::env::var_os("UPDATE_REMAKE").is_some() {
            fs::write(&file, make(folder, args, index)).unwrap();
        }
        let golden = fs::read(&file).unwrap();
        let [parameters, json] = texts(&golden);
        let mut metadata = Metadata::from_json(&json).unwrap();
        assert_eq!(metadata.to_json(), json, "{name}");
        assert_eq!(metadata.parameters(), parameters, "{name}");

        fs::write(folder.join("golden.png"), &golden).unwrap();
        run(folder, ["remake", "golden.png", "--lora-dir", ".", "--output", "again.png"]);
        let again = fs::read(folder.join("again.png")).unwrap();
        // The same in all but the version that makes it.
        metadata.version = env!("CARGO_PKG_VERSION").to_owned();
        let expected = match metadata.to_json() == json {
            true => golden,
            false => metadata.encode_png(&decode(&golden, &Limits::default()).unwrap()).unwrap(),
        };
        assert!(again == expected, "{name}: {}", texts(&again)[1]);
    }
    let kept = fs::read_dir(goldens).unwrap().count();
    assert_eq!(kept, GOLDENS.len(), "a golden without a row, or a row without one");
}
