//! Where images are written: through links, to pipes, to stdout.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    thread,
};

use calotype_image::{Limits, decode, psnr, read_png_text, read_user_comment};
use tempfile::TempDir;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn txt2img(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(folder).args(["txt2img", "a fox", "--steps", "1"]).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    crate::notes::without(std::str::from_utf8(&output.stderr).unwrap()).to_owned()
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

/// By the ending of one file, or by name for a folder, whose files are counted whatever they are.
#[test]
fn images_are_written_in_the_format_that_is_asked_for() {
    let place = TempDir::new().unwrap();
    let folder = place.path();
    let done = |args: &[&str]| {
        let output = txt2img(folder, args);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        String::from_utf8(output.stdout).unwrap()
    };
    done(&["-o", "fox.png"]);
    let png = decode(&fs::read(folder.join("fox.png")).unwrap(), &Limits::default()).unwrap();
    let parameters = read_png_text(&fs::read(folder.join("fox.png")).unwrap()).unwrap().remove(0).1;
    for (file, start, is_exact) in
        [("fox.jpg", &b"\xff\xd8\xff"[..], false), ("fox.JPEG", b"\xff\xd8\xff", false), ("fox.webp", b"RIFF", true)]
    {
        assert_eq!(done(&["-o", file]), format!("{file}\n"));
        let bytes = fs::read(folder.join(file)).unwrap();
        assert!(bytes.starts_with(start), "{file}");
        let picture = decode(&bytes, &Limits::default()).unwrap();
        assert!(if is_exact { picture == png } else { psnr(&picture, &png).unwrap() > 30.0 }, "{file}");
        assert_eq!(read_user_comment(&bytes).unwrap(), Some(parameters.clone()), "{file}");
    }
    done(&["-o", "coarse.jpg", "--quality", "10"]);
    let size = |file: &str| fs::metadata(folder.join(file)).unwrap().len();
    assert!(size("coarse.jpg") < size("fox.jpg"));
    let said = done(&["-o", "many", "--format", "jpg", "--batch-size", "2", "--grid"]);
    assert_eq!(said, "many/00000.jpg\nmany/00001.jpg\nmany/grid-0000.jpg\n");
    assert_eq!(done(&["-o", "many"]), "many/00002.png\n");
    assert_eq!(done(&["-o", "many/", "--format", "webp"]), "many/00003.webp\n");
    let grid = fs::read(folder.join("many/grid-0000.jpg")).unwrap();
    assert!(read_user_comment(&grid).unwrap().is_some_and(|text| text.starts_with("a fox\nSteps: 1")));
    let stdout = txt2img(folder, &["-o", "-", "--format", "webp"]).stdout;
    assert!(stdout.starts_with(b"RIFF"));
}

/// Before anything is computed or made.
#[test]
fn what_no_file_can_be_is_refused() {
    let place = TempDir::new().unwrap();
    let refused = |args: &[&str], message: &str| {
        let output = txt2img(place.path(), args);
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().next()), (Some(2), Some(format!("error: {message}").as_str())));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    };
    for name in ["x.gif", "a/x.bmp", "x.tiff", "x.txt"] {
        let problem = "images are written as PNG, JPEG or WebP: end it in .png, .jpg or .webp";
        refused(&["-o", name], &format!("--output {name}: {problem}"));
    }
    let both = "--output x.jpg: its ending is that of a JPEG, but --format asks for WebP";
    refused(&["-o", "x.jpg", "--format", "webp"], both);
    let loss = "--quality is that of JPEG files, and a WebP has no loss: end --output in .jpg, or give --format jpg";
    refused(&["-o", "x.webp", "--quality", "90"], loss);
    refused(&["-o", "many/", "--quality", "90"], &loss.replace("WebP", "PNG"));
    let format = "invalid value 'gif' for '--format <NAME>': expected png, jpg or webp";
    refused(&["--format", "gif"], format);
    let range = "invalid value '0' for '--quality <N>': 0 is not in 1..=100";
    refused(&["-o", "x.jpg", "--quality", "0"], range);
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
