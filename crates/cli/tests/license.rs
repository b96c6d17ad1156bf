//! Licences of models: shown once, noted, and said in images.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn calotype(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
        let command = command.args(args).current_dir(self.folder.path());
        command.env("XDG_DATA_HOME", self.path("data")).env_remove("CALOTYPE_ACCEPT_LICENSE").output().unwrap()
    }

    /// A folder with the files of the built-in model, as links, and these files.
    fn model(&self, name: &str, files: &[(&str, &str)]) {
        let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/emoji").canonicalize().unwrap();
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(emoji).unwrap().flatten() {
            std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    fn make(&self, model: &str, more: &[&str]) -> Output {
        let all = ["txt2img", "a fox", "--steps", "1", "--width", "128", "--height", "128", "--json", "-o", "x.png"];
        let model: &[&str] = if model.is_empty() { &[] } else { &["--model", model] };
        self.calotype(&[&all[..], model, more].concat())
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.path("data/calotype/licenses.json")).unwrap_or_default()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn said(made: &Output) -> &str {
    assert!(made.status.success(), "{made:?}");
    text(&made.stderr)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

const CARD: &str = "---\nlicense: creativeml-openrail-m\n---\n# A model\n";

#[test]
fn use_restrictions_are_shown_once() {
    let home = Home::new();
    home.model("stable-diffusion-v1-4", &[]);
    home.model("another", &[("README.md", CARD)]);
    let made = home.make("stable-diffusion-v1-4", &["--audit", "audit.jsonl"]);
    let shown = said(&made);
    assert!(shown.contains("licence: stable-diffusion-v1-4 is under creativeml-openrail-m (https://"), "{shown}");
    assert_eq!(shown.matches("licence: - ").count(), 11);
    assert!(shown.contains("this is shown once: going on accepts it"), "{shown}");
    assert_eq!(json(&made)["license"], "creativeml-openrail-m");
    let lines: Vec<Value> = fs::read_to_string(home.path("audit.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&lines[0]["kind"], &lines[1]["kind"]), (&"accepted".into(), &"made".into()));
    assert!(lines[0]["reason"].as_str().unwrap().contains("creativeml-openrail-m"));
    assert!(home.notes().contains("creativeml-openrail-m"), "{}", home.notes());
    // The same licence, whichever model has it.
    assert_eq!(said(&home.make("stable-diffusion-v1-4", &[])), "");
    assert_eq!(said(&home.make("another", &[])), "");
    // Of a picture too its licence is known.
    let remade = home.calotype(&["remake", "x.png", "--model", "another", "-o", "y.png"]);
    assert_eq!(said(&remade), "");
    assert_eq!(fs::read(home.path("x.png")).unwrap(), fs::read(home.path("y.png")).unwrap());
}

#[test]
fn accepted_without_a_run_or_by_an_option() {
    let home = Home::new();
    home.model("m", &[("LICENSE", "CreativeML Open RAIL++-M License\n")]);
    let shown = home.calotype(&["models", "license", "m"]);
    assert!(shown.status.success() && text(&shown.stdout).contains("not accepted yet"), "{shown:?}");
    assert_eq!(home.notes(), "");
    let accepted = json(&home.calotype(&["models", "license", "m", "--accept", "--json"]));
    assert_eq!((&accepted["accepted"], &accepted["license"]["name"]), (&true.into(), &"openrail++".into()));
    assert_eq!(said(&home.make("m", &[])), "");

    let home = Home::new();
    home.model("m", &[("README.md", CARD)]);
    let made = home.make("m", &["--accept-license"]);
    assert!(said(&made).contains("licence: - ") && !said(&made).contains("going on accepts"), "{made:?}");
    assert_eq!(said(&home.make("m", &[])), "");
}

#[test]
fn models_without_use_restrictions_ask_nothing() {
    let home = Home::new();
    home.model("random", &[]);
    home.model("free", &[("README.md", "---\nlicense: apache-2.0\n---\n")]);
    for (model, license) in [("random", Value::Null), ("free", "apache-2.0".into()), ("", "MIT OR Apache-2.0".into())] {
        let made = home.make(model, &[]);
        assert_eq!((said(&made), &json(&made)["license"]), ("", &license), "{model}");
    }
    assert_eq!(home.notes(), "");
    let unknown = home.calotype(&["models", "license", "random"]);
    assert!(
        unknown.status.code() == Some(1) && text(&unknown.stderr).contains("its licence is not stated"),
        "{unknown:?}"
    );
    let inspected = home.calotype(&["models", "inspect", "free"]);
    assert!(text(&inspected.stdout).contains("licence     apache-2.0, as README.md says"), "{inspected:?}");
    let listed = json(&home.calotype(&["models", "list", ".", "--json"]));
    let licenses: Vec<&Value> = listed.as_array().unwrap().iter().map(|listed| &listed["license"]).collect();
    assert_eq!(licenses, [&Value::from("apache-2.0"), &Value::Null]);
}

#[test]
fn where_nothing_can_be_noted_it_is_shown_again() {
    let home = Home::new();
    home.model("m", &[("README.md", CARD)]);
    fs::write(home.path("data"), "a file").unwrap();
    for _ in 0..2 {
        let made = home.make("m", &[]);
        assert!(said(&made).contains("licence: - ") && said(&made).contains("warning: it can't be noted"), "{made:?}");
    }
}
