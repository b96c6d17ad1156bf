//! Where images are written: through links, to pipes, to stdout.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    thread,
};

use tempfile::TempDir;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn txt2img(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(["txt2img", "a fox", "--steps", "1"]).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_image_goes_to_stdout_and_nothing_else_does() {
    let folder = TempDir::new().unwrap();
    let output = txt2img(folder.path(), &["-o", "-"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.starts_with(PNG) && output.stdout.ends_with(b"IEND\xaeB`\x82"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let several = txt2img(folder.path(), &["-o", "-", "--batch-size", "2"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(stderr(&several).contains("--output - is for one picture"), "{}", stderr(&several));
    let json = txt2img(folder.path(), &["-o", "-", "--json"]);
    assert!(json.status.code() == Some(2) && stderr(&json).contains("both write to stdout"), "{}", stderr(&json));
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_a_pipe_gets_the_bytes() {
    let folder = TempDir::new().unwrap();
    let (link, file, pipe) =
        (folder.path().join("link.png"), folder.path().join("kept/file.png"), folder.path().join("pipe"));
    fs::create_dir(folder.path().join("kept")).unwrap();
    fs::write(&file, "before").unwrap();
    std::os::unix::fs::symlink("kept/file.png", &link).unwrap();
    let output = txt2img(folder.path(), &["-o", "link.png"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(link.is_symlink() && fs::read(&file).unwrap().starts_with(PNG));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let read = thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).unwrap()
    });
    let output = txt2img(folder.path(), &["-o", "pipe"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(read.join().unwrap().starts_with(PNG));
    assert!(!fs::metadata(&pipe).unwrap().is_file(), "the pipe is still one");
}
