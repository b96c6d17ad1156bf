//! Pictures of other programs: what is said of them, and what is made of them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use calotype_image::{Limits, RgbImage, decode, encode_png, read_png_text};
use tempfile::TempDir;

use crate::models::Sizes;

/// A folder with a small model in `model`.
fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    Sizes::default().write(&folder.path().join("model"));
    folder
}

/// Writes a PNG of 96 x 32 pixels with texts.
fn write(folder: &Path, name: &str, texts: &[(&str, &str)]) {
    fs::write(folder.join(name), encode_png(&RgbImage::filled(96, 32, [0; 3]), texts).unwrap()).unwrap();
}

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Remakes a picture with the small model: its warnings, the new picture's text and its size.
fn remade(folder: &Path, file: &str, more: &[&str]) -> (String, String, (u32, u32)) {
    let args = [&["remake", file, "--model", "model", "--output", "ours.png", "--quiet"], more].concat();
    let output = run(folder, &args);
    let said = crate::notes::without(&String::from_utf8_lossy(&output.stderr)).to_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let ours = fs::read(folder.join("ours.png")).unwrap();
    let picture = decode(&ours, &Limits::default()).unwrap();
    (said, read_png_text(&ours).unwrap()[0].1.clone(), (picture.width(), picture.height()))
}

#[test]
fn what_a1111_wrote_at_any_time_is_remade() {
    let folder = workplace();
    let folder = folder.path();
    for (text, warnings, settings, size) in [
        (
            "a cat\nNegative prompt: dog\nSteps: 2, Sampler: Euler a, CFG scale: 7, Seed: 1234, GFPGAN, Size: 64x32, RNG: GPU, Model: model",
            "warning: not honoured: GFPGAN\n",
            "Steps: 2, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1234, Size: 64x32",
            (64, 32),
        ),
        (
            "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1234, Hashes: {\"vae\": \"c6\"}, RNG: CPU, Model: model.safetensors\nTemplate: a {cat|dog}",
            "warning: not honoured: Hashes: {\"vae\": \"c6\"}\nwarning: not honoured: Template: a {cat|dog}\n",
            "Size: 96x32",
            (96, 32),
        ),
        (
            "a cat\nSteps: 2, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 32x32, Eta: 0.67, Model hash: bd04e140",
            "warning: not honoured: Eta: 0.67\nwarning: made with a model of hash bd04e140, not with model\n",
            "Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7",
            (32, 32),
        ),
        (
            "a cat\nSteps: 2, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1, Size: 32x32, Version: v1.5.1",
            "warning: the file does not say with which model it was made: it is remade with model\n",
            "Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7",
            (32, 32),
        ),
    ] {
        write(folder, "theirs.png", &[("parameters", text)]);
        let (said, ours, made) = remade(folder, "theirs.png", &[]);
        assert_eq!((said.as_str(), made), (warnings, size), "{text}");
        assert!(ours.contains(settings), "{ours}");
    }
}

#[test]
fn what_is_not_known_is_never_a_prompt() {
    let folder = workplace();
    let folder = folder.path();
    for (text, problem) in [
        ("{\"a\": 1}", "the settings are JSON of a program that is not known here"),
        ("[1, 2]", "the settings are JSON of a program that is not known here"),
        ("a cat on a mat", "there are no settings in what A1111 wrote"),
    ] {
        write(folder, "theirs.png", &[("parameters", text)]);
        let output = run(folder, &["remake", "theirs.png", "--model", "model"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said), (Some(1), format!("error: theirs.png: {problem}\n")));
    }
}

