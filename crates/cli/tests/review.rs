//! Held images and `calotype review` as a user calls them, and processes that are killed.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use calotype_safety::{
    audit::{Log, Query},
    review::list,
};
use serde_json::Value;

use crate::common::{calotype, classifier, lines, text};

/// Makes a classifier that finds something in every image, and a policy that does `action` with them.
fn policy(folder: &Path, action: &str) {
    classifier(&folder.join("vit"), 5.0);
    let text = format!(
        "[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\nblock = 0.9\naction = \"{action}\"\n"
    );
    fs::write(folder.join("policy.toml"), text).unwrap();
}

const MAKE: [&str; 10] = ["txt2img", "a fox", "--steps", "1", "--width", "64", "--height", "64", "--seed", "5"];
const HOLD: [&str; 4] = ["--safety", "policy.toml", "--audit", "audit.jsonl"];

fn make(folder: &Path, more: &[&str]) -> Output {
    calotype(&[&MAKE[..], more].concat(), folder)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn held_images_are_decided_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    policy(folder, "hold");
    assert!(make(folder, &["-o", "plain.png"]).status.success());
    let plain = fs::read(folder.join("plain.png")).unwrap();

    // Without a log, and where there is no folder, nothing begins.
    let made = make(folder, &["-o", "x.png", "--safety", "policy.toml"]);
    assert!(made.status.code() == Some(2) && text(&made.stderr).contains("give --audit LOG"), "{made:?}");
    let made = make(folder, &[&["-o", "-"], &HOLD[..]].concat());
    assert!(made.status.code() == Some(2) && made.stdout.is_empty(), "{made:?}");

    let made = make(folder, &[&["-o", "out/a.png", "--json"], &HOLD[..]].concat());
    assert!(made.status.success(), "{made:?}");
    assert!(text(&made.stderr).contains("the image of seed 5 is held by --safety: vit nsfw 0.99"), "{made:?}");
    let said = json(&made);
    assert_eq!((&said["safety"]["action"], &said["path"]), (&"hold".into(), &"out/a.png".into()));
    let id = said["held"].as_str().unwrap().to_owned();
    let blurred = fs::read(folder.join("out/a.png")).unwrap();
    assert_ne!(blurred, plain);

    let listed = calotype(&["review", "list", "out", "--json"], folder);
    let listed = &json(&listed)[0];
    assert_eq!((&listed["id"], &listed["scores"][1]["name"]), (&id.as_str().into(), &"nsfw".into()));
    assert!(
        listed["path"].as_str().unwrap().ends_with("out/a.png") && listed["reason"].as_str().unwrap().contains("nsfw")
    );
    assert_eq!(fs::read(folder.join(listed["original"].as_str().unwrap())).unwrap(), plain);
    let listed = calotype(&["review", "list", "out/held"], folder);
    assert!(text(&listed.stdout).starts_with(&id), "{listed:?}");
    let shown = calotype(&["review", "show", "out", &id[..8]], folder);
    assert!(text(&shown.stdout).contains("prompt        a fox\nseed          5\n"), "{shown:?}");

    // Who decides must be known.
    let nobody = Command::new(env!("CARGO_BIN_EXE_calotype"))
        .args(["review", "release", "out", &id])
        .env_remove("USER")
        .env_remove("LOGNAME")
        .env_remove("USERNAME")
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(nobody.status.code() == Some(2) && text(&nobody.stderr).contains("give --by NAME"), "{nobody:?}");
    assert_eq!(fs::read(folder.join("out/a.png")).unwrap(), blurred);

    let released = calotype(&["review", "release", "out", &id, "--by", "ada", "--reason", "a statue"], folder);
    assert!(released.status.success() && text(&released.stdout).contains("released: "), "{released:?}");
    assert_eq!(fs::read(folder.join("out/a.png")).unwrap(), plain);
    let again = calotype(&["review", "release", "out", &id, "--by", "ada"], folder);
    assert!(again.status.code() == Some(1) && text(&again.stderr).contains("no image with the id"), "{again:?}");

    // Several, in a folder of their own, to which the log was named.
    // Scores are in the metadata where that is asked for, and stay when the image is made again.
    policy(folder, "label");
    let made = make(folder, &["-o", "scored.png", "--safety", "policy.toml", "--safety-scores"]);
    assert!(made.status.success(), "{made:?}");
    let info = calotype(&["info", "--json", "scored.png"], folder);
    assert!(text(&info.stdout).contains("\"score\":\"nsfw\""), "{info:?}");
    let remade = calotype(&["remake", "scored.png", "-o", "again.png"], folder);
    assert!(remade.status.success(), "{remade:?}");
    assert_eq!(fs::read(folder.join("scored.png")).unwrap(), fs::read(folder.join("again.png")).unwrap());
    policy(folder, "hold");
    let made = make(folder, &[&["-o", "many/", "--batch-size", "2", "--held", "apart", "--grid"], &HOLD[..]].concat());
    assert!(made.status.success(), "{made:?}");
    let listed = json(&calotype(&["review", "list", "apart", "--json"], folder));
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|held| held["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    let rejected = calotype(&["review", "reject", "apart", ids[0], ids[1], "--by", "ada"], folder);
    assert!(rejected.status.success(), "{rejected:?}");
    assert!(
        folder.join("many/00000.png").exists()
            && json(&calotype(&["review", "list", "apart", "--json"], folder)) == Value::Array(vec![])
    );

    let lines = lines(&folder.join("audit.jsonl"));
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["held", "released", "held", "held", "made", "rejected", "rejected"]);
    assert_eq!(
        (&lines[1]["who"], &lines[1]["reason"], &lines[1]["prompt"]["text"]),
        (&"ada".into(), &"a statue".into(), &"a fox".into())
    );
    assert!(calotype(&["audit", "verify", "audit.jsonl"], folder).status.success());
    let found = calotype(&["audit", "search", "audit.jsonl", "--picture", "plain.png"], folder);
    // Held and released, and held again and rejected: the same image by the same seed.
    assert_eq!(text(&found.stdout).lines().count(), 4, "{found:?}");
    let missing = calotype(&["review", "list", "nothing"], folder);
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("nothing"), "{missing:?}");
}

