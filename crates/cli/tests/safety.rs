//! `calotype watermark` and `calotype audit` as a user calls them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, process::Output};

use calotype_image::{RgbImage, encode_png, read_png_text};
use calotype_safety::audit::{Entry, Kind, Log, Query, publish};
use serde_json::Value;

use crate::common::{calotype, classifier, lines, text};

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

#[test]
fn images_are_what_the_policy_lets_through() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    classifier(&folder.join("vit"), 5.0);
    let policy = |action: &str, block: &str| {
        let text = format!(
            "[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\nflag = 0.5\n{block}action = \"{action}\"\n"
        );
        fs::write(folder.join("policy.toml"), text).unwrap();
    };
    let make = |command: &[&str], output: &str, more: &[&str]| {
        let all =
            [command, &["--steps", "1", "--width", "64", "--height", "64", "--seed", "5", "-o", output], more].concat();
        calotype(&all, folder)
    };
    let txt2img = &["txt2img", "a fox"];
    let safe = &["--safety", "policy.toml"];
    assert!(make(txt2img, "plain.png", &[]).status.success());
    let plain = fs::read(folder.join("plain.png")).unwrap();

    // Flagged: as it is, and said.
    policy("label", "");
    let made = make(txt2img, "flagged.png", safe);
    assert!(
        made.status.success()
            && text(&made.stderr).contains("the image of seed 5 is flagged by --safety: vit nsfw 0.99")
    );
    assert_eq!(fs::read(folder.join("flagged.png")).unwrap(), plain);

    // Blocked: nothing is there but the reason.
    policy("block", "block = 0.9\n");
    let made = make(txt2img, "blocked.png", &[safe, &["--json"][..]].concat());
    let json: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(
        (made.status.code(), &json["path"], &json["safety"]["action"]),
        (Some(1), &Value::Null, &"block".into())
    );
    assert_eq!(json["safety"]["scores"][1]["score"], "nsfw");
    assert_eq!(json["safety"]["scores"][1]["version"].as_str().unwrap().len(), 64);
    assert!(text(&made.stderr).contains("error: 1 of 1 images were blocked by --safety"), "{made:?}");
    let files =
        |name: &str| fs::read_dir(folder).unwrap().flatten().any(|e| e.file_name().to_string_lossy().contains(name));
    assert!(!files("blocked"));
    let made = make(&["img2img", "a fox", "--init-img", "plain.png", "--strength", "1"], "blocked.png", safe);
    assert!(
        text(&made.stderr).contains("error: plain.png: not taken, by --safety: vit nsfw 0.99 (from 0.90 on)"),
        "{made:?}"
    );
    let made = make(txt2img, "x.png", &[safe, &["--save-latents", "x.safetensors"][..]].concat());
    assert!(
        made.status.code() == Some(2) && text(&made.stderr).contains("--save-latents would show what --safety hides")
    );

    policy("blur", "block = 0.9\n");
    assert!(make(txt2img, "blurred.png", safe).status.success());
    let pixels =
        |name: &str| calotype_image::decode(&fs::read(folder.join(name)).unwrap(), &Default::default()).unwrap();
    let steps = |image: &RgbImage| image.data().windows(4).map(|x| u64::from(x[0].abs_diff(x[3]))).sum::<u64>();
    assert!(steps(&pixels("blurred.png")) * 3 < steps(&pixels("plain.png")));

    // What is harmless stays.
    classifier(&folder.join("vit"), -5.0);
    let made = make(txt2img, "harmless.png", safe);
    assert!(made.status.success() && crate::notes::without(text(&made.stderr)).is_empty(), "{made:?}");
    assert_eq!(fs::read(folder.join("harmless.png")).unwrap(), plain);
}

