//! What tests of safety share.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

#[path = "../../../publish/tests/common/classifier.rs"]
mod classifier;
pub(crate) use classifier::classifier;

pub(crate) fn calotype(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calotype")).args(args).current_dir(folder).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn lines(log: &Path) -> Vec<Value> {
    fs::read_to_string(log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
