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
#[path = "../../calotype/tests/common/listed.rs"]
mod listed;
#[path = "../../calotype/tests/common/mod.rs"]
mod models;
mod notes;
#[path = "../../formats/tests/common/mod.rs"]
mod torch_files;
#[path = "../../models/tests/common/vgg.rs"]
mod vgg;

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

#[test]
fn every_file_of_this_folder_is_a_module_or_a_program_of_its_own() {
    listed::check(env!("CARGO_MANIFEST_DIR"), include_str!("all.rs"));
}
