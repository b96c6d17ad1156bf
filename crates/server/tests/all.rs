//! All tests of the server that can share a process: one program to link instead of one for each file.

#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

#[path = "../../publish/tests/common/classifier.rs"]
mod classifier;
mod common;

mod access;
mod clients;
mod docs;
mod jobs;
mod openai;
mod paths;
mod proxy;
mod review;
mod webhooks;

use std::{fs, path::Path};

#[test]
fn every_file_of_this_folder_is_a_module_or_a_program_of_its_own() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".rs") else { continue };
        let module = include_str!("all.rs").lines().any(|line| line == format!("mod {stem};"));
        assert!(module || manifest.contains(&format!("path = \"tests/{name}\"")), "{name}");
    }
}
