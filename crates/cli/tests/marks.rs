//! What generated images carry: a watermark, metadata that say how they came to be; and what is left out when that is asked for.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use calotype_image::{Limits, PictureTexts, RgbImage, decode, encode_png, psnr, read_png_text};
use serde_json::Value;
use tempfile::TempDir;

use crate::line::{run, said};

/// It worked, and this is what it said.
fn done(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args}: {}", said(&output));
    said(&output).to_owned()
}

/// One image of the built-in model, of a size that has room for a mark.
fn fox(folder: &Path, args: &str) -> String {
    done(folder, &format!("txt2img fox --steps 1 --width 128 --height 128 {args}"))
}

fn pixels(folder: &Path, name: &str) -> RgbImage {
    decode(&fs::read(folder.join(name)).unwrap(), &Limits::default()).unwrap()
}

fn texts(folder: &Path, name: &str) -> PictureTexts {
    PictureTexts::read(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// The ids that `watermark read` finds.
fn ids(folder: &Path, name: &str) -> Vec<String> {
    let output = run(folder, &format!("watermark read --quick --json {name}"));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    rows[0]["watermarks"].as_array().unwrap().iter().map(|mark| mark["id"].as_str().unwrap_or("").to_owned()).collect()
}

/// This program's JSON in a PNG.
fn json(folder: &Path, name: &str) -> Value {
    let texts = read_png_text(&fs::read(folder.join(name)).unwrap()).unwrap();
    serde_json::from_str(&texts.iter().find(|(key, _)| key == "calotype").unwrap().1).unwrap()
}

/// The id that an image must have: of its pixels before the mark.
fn id_of(folder: &Path, unmarked: &str) -> String {
    format!("{:016x}", calotype_safety::watermark::id_of(&pixels(folder, unmarked)))
}

#[test]
fn every_format_carries_the_id_that_is_said_everywhere() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let note = fox(folder, "--no-watermark -o plain.png");
    assert_eq!(note, "note: --no-watermark: the images have no watermark\n");
    let id = id_of(folder, "plain.png");
    assert!(ids(folder, "plain.png").is_empty() && json(folder, "plain.png")["watermark"].is_null());
    for name in ["a.png", "a.webp", "a.jpg"] {
        let output =
            run(folder, &format!("txt2img fox --steps 1 --width 128 --height 128 -o {name} --audit log --json"));
        assert_eq!((output.status.code(), said(&output)), (Some(0), ""));
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&printed["watermark"]["scheme"], &printed["watermark"]["id"]),
            (&"tiled".into(), &id.as_str().into())
        );
        assert_eq!(ids(folder, name), [id.as_str()], "{name}");
        assert!(psnr(&pixels(folder, name), &pixels(folder, "plain.png")).unwrap() > 36.0, "{name}");
        let info = run(folder, &format!("info {name}"));
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(info.contains(&format!("Watermark: tiled, id {id}")), "{info}");
        assert!(info.contains("Digital source type: trainedAlgorithmicMedia"), "{info}");
    }
    assert_eq!(json(folder, "a.png")["watermark"]["id"], id.as_str());
    let found = run(folder, &format!("audit search log --watermark {id}"));
    let lines = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!((found.status.code(), lines.lines().count()), (Some(0), 3), "{lines}");
    assert!(lines.contains("\"file\":\"a.jpg\""));

    // The same command gives the same bytes.
    fox(folder, "-o b.png");
    assert_eq!(fs::read(folder.join("a.png")).unwrap(), fs::read(folder.join("b.png")).unwrap());
    // The default is what its name gives.
    fox(folder, "-o c.png --watermark tiled");
    assert_eq!(fs::read(folder.join("a.png")).unwrap(), fs::read(folder.join("c.png")).unwrap());
}