/// Runs in `folder` that are killed at any moment, `CALOTYPE_KILLS` of them.
fn kill(folder: &Path, more: &[&str]) -> u64 {
    let kills = std::env::var("CALOTYPE_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(5u64);
    let out = folder.join("out");
    let images = || fs::read_dir(&out).map_or(0, Iterator::count);
    for kill in 0..kills {
        let mut child = Command::new(env!("CARGO_BIN_EXE_calotype"))
            .args(MAKE)
            .args(["--batch-count", "50", "-o", "out/", "--audit", "audit.jsonl", "--quiet"])
            .args(more)
            .current_dir(folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let first = images();
        // Some kills come before there is an image, most between and within them.
        let pause = Duration::from_millis(1);
        for _ in 0..3000 {
            if images() > first + kill as usize % 5 {
                break;
            }
            std::thread::sleep(pause);
        }
        std::thread::sleep(pause * (kill as u32 * 7 % 23));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(Log::open(folder.join("audit.jsonl")).unwrap());
    let verified = calotype(&["audit", "verify", "audit.jsonl"], folder);
    assert!(verified.status.success(), "{verified:?}");
    kills
}

/// The log's lines by the hash of their file.
fn by_file(folder: &Path) -> BTreeMap<String, Value> {
    let lines = lines(&folder.join("audit.jsonl")).into_iter();
    lines.filter_map(|line| Some((line["file_sha256"].as_str()?.to_owned(), line))).collect()
}

/// The hashes of the images of `out`, all of which can be read.
fn images(folder: &Path) -> Vec<String> {
    let mut images = Vec::new();
    for entry in fs::read_dir(folder.join("out")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().ends_with(".png") {
            let query = Query::image(&fs::read(entry.path()).unwrap());
            let Query::Image { file_sha256, pixels_sha256 } = query else { unreachable!() };
            assert!(pixels_sha256.is_some(), "{:?}", entry.file_name());
            images.push(file_sha256);
        }
    }
    images
}

/// Killed at any moment: every file has its line, none is half, and the log goes on.
#[test]
fn a_killed_process_leaves_no_image_without_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let kills = kill(folder.path(), &[]);
    let (lines, images) = (by_file(folder.path()), images(folder.path()));
    assert!(images.iter().all(|hash| lines.contains_key(hash)));
    assert!(images.len() as u64 >= kills / 2, "{} images of {kills} runs", images.len());
}

/// Nor is anything held by half, and no original stands where its blurred copy should.
#[test]
fn a_killed_process_leaves_no_image_held_by_half() {
    let folder = tempfile::tempdir().unwrap();
    policy(folder.path(), "hold");
    let kills = kill(folder.path(), &["--safety", "policy.toml"]);
    let (lines, images) = (by_file(folder.path()), images(folder.path()));
    assert!(images.iter().all(|hash| lines.get(hash).is_some_and(|line| line["kind"] == "held")));
    assert!(images.len() as u64 >= kills / 2, "{} images of {kills} runs", images.len());
    let held = list(&folder.path().join("out")).unwrap();
    assert!(held.len() >= images.len(), "{} held, {} blurred", held.len(), images.len());
    let originals: Vec<String> = held
        .iter()
        .map(|held| {
            let held = held.as_ref().unwrap();
            let line = lines.get(&held.image().shown_sha256).unwrap();
            let Query::Image { file_sha256, .. } = Query::image(&held.original().unwrap()) else { unreachable!() };
            assert_eq!(line["original_sha256"], file_sha256);
            file_sha256
        })
        .collect();
    assert!(images.iter().all(|image| !originals.contains(image)));
}
