//! CompVis' own scripts, by their own options: what `reference/compvis_scripts.py` says that they make with a tiny model,
//! which is written here as their single file, as safetensors and as `.ckpt`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path, process::Command};

use calotype::{RgbImage, latents::read_latents};
use calotype_image::{Limits, decode, encode_png};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    models::{Tensors, distance, family::SD1, values, write_weights},
    torch_files::{pickle::Pickle, torch_zip},
};

/// A run of one of the scripts.
#[derive(Deserialize)]
struct Golden {
    script: String,
    options: String,
    /// Of all pictures, in their order.
    latents: Vec<f32>,
    /// The sum of each one's values.
    pictures: Vec<u64>,
    /// Height, width, and the sum of the values.
    grid: [u64; 3],
}

const LINES: &str = "a lighthouse\na red kite, flying\n\nmoss on a stone\nan old map\n\n";

/// A PyTorch file as CompVis' trainer leaves it: the weights in `state_dict`, and more beside it.
fn write_ckpt(path: &Path, tensors: &Tensors) {
    let stored: Vec<(String, Vec<u8>)> = tensors
        .values()
        .enumerate()
        .map(|(key, (_, data))| (key.to_string(), data.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let mut pickle = Pickle::new(2).dict().str("global_step").int(7).set().str("state_dict").dict();
    for ((name, (shape, data)), (key, _)) in tensors.iter().zip(&stored) {
        let shape: Vec<i64> = shape.iter().map(|&side| side as i64).collect();
        let strides: Vec<i64> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        pickle = pickle.str(name).tensor(("FloatStorage", key, data.len() as i64), 0, &shape, &strides).set();
    }
    let storages: Vec<(&str, &[u8])> = stored.iter().map(|(key, data)| (key.as_str(), data.as_slice())).collect();
    fs::write(path, torch_zip(pickle.set().stop(), &storages)).unwrap();
}

/// The model twice, the lines and the picture that the goldens were made with.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    let weights = SD1.compvis();
    write_weights(&folder.path().join("model.safetensors"), &weights);
    write_ckpt(&folder.path().join("model.ckpt"), &weights);
    fs::write(folder.path().join("lines.txt"), LINES).unwrap();
    let pixels = values("init.png", 41 * 70 * 3).iter().map(|x| ((x + 1.0) * 128.0) as u8).collect();
    let picture = RgbImage::new(70, 41, pixels).unwrap();
    fs::write(folder.path().join("init.png"), encode_png(&picture, &[]).unwrap()).unwrap();
    folder
}

/// The options as `docs/from-compvis.md` has them: those that are understood as they are, and what is said otherwise there.
fn translated(golden: &Golden) -> Vec<String> {
    let words = golden.options.split(' ').map(str::to_owned);
    let mut options: Vec<String> = words.collect();
    for (name, txt2img, img2img) in [("--n_iter", "2", "1"), ("--n_samples", "3", "2"), ("--scale", "7.5", "5")] {
        if !options.iter().any(|option| option == name) {
            options.extend([name, if golden.script == "txt2img" { txt2img } else { img2img }].map(str::to_owned));
        }
    }
    if !options.iter().any(|option| option == "--from-file") {
        options.extend(["--prompt", "a lighthouse in the fog"].map(str::to_owned));
    }
    options.extend(["--schedule", "compvis", "--seed-per", "batch", "--grid"].map(str::to_owned));
    options
}

fn sum(picture: &RgbImage) -> u64 {
    picture.data().iter().map(|&x| u64::from(x)).sum()
}

#[test]
fn the_scripts_of_compvis_make_the_same() {
    let goldens: Vec<Golden> = serde_json::from_str(include_str!("goldens/compvis.json")).unwrap();
    assert_eq!(goldens.len(), 13);
    let folder = workplace();
    for (index, golden) in goldens.iter().enumerate() {
        let place = format!("{index}");
        let mut options = translated(golden);
        let model = if index % 2 == 0 { "model.safetensors" } else { "model.ckpt" };
        let save = folder.path().join("latents.safetensors").display().to_string();
        let rest = [
            "--ckpt",
            model,
            "--outdir",
            &place,
            "--save-latents",
            &save,
            "--precision",
            "f32",
            "--quiet",
            "--no-watermark",
        ];
        options.extend(rest.map(str::to_owned));
        let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
        let output = command.current_dir(folder.path()).arg(&golden.script).args(&options).output().unwrap();
        let what = format!("{} {}", golden.script, golden.options);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));

        let latents = read_latents(&save).unwrap();
        let error = distance(&latents.to_nchw(), &golden.latents);
        println!("{what}: {error:.1e}");
        assert!(error <= 2e-5, "{what}: {error:.1e} from CompVis");
        let read = |name: &str| {
            let png = fs::read(folder.path().join(&place).join(name)).unwrap();
            decode(&png, &Limits::default()).unwrap()
        };
        // Values are cut to 8 bits, not rounded, which would make half of the 6144 one greater.
        let near = |picture: &RgbImage, expected: u64| assert!(sum(picture).abs_diff(expected) < 30, "{what}");
        for (k, &expected) in golden.pictures.iter().enumerate() {
            near(&read(&format!("{k:05}.png")), expected);
        }
        assert!(!folder.path().join(&place).join(format!("{:05}.png", golden.pictures.len())).exists());
        let grid = read("grid-0000.png");
        let [height, width, expected] = golden.grid;
        assert_eq!([u64::from(grid.height()), u64::from(grid.width())], [height, width], "{what}");
        assert!(sum(&grid).abs_diff(expected) < 30 * golden.pictures.len() as u64, "{what}");
    }
}

/// The rest of a last batch is not made, and the second round goes on after it as after a full one; CompVis' scripts fail.
#[test]
fn a_last_batch_need_not_be_full() {
    let folder = workplace();
    let made = |lines: &str, name: &str| {
        fs::write(folder.path().join("some.txt"), lines).unwrap();
        let line = "txt2img --from-file some.txt --model model.ckpt --steps 2 --schedule compvis --seed-per batch \
            --batch-size 2 --batch-count 2 --width 64 --height 32 --quiet --save-latents";
        let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
        let arguments = line.split(' ').chain([name, "--output", &name[..1]]);
        assert!(command.current_dir(folder.path()).args(arguments).status().unwrap().success());
        read_latents(folder.path().join(name)).unwrap()
    };
    let [three, four] = [made("a\nb\nc\n", "3.safetensors"), made("a\nb\nc\nd\n", "4.safetensors")];
    assert_eq!([three.shape()[0], four.shape()[0]], [6, 8]);
    for (of_three, of_four) in [(0, 0), (2, 2), (3, 4), (5, 6)] {
        assert_eq!(three.slice(of_three, 1), four.slice(of_four, 1));
    }
    assert_ne!(three.slice(0, 1), three.slice(3, 1));
    // Each is made again from its file.
    let again = "remake 3/00005.png --model model.ckpt --output again.png --quiet";
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    assert!(command.current_dir(folder.path()).args(again.split(' ')).status().unwrap().success());
    let bytes = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("3/00005.png") == bytes("again.png"));
}