#[test]
fn a_policy_without_its_classifier_does_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |safety: &[&str], expected: &str| {
        let made = calotype(&[&["txt2img", "a fox", "-o", "x.png"], safety].concat(), folder.path());
        assert!(!made.status.success() && text(&made.stderr).contains(expected), "{made:?}");
        assert!(!folder.path().join("x.png").exists());
    };
    refused(
        &["--safety", "block"],
        "give --safety-checker PATH: the folder safety_checker of a Stable Diffusion 1 model",
    );
    refused(&["--safety", "block", "--safety-checker", "nothing"], "nothing");
    refused(&["--safety", "strict"], "expected off, flag, blur, hold, block, or a policy file that ends in .toml");
    refused(&["--safety", "none.toml"], "none.toml: cannot be read");
    fs::write(folder.path().join("p.toml"), "[[classifier]]\nid = \"a\"\nkind = \"vit\"\npath = \"v\"\nx = 1\n")
        .unwrap();
    refused(&["--safety", "p.toml"], "policy p.toml: line 5: unknown field `x`");
    let text = "[[classifier]]\nid = \"a\"\nkind = \"vit\"\npath = \"v\"\n[[score]]\nclassifier = \"a\"\nscore = \"cat\"\nflag = 1\n";
    fs::write(folder.path().join("p.toml"), text).unwrap();
    refused(&["--safety", "p.toml"], "v");
    classifier(&folder.path().join("v"), 0.0);
    refused(&["--safety", "p.toml"], "it has no score \"cat\": expected one of normal, nsfw");
}

