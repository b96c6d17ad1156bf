//! All tests of the library that can share a process: one program to link instead of one for each file.

#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod common;
#[path = "common/listed.rs"]
mod listed;
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

#[test]
fn every_file_of_this_folder_is_a_module_or_a_program_of_its_own() {
    listed::check(env!("CARGO_MANIFEST_DIR"), include_str!("all.rs"));
}