/// At a quality at which the faintest mark is lost the strength is what it takes, and said.
#[test]
fn the_strength_rises_until_the_file_has_the_id() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let mut strengths = Vec::new();
    for quality in (10..=100).step_by(10) {
        let output =
            run(folder, &format!("txt2img fox --steps 1 --width 128 --height 128 -o q.jpg --json --quality {quality}"));
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = ids(folder, "q.jpg");
        if printed["watermark"].is_null() {
            let warning =
                "warning: no watermark can be read back from the file of the image of seed 42, so it has none\n";
            assert_eq!((said(&output), found.len()), (warning, 0), "{quality}");
            assert!(quality < 60, "{quality}");
        } else {
            assert_eq!(found, [printed["watermark"]["id"].as_str().unwrap()], "{quality}");
            strengths.push(printed["watermark"]["strength"].as_u64().unwrap_or(0));
        }
    }
    assert!(strengths.last() == Some(&0) && strengths.iter().any(|&strength| strength > 0), "{strengths:?}");
}

#[test]
fn marked_images_are_remade_with_their_mark() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    for (name, args) in [
        ("tiled.png", ""),
        ("none.png", "--no-watermark"),
        ("coarse.jpg", "--quality 60"),
        ("package.png", "--watermark dwtDctSvd --width 256 --height 256"),
        ("small.png", "--width 64"),
        ("wide.webp", "--width 332 --height 188"),
    ] {
        let size = if args.contains("width") { args.to_owned() } else { format!("--width 128 --height 128 {args}") };
        done(folder, &format!("txt2img fox --steps 1 {size} -o {name}"));
        let again = format!("again-{name}");
        let quality = if name.ends_with("jpg") { "--quality 60" } else { "" };
        assert_eq!(done(folder, &format!("remake {name} -o {again} {quality}")), "");
        assert_eq!(bytes(name), bytes(&again), "{name}");
    }
    // Changed, it is a new image, with a mark and an id of its own.
    assert_eq!(done(folder, "remake none.png --seed 5 -o seed.png"), "");
    assert_eq!(ids(folder, "seed.png").len(), 1);
    assert_ne!(ids(folder, "seed.png"), ids(folder, "tiled.png"));
    // And what is asked for counts.
    assert_eq!(done(folder, "remake none.png --watermark tiled -o tiled2.png"), "");
    assert_eq!(bytes("tiled2.png"), bytes("tiled.png"));
    done(folder, "remake tiled.png --no-watermark -o none2.png");
    assert_eq!(bytes("none2.png"), bytes("none.png"));

    // A scheme of a later version.
    let mut metadata = json(folder, "tiled.png");
    metadata["watermark"]["scheme"] = "later".into();
    let file = encode_png(&pixels(folder, "tiled.png"), &[("calotype", &metadata.to_string())]).unwrap();
    fs::write(folder.join("later.png"), file).unwrap();
    let output = run(folder, "remake later.png -o x.png");
    let expected = "error: the image has a watermark of the scheme \"later\", which is not known here\n\
        hint: give --watermark or --no-watermark for an image without it\n";
    assert_eq!((output.status.code(), said(&output)), (Some(2), expected));
    assert!(!folder.join("x.png").exists());
}

