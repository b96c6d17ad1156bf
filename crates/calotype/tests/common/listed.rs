//! That a folder of tests in one program has them all in it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

/// Fails for a file in the `tests` of the package at `package` that is no module of `all`, the text of its `all.rs`, and no program of its own.
pub(crate) fn check(package: &str, all: &str) {
    let package = Path::new(package);
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    for entry in fs::read_dir(package.join("tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".rs") else { continue };
        let is_module = all.lines().any(|line| line == format!("mod {stem};"));
        assert!(is_module || manifest.contains(&format!("path = \"tests/{name}\"")), "{name}");
    }
}