#[test]
fn every_image_and_every_refusal_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let make = |output: &str, more: &[&str]| {
        let size = ["--steps", "1", "--width", "64", "--height", "64", "--seed", "5", "-o", output];
        calotype(&[&["txt2img", "a fox", "--negative-prompt", "a cat"], &size[..], more].concat(), folder)
    };
    let audit = &["--audit", "audit.jsonl"];
    assert!(make("a.png", audit).status.success());
    assert!(
        make("many", &[audit, &["--batch-size", "2", "--grid", "--audit-hash-prompts"][..]].concat()).status.success()
    );
    let rules = "[[deny]]\nid = \"r-7\"\nword = \"fox\"\nreason = \"an example\"\n";
    fs::write(folder.join("rules.toml"), rules).unwrap();
    let refused = make("refused.png", &[audit, &["--rules", "rules.toml"][..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("error: the prompt is refused by the rule \"r-7\" (an example)"),
        "{refused:?}"
    );
    classifier(&folder.join("vit"), 5.0);
    let policy = "[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\nblock = 0.9\n";
    fs::write(folder.join("policy.toml"), policy).unwrap();
    assert_eq!(make("blocked.png", &[audit, &["--safety", "policy.toml"][..]].concat()).status.code(), Some(1));

    let lines = lines(&folder.join("audit.jsonl"));
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["made", "made", "made", "made", "refused", "refused"]);
    assert_eq!((&lines[0]["prompt"]["text"], &lines[0]["negative_prompt"]["text"]), (&"a fox".into(), &"a cat".into()));
    assert_eq!((&lines[0]["seed"], &lines[0]["file"]), (&5.into(), &"a.png".into()));
    assert_eq!(lines[1]["prompt"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!([&lines[1]["file"], &lines[2]["file"], &lines[3]["file"]], ["00000.png", "00001.png", "grid-0000.png"]);
    assert_eq!((&lines[4]["rules"][0], &lines[4]["file"]), (&"r-7".into(), &Value::Null));
    assert_eq!((&lines[5]["verdict"], &lines[5]["scores"][1]["name"]), (&"block".into(), &"nsfw".into()));
    assert!(!folder.join("refused.png").exists() && !folder.join("blocked.png").exists());
    let verified = calotype(&["audit", "verify", "audit.jsonl"], folder);
    assert!(verified.status.success(), "{verified:?}");
    let found = calotype(&["audit", "search", "audit.jsonl", "--picture", "many/00001.png"], folder);
    assert!(found.status.success() && text(&found.stdout).contains("00001.png"), "{found:?}");

    // Where there is no log there is no image.
    let made = make("b.png", &["--audit", "/dev/full"]);
    let problem = "error: audit log /dev/full: it is not a regular file: give the log a file of its own\n";
    assert_eq!((made.status.code(), text(&made.stderr)), (Some(1), problem));
    assert!(!folder.join("b.png").exists());
}

/// Where a policy asks for the mark no image is without it: neither one that has no room for it, nor one at whose quality it is lost.
#[test]
fn a_policy_may_ask_for_the_watermark() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    classifier(&folder.join("vit"), -5.0);
    let policy = "watermark = \"required\"\n[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\nblock = 0.9\n";
    fs::write(folder.join("policy.toml"), policy).unwrap();
    let make = |command: &str, output: &str| {
        let all = format!("{command} --steps 1 --safety policy.toml -o {output}");
        calotype(&all.split_whitespace().collect::<Vec<_>>(), folder)
    };
    let large = "txt2img fox --width 128 --height 128";
    let refused = |made: &Output, status: i32, expected: &str| {
        assert_eq!((made.status.code(), text(&made.stderr)), (Some(status), expected));
        assert!(!folder.join("x.png").exists() && !folder.join("x.jpg").exists());
    };
    assert!(make(large, "a.png").status.success());
    let asks = "--safety asks for a watermark (watermark = \"required\")";
    let small = "error: images of 64 x 64 have no watermark: they are too small for one, which takes 96 x 96 pixels";
    refused(&make("txt2img fox", "x.png"), 1, &format!("{small}; not written, for {asks}\n"));
    let hint = "hint: give --watermark tiled\n";
    refused(&make(&format!("{large} --no-watermark"), "x.png"), 2, &format!("error: --no-watermark: {asks}\n{hint}"));
    let lost = "error: no watermark can be read back from the file of the image of seed 42, so it has none";
    refused(&make(&format!("{large} --quality 1"), "x.jpg"), 1, &format!("{lost}; not written, for {asks}\n"));
    let plain = calotype(
        &[&large.split(' ').collect::<Vec<_>>()[..], &["--steps", "1", "--no-watermark", "-o", "b.png"]].concat(),
        folder,
    );
    assert!(plain.status.success());
    let remade = calotype(&["remake", "b.png", "--safety", "policy.toml", "-o", "x.png"], folder);
    refused(&remade, 2, &format!("error: the image is remade as it was, without a mark: {asks}\n{hint}"));
    assert!(make("txt2img fox", "x.png").status.code() == Some(1));
    fs::write(folder.join("policy.toml"), policy.replace("required", "wanted")).unwrap();
    assert!(make("txt2img fox", "y.png").status.success());
    fs::write(folder.join("policy.toml"), policy.replace("required", "perhaps")).unwrap();
    let made = make(large, "x.png");
    assert!(text(&made.stderr).contains("policy policy.toml: line 1: unknown variant `perhaps`"), "{made:?}");
}

/// A held image and the blurred copy in its place each have their own mark, and each line the id of the image that it tells of.
#[test]
fn held_images_have_marks_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    classifier(&folder.join("vit"), 5.0);
    let policy = "watermark = \"required\"\n[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\nblock = 0.9\naction = \"hold\"\n";
    fs::write(folder.join("policy.toml"), policy).unwrap();
    let run = |line: &str| calotype(&line.split_whitespace().collect::<Vec<_>>(), folder);
    let id = |file: &str| {
        let read = run(&format!("watermark read --quick --json {file}"));
        let rows: Value = serde_json::from_slice(&read.stdout).unwrap();
        rows[0]["watermarks"][0]["id"].as_str().unwrap().to_owned()
    };
    let large = "txt2img fox --steps 1 --width 128 --height 128";
    assert!(run(&format!("{large} -o plain.png")).status.success());
    let made = run(&format!("{large} --safety policy.toml --audit log -o out/a.png --json"));
    assert!(made.status.success(), "{made:?}");
    let printed: Value = serde_json::from_slice(&made.stdout).unwrap();
    let (blurred, original) = (id("out/a.png"), id("plain.png"));
    assert_ne!(blurred, original);
    assert_eq!(printed["watermark"]["id"], blurred.as_str());
    let held = printed["held"].as_str().unwrap();
    let released = run(&format!("review release out {held} --by me"));
    assert!(released.status.success(), "{released:?}");
    assert_eq!(id("out/a.png"), original);
    assert_eq!(fs::read(folder.join("out/a.png")).unwrap(), fs::read(folder.join("plain.png")).unwrap());
    let lines = lines(&folder.join("log"));
    let ids: Vec<_> =
        lines.iter().map(|line| (line["kind"].as_str().unwrap(), line["watermark_id"].as_str())).collect();
    assert_eq!(ids, [("held", Some(blurred.as_str())), ("released", Some(original.as_str()))]);
}
