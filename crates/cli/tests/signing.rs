//! `--sign-key` and `calotype keys` as a user calls them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    path::Path,
    process::{Command, Output},
};

fn run(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calotype")).current_dir(folder).args(line.split(' ')).output().unwrap()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[cfg(not(feature = "c2pa"))]
#[test]
fn a_build_without_c2pa_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let without = "this calotype was built without C2PA: build it with cargo build --release --features c2pa\n";
    let keys = run(folder, "keys signing");
    assert_eq!((keys.status.code(), said(&keys)), (Some(2), format!("error: {without}").as_str()));
    let made = run(folder, "txt2img fox -o x.png --sign-key a --sign-cert b");
    assert_eq!((made.status.code(), said(&made)), (Some(2), format!("error: --sign-key: {without}").as_str()));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[cfg(feature = "c2pa")]
mod with_c2pa {
    use std::fs;

    use calotype_image::{Limits, PictureTexts, decode};
    use calotype_safety::{
        audit::Query,
        provenance::{Report, read},
    };

    use super::*;

    fn done(folder: &Path, line: &str) -> String {
        let output = run(folder, line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", said(&output));
        said(&output).to_owned()
    }

    /// What the manifest of a file says to those who trust the root.
    fn report(folder: &Path, name: &str) -> Report {
        let root = fs::read_to_string(folder.join("keys/root.pem")).unwrap();
        read(&fs::read(folder.join(name)).unwrap(), Some(&root)).unwrap()
    }

    const KEY: &str = "--sign-key keys/key.pem --sign-cert keys/chain.pem";

    #[test]
    fn images_are_signed_last_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let note = done(folder, "keys signing --output keys --name Somebody");
        assert!(note.starts_with("note: ") && note.contains("no trust list knows"), "{note}");
        let large = "--steps 2 --width 128 --height 128";
        for ending in ["png", "jpg", "webp"] {
            let (plain, signed, changed) =
                (format!("plain.{ending}"), format!("signed.{ending}"), format!("changed.{ending}"));
            done(folder, &format!("txt2img fox {large} -o {plain}"));
            assert_eq!(done(folder, &format!("txt2img fox {large} -o {signed} {KEY} --audit log")), "");
            let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
            let pixels = |name: &str| decode(&bytes(name), &Limits::default()).unwrap();
            assert_eq!(pixels(&signed), pixels(&plain));
            assert_eq!(PictureTexts::read(&bytes(&signed)).unwrap(), PictureTexts::read(&bytes(&plain)).unwrap());
            let found = report(folder, &signed);
            assert!(found.is_trusted, "{:?}", found.problems);
            assert_eq!(found.signer.as_deref(), Some("Somebody"));
            let read = run(folder, &format!("watermark read --quick {signed}"));
            let id = String::from_utf8_lossy(&read.stdout).rsplit(' ').next().unwrap().trim().to_owned();
            let text = found.json.to_string();
            assert!(text.contains("calotype.tiled.1") && text.contains(&id) && id.len() == 16, "{id} {text}");
            let info = run(folder, &format!("info {signed}"));
            let info = String::from_utf8_lossy(&info.stdout).into_owned();
            assert!(info.contains("C2PA manifest: valid, signed by Somebody (trust not checked)"), "{info}");
            let info = run(folder, &format!("info --json {plain} {signed}"));
            let info = String::from_utf8_lossy(&info.stdout).into_owned();
            assert!(info.contains("\"c2pa\":null") && info.contains("\"signer\":\"Somebody\""), "{info}");
            // The log has the file as it is.
            let Query::Image { file_sha256, .. } = Query::image(&bytes(&signed)) else { unreachable!() };
            assert!(fs::read_to_string(folder.join("log")).unwrap().contains(&file_sha256));

            // Made again it is the same but for the signature.
            done(folder, &format!("remake {signed} -o again.{ending}"));
            assert_eq!(bytes(&format!("again.{ending}")), bytes(&plain));

            // Begun with it, an image names it, and has its manifest.
            done(folder, &format!("img2img fox --init-img {signed} --steps 2 -o {changed} {KEY}"));
            let found = report(folder, &changed);
            assert!(
                found.is_trusted && found.json["manifests"].as_object().unwrap().len() == 2,
                "{:?}",
                found.problems
            );
            let text = found.json.to_string();
            assert!(text.contains("c2pa.opened") && text.contains(&format!("\"title\":\"{signed}\"")), "{text}");
            // Wherever that is now.
            fs::rename(folder.join(&signed), folder.join("moved")).unwrap();
            done(folder, &format!("remake {changed} --picture moved -o {changed} {KEY}"));
            assert!(report(folder, &changed).is_trusted);
        }
        done(folder, &format!("txt2img fox --steps 1 --batch-size 2 --grid -o many {KEY}"));
        assert!(report(folder, "many/grid-0000.png").is_trusted && report(folder, "many/00001.png").is_trusted);
    }

    #[test]
    fn keys_are_kept_apart_and_wrong_ones_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        done(folder, "keys signing --output keys");
        done(folder, "keys signing --output others");
        let again = run(folder, "keys signing --output keys");
        let problem = "error: keys/root.pem: is there already: give another folder with --output\n";
        assert_eq!((again.status.code(), said(&again)), (Some(1), problem));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode("keys/key.pem"), mode("keys/chain.pem")), (0o600, 0o644));
        }
        for args in [
            "--sign-key others/key.pem --sign-cert keys/chain.pem",
            "--sign-key keys/key.pem --sign-cert keys/root.pem",
            "--sign-key keys/chain.pem --sign-cert keys/key.pem",
            "--sign-key nothing.pem --sign-cert keys/chain.pem",
            "--sign-key keys/key.pem",
            "--sign-key keys/key.pem --sign-cert keys/chain.pem --no-metadata",
        ] {
            let made = run(folder, &format!("txt2img fox --steps 1 -o x.png {args}"));
            let lines: Vec<&str> = said(&made).lines().collect();
            assert!(made.status.code() != Some(0) && lines[0].starts_with("error: "), "{args}: {lines:?}");
            assert!(lines.len() == 1 || lines[1].starts_with("hint: "), "{args}: {lines:?}");
            assert!(!folder.join("x.png").exists());
        }
        // An image to start from that is gone by then can't be named.
        done(folder, "txt2img fox --steps 1 --width 128 --height 128 -o init.png");
        done(folder, "img2img fox --init-img init.png --steps 2 -o made.png");
        fs::rename(folder.join("init.png"), folder.join("moved.png")).unwrap();
        let made = run(folder, &format!("remake made.png -o x.png {KEY}"));
        assert!(made.status.code() == Some(1) && !folder.join("x.png").exists(), "{}", said(&made));
    }
}
