//! What there is to compute on, and a choice of it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn calotype(args: &[&str], folder: &Path) -> Output {
    // What is compiled for a card is kept here, and not in the user's folder.
    let kept = ("CALOTYPE_CACHE", folder.join("cache"));
    Command::new(env!("CARGO_BIN_EXE_calotype")).args(args).envs([kept]).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A picture of one step.
fn make(more: &[&str], folder: &Path) -> Output {
    let all = ["txt2img", "a fox", "--steps", "1", "--width", "64", "--height", "64", "-o", "x.png", "--json"];
    calotype(&[&all[..], more].concat(), folder)
}

fn devices(folder: &Path) -> Vec<Value> {
    let made = calotype(&["devices", "--json"], folder);
    assert!(made.status.success(), "{made:?}");
    text(&made.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn devices_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let devices = devices(folder.path());
    assert_eq!(devices[0]["device"], "cpu");
    assert!(devices[0]["precisions"].as_array().unwrap().iter().any(|precision| precision == "f32"));
    for (number, card) in devices[1..].iter().enumerate() {
        assert_eq!(card["device"], format!("gpu:{number}"));
        assert!(card["tier"] == "plain" || card["tier"] == "khr", "{card}");
    }
    assert!(cfg!(feature = "gpu") || devices.len() == 1);
    let people = calotype(&["devices"], folder.path());
    assert!(text(&people.stdout).starts_with("cpu "), "{people:?}");
    assert_eq!(text(&people.stdout).lines().count(), devices.len());
}

#[test]
fn a_device_that_is_not_there_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let made = make(&["--device", "cuda"], folder.path());
    assert_eq!(made.status.code(), Some(2));
    assert!(text(&made.stderr).contains("expected auto, cpu, gpu or gpu:N"), "{made:?}");
    let made = make(&["--device", "gpu:999"], folder.path());
    let (status, said) = match cfg!(feature = "gpu") {
        true => (1, "there is no adapter 999"),
        false => (2, "build it with --features gpu"),
    };
    assert_eq!(made.status.code(), Some(status), "{made:?}");
    assert!(text(&made.stderr).contains(said), "{made:?}");
    // A driver may have lines of its own there.
    assert_eq!(text(&made.stderr).lines().filter(|line| line.contains(said)).count(), 1);
    assert!(!folder.path().join("x.png").exists());
    assert!(make(&["--device", "cpu"], folder.path()).status.success());
}

#[test]
fn training_on_a_card_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = calotype(&["train", "diffusion", "--config", "x.toml", "--device", "gpu"], folder.path());
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("only the processor trains"), "{refused:?}");
}

#[test]
fn a_bench_on_a_device_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let benched = calotype(&["bench", "--device", "gpu:999"], folder.path());
    assert!(!benched.status.success() && benched.stdout.is_empty(), "{benched:?}");
}

/// What a software driver takes is nowhere told, and what it was asked for is.
#[cfg(feature = "gpu")]
#[test]
fn a_bench_of_a_software_driver_tells_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let bench = |device: &str, more: &[&str]| {
        let all = ["bench", "--width", "64", "--height", "64", "--repeat", "1", "--device", device];
        calotype(&[&all[..], more].concat(), folder.path())
    };
    for card in devices(folder.path()).iter().filter(|card| card["software"] == true && card["device"] != "cpu") {
        let device = card["device"].as_str().unwrap();
        let benched = bench(device, &["--json", "--profile"]);
        assert!(benched.status.success(), "{benched:?}");
        let report: Value = serde_json::from_slice(&benched.stdout).unwrap();
        assert_eq!(report["software"], true);
        assert!(report["unet_step_seconds"].is_null() && report["profile"].is_null(), "{report}");
        assert_eq!(report["vae_decodes_seconds"].as_array().map(Vec::len), Some(0));
        let step = &report["work"]["unet_step"];
        assert!(step["dispatches"].as_u64() > Some(50) && step["flops"].as_f64() > Some(1e6), "{step}");
        let people = bench(device, &[]);
        let said = text(&people.stdout);
        assert!(said.contains("n/a") && said.contains("no card's speed") && said.contains("dispatches"), "{said}");
        assert!(bench(device, &["--part", "unet"]).status.code() == Some(2));
    }
}

/// On every adapter that is there, software drivers included: the device is told, and nearly the same picture comes out.
#[cfg(feature = "gpu")]
#[test]
fn pictures_are_made_on_cards() {
    use calotype_image::{Limits, decode, psnr};

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let picture = |device: &[&str]| {
        let made = make(&[&["--no-watermark", "--device"], device].concat(), folder);
        assert!(made.status.success(), "{made:?}");
        let picture = decode(&std::fs::read(folder.join("x.png")).unwrap(), &Limits::default()).unwrap();
        (picture, text(&made.stderr).to_owned())
    };
    let (expected, _) = picture(&["cpu", "--precision", "f32"]);
    for card in devices(folder).iter().filter(|card| card["device"] != "cpu" && card["lacks"].is_null()) {
        let device = card["device"].as_str().unwrap();
        for precision in card["precisions"].as_array().unwrap() {
            let precision = precision.as_str().unwrap();
            let (picture, said) = picture(&[device, "--precision", precision]);
            assert!(said.contains("computing on gpu (") && said.contains(&format!(" in {precision}")), "{said}");
            let alike = psnr(&picture, &expected).unwrap();
            assert!(alike > 40.0, "{device} {precision}: {alike} dB");
        }
        let refused = make(&["--device", device, "--precision", "bf16"], folder);
        assert!(text(&refused.stderr).contains("take f16 or f32"), "{refused:?}");
    }
}
