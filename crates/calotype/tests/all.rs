//! All tests of the library that can share a process: one program to link instead of one for each file.

#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod common;
#[path = "../../../fuzz/mutator.rs"]
mod mutator;

mod adapters;
mod convert;
mod folders;
mod found;
mod in_memory;
mod inspect;
mod kept;
mod layouts;
mod metadata;
mod modes;
mod mutations;
mod noise;
mod pipeline;
mod prompts;
mod request;
mod runs;
mod schedulers;
mod sd1_tiny;
mod strangers;
mod tiles;
mod tiny_vae;
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
