//! `calotype watermark` and `calotype audit` as a user calls them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use calotype_image::{RgbImage, encode_png, read_png_text};
use calotype_safety::audit::{Entry, Kind, Log, Query, publish};
use serde_json::Value;

fn calotype(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calotype")).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn picture() -> RgbImage {
    let data = (0..256 * 256).flat_map(|i| [(i % 256) as u8 / 2 + 40, (i / 256) as u8 / 3 + 60, 120]).collect();
    RgbImage::new(256, 256, data).unwrap()
}

#[test]
fn marks_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("a.png"), encode_png(&picture(), &[("parameters", "a prompt")]).unwrap()).unwrap();

    let none = calotype(&["watermark", "read", "a.png"], folder);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stdout).contains("no watermark") && text(&none.stderr).starts_with("error: "));

    let id = "0123456789abcdef";
    let written = calotype(&["watermark", "write", "a.png", "--output", "b.png", "--id", id], folder);
    assert!(written.status.success() && text(&written.stdout).contains(id), "{written:?}");
    let texts = read_png_text(&fs::read(folder.join("b.png")).unwrap()).unwrap();
    assert_eq!(texts, [("parameters".to_owned(), "a prompt".to_owned())]);
    let read = calotype(&["watermark", "read", "--json", "--quick", "b.png"], folder);
    let json: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(json[0]["watermarks"][0]["id"], id);

    let random = calotype(&["watermark", "write", "a.png", "--output", "c.png"], folder);
    let read = calotype(&["watermark", "read", "b.png", "c.png"], folder);
    let id = text(&random.stdout).split("id ").nth(1).unwrap()[..16].to_owned();
    assert!(read.status.success() && text(&read.stdout).contains(&id), "{read:?}");

    let package = calotype(&["watermark", "write", "a.png", "-o", "d.png", "--scheme", "dwtDctSvd"], folder);
    assert!(package.status.success(), "{package:?}");
    let read = calotype(&["watermark", "read", "d.png"], folder);
    assert!(text(&read.stdout).contains("dwtDctSvd, \"StableDiffusionV1\", 100 %"), "{read:?}");

    fs::write(folder.join("small.png"), encode_png(&RgbImage::filled(32, 32, [9; 3]), &[]).unwrap()).unwrap();
    let small = calotype(&["watermark", "write", "small.png", "--output", "e.png"], folder);
    assert!(small.status.code() == Some(1) && !folder.join("e.png").exists());
    assert_eq!(calotype(&["watermark", "write", "a.png", "-o", "f.png", "--id", "xyz"], folder).status.code(), Some(2));
}

#[test]
fn logs_are_verified_searched_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut log = Log::open(folder.join("log")).unwrap();
    let file = encode_png(&picture(), &[]).unwrap();
    let Query::Image { pixels_sha256, .. } = Query::image(&file) else { unreachable!() };
    let entry = Entry { watermark_id: Some("00000000000000aa".into()), pixels_sha256, ..Entry::new(Kind::Made) };
    publish(&mut log, entry, &file, &folder.join("a.png")).unwrap();
    log.append(&Entry { reason: Some("a, \"b\"".into()), ..Entry::new(Kind::Refused) }).unwrap();
    log.anchor(&folder.join("anchor")).unwrap();
    drop(log);

    let verified = calotype(&["audit", "verify", "log", "--anchor", "anchor"], folder);
    assert!(verified.status.success() && text(&verified.stdout).contains("2 lines"), "{verified:?}");
    for query in [["--watermark", "00000000000000AA"], ["--picture", "a.png"]] {
        let found = calotype(&["audit", "search", "log", query[0], query[1]], folder);
        assert!(found.status.success() && text(&found.stdout).contains("\"file\":\"a.png\""), "{found:?}");
    }
    let nothing = calotype(&["audit", "search", "log", "--watermark", "00000000000000bb"], folder);
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(1), 0));
    assert_eq!(calotype(&["audit", "search", "log"], folder).status.code(), Some(2));

    let json: Value = serde_json::from_slice(&calotype(&["audit", "export", "log"], folder).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    let csv = calotype(&["audit", "export", "log", "--csv"], folder);
    assert!(text(&csv.stdout).contains("\"a, \"\"b\"\"\""), "{csv:?}");

    let lines = fs::read_to_string(folder.join("log")).unwrap();
    fs::write(folder.join("log"), lines.replace("refused", "made")).unwrap();
    let changed = calotype(&["audit", "verify", "log", "--json"], folder);
    let json: Value = serde_json::from_slice(&changed.stdout).unwrap();
    assert_eq!((changed.status.code(), json["faults"][0]["line"].as_u64()), (Some(1), Some(2)));
    assert!(!calotype(&["audit", "export", "log"], folder).status.success());
}