/// What `info` prints, and its exit status.
fn info(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(folder, &[&["info"], args].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn info_says_what_pictures_say() {
    let folder = workplace();
    let folder = folder.path();
    let text = "a cat <lora:ink:0.5>,\nred\nNegative prompt: dog\nSteps: 6, Sampler: Euler a, CFG scale: 7, Seed: 1234, Size: 64x32, \
        Model hash: 0123456789, Model: x, GFPGAN, Odd: \u{1b}[31m, Lora hashes: \"ink: abcdef\", Version: v1.6.0";
    write(folder, "a1111.png", &[("parameters", text)]);
    let swarm = "{\"sui_image_params\": {\"prompt\": \"a cat\", \"seed\": 1, \"steps\": 6, \"loras\": [\"ink\"], \"loraweights\": [\"0.5\"]}}";
    write(folder, "swarm.png", &[("parameters", swarm)]);
    write(folder, "plain.png", &[]);
    fs::write(folder.join("x.png"), "no picture").unwrap();

    let expected = "a1111.png: A1111 v1.6.0
  Prompt: a cat <lora:ink:0.5>,
    red
  Negative prompt: dog
  Steps: 6
  Sampler: Euler a
  Schedule type: Automatic
  CFG scale: 7
  Seed: 1234
  Size: 64x32
  Model hash: 0123456789
  Model: x
  RNG: GPU
  Lora hashes: ink: abcdef
  Prompt style: a1111
  lora: ink (abcdef)
  not taken: GFPGAN
  not taken: Odd:  [31m
";
    assert_eq!(info(folder, &["a1111.png"]), (Some(0), expected.to_owned(), String::new()));
    let (status, said, _) = info(folder, &["swarm.png"]);
    assert!(status == Some(0) && said.starts_with("swarm.png: SwarmUI\n  Prompt: a cat\n"), "{said}");
    assert!(
        said.contains("\n  lora: ink 0.5\n")
            && said.ends_with("  note: CFG scale is not said: 7.5 is taken, the default here\n")
    );

    let (status, said, wrong) = info(folder, &["--json", "a1111.png", "plain.png", "x.png", "swarm.png", "none.png"]);
    let objects: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, objects.len()), (Some(1), 2));
    assert_eq!(objects[0]["file"], "a1111.png");
    assert_eq!(objects[0]["metadata"]["seed"], 1234);
    assert_eq!(objects[0]["unread"][0], serde_json::json!({"name": "GFPGAN", "value": ""}));
    assert_eq!(
        (&objects[1]["program"], &objects[1]["metadata"]["adapters"][0]["name"]),
        (&"SwarmUI".into(), &"ink".into())
    );
    let wrong: Vec<&str> = wrong.lines().collect();
    assert_eq!(wrong[0], "error: plain.png: the file does not say how the picture was made");
    assert_eq!(wrong[1], "error: x.png: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these");
    assert!(wrong[2].starts_with("error: none.png: cannot be read: "), "{wrong:?}");
    assert_eq!(wrong[3..], ["error: nothing could be read of 3 of 5 files"]);
    assert_eq!(info(folder, &["plain.png"]).2.lines().count(), 1);

    let made =
        run(folder, &["txt2img", "a tree", "--model", "model", "--steps", "2", "--output", "ours.png", "--seed", "9"]);
    assert_eq!(made.status.code(), Some(0));
    let (_, said, _) = info(folder, &["ours.png"]);
    assert!(
        said.starts_with(&format!("ours.png: Calotype {}\n  Prompt: a tree\n", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
    assert!(said.contains("\n  Seed: 9\n"));
}

/// The settings in a text, without those of the model.
fn settings(text: &str) -> Vec<&str> {
    let settings = text.lines().last().unwrap().split(", ");
    settings.filter(|setting| !setting.starts_with("Model") && !setting.starts_with("Version")).collect()
}

#[test]
fn options_change_what_they_are_of() {
    let folder = workplace();
    let folder = folder.path();
    let args = "txt2img tree --model model --steps 3 --sampler dpmpp_2m --schedule karras --seed 9 --guidance-scale 5 --rng nv";
    let output = run(folder, &[&args.split(' ').collect::<Vec<_>>()[..], &["--output", "made.png"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let made = read_png_text(&fs::read(folder.join("made.png")).unwrap()).unwrap()[0].1.clone();
    let own = ["Sampler: DPM++ 2M", "Schedule type: Karras", "CFG scale: 5", "Seed: 9", "Size: 32x32", "RNG: NV"];
    assert_eq!(settings(&made), [&["Steps: 3"], &own[..]].concat());

    let change = |args: &str| -> String {
        let args: Vec<&str> = args.split(' ').collect();
        let (said, text, _) = remade(folder, "made.png", &args);
        assert_eq!(said, "");
        text
    };
    let with = |changes: &[(usize, &'static str)]| -> Vec<&str> {
        let mut all = [&["Steps: 3"], &own[..]].concat();
        changes.iter().for_each(|(at, setting)| all[*at] = setting);
        all.retain(|setting| !setting.is_empty());
        all
    };
    // As they are by default on the command line, too.
    for (args, expected) in [
        ("--seed 42", with(&[(4, "Seed: 42")])),
        ("--steps 2", with(&[(0, "Steps: 2")])),
        ("--rng gpu --width 40", with(&[(5, "Size: 40x32"), (6, "RNG: GPU")])),
        ("--rng cpu", with(&[(6, "RNG: CPU")])),
        ("--schedule default", with(&[(2, "")])),
        ("--sampler euler", with(&[(1, "Sampler: Euler")])),
        ("--sampler ddim", with(&[(1, "Sampler: DDIM"), (2, "")])),
        (
            "--sampler dpmpp_2m_sde_exponential",
            with(&[(1, "Sampler: DPM++ 2M SDE"), (2, "Schedule type: Exponential")]),
        ),
        ("--guidance-scale 7.5", with(&[(3, "CFG scale: 7.5")])),
    ] {
        assert_eq!(settings(&change(args)), expected, "{args}");
    }
    assert!(change("--prompt house --negative-prompt red").starts_with("house\nNegative prompt: red\nSteps: 3, "));
    assert!(change("--sampler euler_a --eta 0.5").contains("Eta: 0.5"));
    assert!(change("--sampler euler --s-churn 1").contains("Sigma churn: 1"));
    assert!(change("--hires-scale 1.5 --hires-strength 0.5").contains("Denoising strength: 0.5, Hires resize: 48x48"));
    assert!(change("--variation-seed 5 --variation-strength 0.5").contains("Variation seed strength: 0.5"));
    assert!(change("--tiling=x").contains("Tiling: x"));
    // Nothing changed is the same picture.
    remade(folder, "made.png", &[]);
    assert!(fs::read(folder.join("made.png")).unwrap() == fs::read(folder.join("ours.png")).unwrap());

    for (args, message) in [
        ("--strength 0.5", "--strength is for images that were made from another image"),
        ("--hires-steps 5", "there is no second pass: give --hires-scale or --hires-size too"),
        ("--batch-size 2", "remake has no --batch-size: it is one of txt2img, img2img, inpaint and outpaint"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let output = run(folder, &[&["remake", "made.png", "--model", "model"], &args[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().next()), (Some(2), Some(format!("error: {message}").as_str())));
    }
}

#[test]
fn what_is_not_there_is_left_out_if_that_is_wanted() {
    let folder = workplace();
    let folder = folder.path();
    let text = "a cat <lora:ink:0.5> mark\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x32, Model: model, \
        TI hashes: \"mark: abcdef\"";
    write(folder, "theirs.png", &[("parameters", text)]);
    let lost = run(folder, &["remake", "theirs.png", "--model", "model"]);
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    let expected = "error: the LoRA \"ink\", which the picture was made with, is not there
hint: say where it is by --lora-dir, or leave it out by --ignore-missing
";
    assert_eq!((lost.status.code(), said.as_str()), (Some(2), expected));
    let (said, ours, _) = remade(folder, "theirs.png", &["--ignore-missing"]);
    let expected = "warning: left out, since it is not there: the LoRA \"ink\"
warning: left out, since it is not there: the embedding \"mark\"
";
    assert_eq!(said, expected);
    assert!(ours.starts_with("a cat  mark\nSteps: 2, "), "{ours}");

    let swarm = "{\"sui_image_params\": {\"prompt\": \"a cat\", \"seed\": 1, \"steps\": 2, \"cfgscale\": 7, \"model\": \"model\", \"loras\": [\"a/ink\"]}}";
    write(folder, "swarm.png", &[("parameters", swarm)]);
    assert_eq!(run(folder, &["remake", "swarm.png", "--model", "model"]).status.code(), Some(2));
    let (said, _, size) = remade(folder, "swarm.png", &["--ignore-missing"]);
    assert_eq!((said.as_str(), size), ("warning: left out, since it is not there: the LoRA \"ink\"\n", (96, 32)));
}
