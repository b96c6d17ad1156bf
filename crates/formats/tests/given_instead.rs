//! Files that people give in place of weights: each is told by what it is, with what to do, in one line.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use calotype_formats::Checkpoint;
use tempfile::TempDir;

fn refused(path: &Path, expected: &str) {
    let start = Instant::now();
    let error = Checkpoint::open(path, "").err().unwrap().to_string();
    assert!(error.contains(expected) && !error.contains('\n') && error.len() < 400, "{expected}: {error}");
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1), "{expected}: {:?}", start.elapsed());
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn each_is_told_by_what_it_is() {
    let folder = TempDir::new().unwrap();
    let tar = [&[b'x'; 257][..], b"ustar\x0000", &[0; 300]].concat();
    let onnx = [b"\x08\x07\x12\x07pytorch\x1a\x051.13.1:".as_slice(), &[7; 600]].concat();
    let long_text = "a note about the model. ".repeat(60);
    let cases: [(&[u8], &str); 27] = [
        (b"GGUF\x03\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00", "a GGUF file (get the model as safetensors)"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\nsize 4\n",
            "Git LFS pointer (run `git lfs pull`",
        ),
        (b"<!DOCTYPE html><html></html>", "a web page (the download failed)"),
        (b"<!doctype HTML>\n<html>", "a web page"),
        (b"\xef\xbb\xbf\r\n  <HTML><body>404", "a web page"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", "a JPEG picture"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "a PNG picture"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "a WebP picture"),
        (b"GIF89a\x01\x00\x01\x00", "a GIF picture"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"", "the file has 0 bytes, a safetensors file at least 10: download it again"),
        (b"abc", "the file has 3 bytes, a safetensors file at least 10"),
        (&onnx, "an ONNX model (get the model as safetensors)"),
        (&tar, "a tar archive"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive (unpack it first)"),
        (b"Rar!\x1a\x07\x01\x00\x33", "a RAR archive (unpack it first)"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "a gzip file (unpack it first)"),
        (b"\x93NUMPY\x01\x00v\x00", "a NumPy array"),
        (b"{\"error\":\"Access to model is restricted\"}", "an error message from a web server"),
        (b"{\n  \"_class_name\": \"UNet2DConditionModel\"\n}\n", "a text file (give the file of the weights"),
        (b"model:\n  base_learning_rate: 1.0e-04\n", "a text file"),
        (b"config: none of this is a pickle\n", "a text file"),
        ("Ein Text über Modelle\n".as_bytes(), "a text file"),
        (long_text.as_bytes(), "a text file"),
        (&[0; 4096], "a file of zeros (a download that was not finished: download it again)"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", "a damaged file, or one of a format that is not known here"),
    ];
    for (bytes, expected) in cases {
        for name in ["model.safetensors", "model.ckpt"] {
            refused(&write(&folder, name, bytes), expected);
        }
    }
    // Still a pickle that asks for what no weights need.
    refused(&write(&folder, "evil.ckpt", b"cos\nsystem\n(S'echo hi'\ntR."), "os.system");
    refused(folder.path().join("nothing.ckpt").as_path(), "cannot open the file");
}

#[test]
fn a_download_under_way_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let header = r#"{"a":{"dtype":"U8","shape":[200000],"data_offsets":[0,200000]}}"#;
    let bytes = |data: u8| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[data; 200_000]].concat();
    fs::write(&path, bytes(1)).unwrap();
    assert!(!Checkpoint::open(&path, "").unwrap().ends_in_zeros());
    fs::write(&path, bytes(0)).unwrap();
    assert!(Checkpoint::open(&path, "").unwrap().ends_in_zeros());
    fs::write(folder.path().join("model.safetensors.aria2"), "x").unwrap();
    refused(&path, "aria2 has not finished this download");
    fs::remove_file(folder.path().join("model.safetensors.aria2")).unwrap();
    fs::write(&path, &bytes(1)[..100_000]).unwrap();
    refused(&path, "is cut off, its header describes 200071: download it again");
}

/// Two gigabytes of which the end is missing, as a safetensors file and as torch's archive: refused at once.
#[test]
fn a_large_file_that_is_cut_off_is_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let size = 2_u64 << 30;
    let sparse = |name: &str, start: &[u8]| {
        let path = folder.path().join(name);
        let mut file = File::create(&path).unwrap();
        file.write_all(start).unwrap();
        file.seek(SeekFrom::Start(size)).unwrap();
        file.set_len(size).unwrap();
        path
    };
    let elements = size; // Twice what there is.
    let header = format!(r#"{{"a":{{"dtype":"F16","shape":[{elements}],"data_offsets":[0,{}]}}}}"#, 2 * elements);
    let start = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    refused(&sparse("model.safetensors", &start), "is cut off, its header describes");
    refused(&sparse("model.ckpt", b"PK\x03\x04\x00\x00\x08\x08\x00\x00"), "download it again");
    refused(&sparse("legacy.ckpt", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."), "legacy.ckpt");
}
