//! A crate depends only on crates of lower floors (ARCHITECTURE.md).

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, process::Command};

const FLOORS: [(&str, i8); 20] = [
    ("calotype-files", -1),
    ("calotype-tensor", 0),
    ("calotype-formats", 0),
    ("calotype-text", 0),
    ("calotype-image", 0),
    ("calotype-diffusion", 1),
    ("calotype-gpu", 1),
    ("calotype-models", 1),
    ("calotype-hub", 1),
    ("calotype-checkpoint", 2),
    ("calotype", 3),
    ("calotype-safety", 3),
    ("calotype-bench", 4),
    ("calotype-train", 4),
    ("calotype-publish", 4),
    ("calotype-queue", 4),
    ("calotype-engine", 5),
    ("calotype-icons", 5),
    ("calotype-server", 6),
    ("calotype-cli", 7),
];

/// Of every crate of the workspace, the crates of the workspace that it depends on.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: Vec<String> = packages.iter().map(text).collect();
    let of = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        // A test may use what its crate may not.
        all.filter(|d| d["kind"] != "dev").map(text).filter(|name| ours.contains(name)).collect()
    };
    packages.iter().map(|package| (text(package), of(package))).collect()
}

#[test]
fn no_crate_reaches_up_a_floor() {
    let floors = BTreeMap::from(FLOORS);
    let floor = |name: &str| {
        *floors.get(name).unwrap_or_else(|| panic!("{name} has no floor: add it to FLOORS and to ARCHITECTURE.md"))
    };
    for (name, dependencies) in dependencies() {
        for dependency in dependencies {
            assert!(
                floor(&dependency) < floor(&name),
                "{name} (floor {}) depends on {dependency} (floor {})",
                floor(&name),
                floor(&dependency)
            );
        }
    }
}
