//! All tests of the server that can share a process: one program to link instead of one for each file.

#![allow(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

#[path = "../../publish/tests/common/classifier.rs"]
mod classifier;
mod common;
#[path = "../../calotype/tests/common/listed.rs"]
mod listed;

mod access;
mod clients;
mod docs;
mod jobs;
mod openai;
mod paths;
mod proxy;
mod review;
mod webhooks;

#[test]
fn every_file_of_this_folder_is_a_module_or_a_program_of_its_own() {
    listed::check(env!("CARGO_MANIFEST_DIR"), include_str!("all.rs"));
}
