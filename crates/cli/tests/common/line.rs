//! Runs the program with the words of one line.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

pub(crate) fn run(folder: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(args.split_whitespace()).stdin(Stdio::null()).output().unwrap()
}

/// What it wrote to stderr.
pub(crate) fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}
