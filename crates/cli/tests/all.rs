//! All tests of the program that can share a process: one program to link instead of one for each file.

#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

#[path = "../../server/tests/common/client.rs"]
#[allow(dead_code, reason = "the server's own tests use all of it")]
mod client;
mod common;
#[path = "../../hub/tests/common/mod.rs"]
mod hub;
#[path = "common/line.rs"]
mod line;
#[path = "../../calotype/tests/common/mod.rs"]
mod models;
mod notes;
#[path = "../../formats/tests/common/mod.rs"]
mod torch_files;

mod adapters;
mod cli;
mod compvis;
mod floors;
mod help;
mod inspect;
mod license;
mod marks;
mod modes;
mod output;
mod pull;
mod remake;
mod review;
mod safety;
mod serve;
mod strangers;
mod upscale;

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