#[test]
fn small_images_stay_without_a_mark_and_that_is_said_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let note = done(folder, "txt2img fox --steps 1 --batch-size 2 --batch-count 2 --grid -o many/");
    let small = "note: images of 64 x 64 have no watermark: they are too small for one, which takes 96 x 96 pixels\n";
    assert_eq!(note, small);
    assert!(json(folder, "many/00003.png")["watermark"].is_null());
    // A grid of them is large enough, and has a mark of its own.
    let grid = done(folder, "txt2img fox --steps 1 --batch-size 2 --batch-count 2 --grid -o grid/ --audit log");
    assert_eq!(grid, small);
    let id = &ids(folder, "grid/grid-0000.png")[0];
    let found = run(folder, &format!("audit search log --watermark {id}"));
    assert!(String::from_utf8_lossy(&found.stdout).contains("grid-0000.png"), "{found:?}");
    // Another scheme takes more.
    let note = fox(folder, "--watermark dwtDct -o x.png");
    assert!(note.ends_with("too small for one, which takes 256 x 256 pixels\n"), "{note}");
    // Half a mark is told.
    let warned =
        done(folder, "txt2img fox --steps 1 --width 256 --height 256 --watermark dwtDctSvd -o x.jpg --quality 10");
    assert!(warned.starts_with("warning: of the dwtDctSvd watermark ") && warned.lines().count() == 1, "{warned}");
    let output = run(folder, "txt2img fox --watermark tiled --no-watermark");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn files_say_how_they_came_to_be() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fox(folder, "-o init.png");
    fs::write(folder.join("mask.png"), encode_png(&RgbImage::filled(128, 128, [255; 3]), &[]).unwrap()).unwrap();
    let made = "trainedAlgorithmicMedia";
    let composite = "compositeWithTrainedAlgorithmicMedia";
    for (args, word) in [
        ("txt2img fox --width 128 --height 128", made),
        ("txt2img fox --hires-scale 2", made),
        ("img2img fox --init-img init.png", composite),
        ("inpaint fox --init-img init.png --mask mask.png", composite),
        ("outpaint fox --init-img init.png --left 32", composite),
    ] {
        for ending in ["png", "jpg", "webp"] {
            let name = format!("x.{ending}");
            assert_eq!(done(folder, &format!("{args} --steps 2 -o {name}")), "", "{args}");
            let xmp = texts(folder, &name).xmp().unwrap().to_owned();
            for element in [
                format!("<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/{word}</"),
                format!("<xmp:CreatorTool>Calotype {}</", env!("CARGO_PKG_VERSION")),
                "<Iptc4xmpExt:AISystemUsed>Calotype</".to_owned(),
                format!("<Iptc4xmpExt:AISystemVersionUsed>{}</", env!("CARGO_PKG_VERSION")),
            ] {
                assert!(xmp.contains(&element), "{args} {ending}: {xmp}");
            }
            assert!(!xmp.contains("fox"), "what a person wrote is elsewhere");
            // Made again as it was.
            done(folder, &format!("remake {name} -o again.{ending}"));
            assert_eq!(
                fs::read(folder.join(&name)).unwrap(),
                fs::read(folder.join(format!("again.{ending}"))).unwrap()
            );
        }
    }
    done(folder, "txt2img fox --steps 1 --batch-size 2 --grid -o many/");
    assert!(texts(folder, "many/grid-0000.png").xmp().unwrap().contains(made));
    // A prompt that is too long for a JPEG leaves the packet in it.
    let long = "long,".repeat(14_000);
    let warned = done(folder, &format!("txt2img {long} --steps 1 --width 128 --height 128 -o long.jpg"));
    assert!(warned.contains("too long for a JPEG's metadata"), "{warned}");
    assert_eq!(texts(folder, "long.jpg").texts.len(), 1);
    assert!(texts(folder, "long.jpg").xmp().unwrap().contains(made) && ids(folder, "long.jpg").len() == 1);
}

#[test]
fn without_metadata_a_file_has_pixels_and_their_mark_alone() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let expected = "note: --no-metadata: the files say neither how they were made nor that they were generated\n";
    for name in ["a.png", "a.jpg", "a.webp"] {
        assert_eq!(fox(folder, &format!("--no-metadata -o {name}")), expected);
        assert_eq!(texts(folder, name).texts, [], "{name}");
        assert_eq!(ids(folder, name).len(), 1, "{name}");
        let bytes = fs::read(folder.join(name)).unwrap();
        assert!(!bytes.windows(8).any(|part| part.eq_ignore_ascii_case(b"calotype")), "{name}");
    }
    fox(folder, "-o whole.png");
    assert_eq!(pixels(folder, "whole.png"), pixels(folder, "a.png"));
    done(folder, "txt2img fox --steps 1 --batch-size 2 --grid --no-metadata -o many/");
    assert_eq!(texts(folder, "many/grid-0000.png").texts, []);
    let both = fox(folder, "--no-metadata --no-watermark -o bare.png");
    assert_eq!(both, format!("note: --no-watermark: the images have no watermark\n{expected}"));
    assert!(ids(folder, "bare.png").is_empty() && texts(folder, "bare.png").texts.is_empty());
}
