//! The hostile ONNX models of `attacks/README.md`: each must be refused with exactly the message given.

use std::fs;

use calotype_formats::OnnxFile;

use crate::common::{
    listed,
    onnx::{bytes, model, number, tensor, varint},
    processor_seconds,
};

const DATA: [u8; 4] = 1.0f32.to_le_bytes();

/// A model whose only field of the graph is a tensor of these fields.
fn of_fields(fields: &[Vec<u8>]) -> Vec<u8> {
    model(&[bytes(5, &fields.concat())])
}

fn named(name: &str, shape: &[usize]) -> Vec<u8> {
    model(&[tensor(name, 1, shape, (9, &DATA))])
}

/// The fields of a model before its graph, and then these bytes.
fn begun(rest: &[Vec<u8>]) -> Vec<u8> {
    [number(1, 4), bytes(2, b"tf2onnx"), rest.concat()].concat()
}

/// `(name in attacks/README.md, file, message after the file's name)`
fn attacks() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let w = || tensor("w", 1, &[1], (9, &DATA));
    let head = |data_type: u64| vec![number(1, 1), number(2, data_type), bytes(8, b"w")];
    let mut cut = model(&[w()]);
    cut.truncate(cut.len() - 5);
    vec![
        ("onnx-shape", named("w", &[2]), "tensor \"w\": its 4 bytes are not those of F32 [2]: get the file again"),
        (
            "onnx-shape-overflow",
            named("w", &[usize::MAX / 2, 9]),
            "tensor \"w\": its 4 bytes are not those of F32 [9223372036854775807, 9]: get the file again",
        ),
        (
            "onnx-shape-negative",
            named("w", &[usize::MAX]),
            "tensor \"w\": its 4 bytes are not those of F32 [18446744073709551615]: get the file again",
        ),
        (
            "onnx-shape-empty-overflow",
            model(&[tensor("w", 1, &[0, usize::MAX], (9, &[]))]),
            "tensor \"w\": its 0 bytes are not those of F32 [0, 18446744073709551615]: get the file again",
        ),
        (
            "onnx-dimensions",
            named("w", &[1; 17]),
            "no valid ONNX model: at byte 49 is a tensor of more than 16 dimensions: get the file again",
        ),
        (
            "onnx-scattered",
            model(&[tensor("w", 10, &[2], (5, &[1, 2]))]),
            "tensor \"w\": its numbers are not in one piece: save the model with raw_data",
        ),
        (
            "onnx-other-numbers",
            model(&[tensor("w", 10, &[2], (4, &DATA))]),
            "tensor \"w\": its numbers are not in one piece: save the model with raw_data",
        ),
        (
            "onnx-two-data",
            of_fields(&[head(1), vec![bytes(9, &DATA), bytes(9, &DATA)]].concat()),
            "tensor \"w\": its numbers are not in one piece: save the model with raw_data",
        ),
        (
            "onnx-external",
            of_fields(&[head(1), vec![bytes(13, b"/etc/passwd"), number(14, 1)]].concat()),
            "tensor \"w\": its data is in another file: save the model with its data in it",
        ),
        (
            "onnx-nameless",
            named("", &[1]),
            "no valid ONNX model: at byte 15 is a tensor without a name: get the file again",
        ),
        (
            "onnx-name-long",
            named(&"x".repeat(5000), &[1]),
            "no valid ONNX model: at byte 24 is a name of 5000 bytes, at most 4096 are allowed: get the file again",
        ),
        (
            "onnx-name-not-utf8",
            of_fields(&[number(1, 1), number(2, 1), bytes(8, b"\xe9"), bytes(9, &DATA)]),
            "no valid ONNX model: at byte 21 is a name that is not UTF-8: get the file again",
        ),
        (
            "onnx-name-control",
            named("a\nb\x1b[2J", &[7]),
            "tensor \"a\\nb\\u{1b}[2J\": its 4 bytes are not those of F32 [7]: get the file again",
        ),
        ("onnx-same-name", model(&[w(), w()]), "tensor \"w\": there twice: do not use this file"),
        (
            "onnx-no-graph",
            begun(&[bytes(8, &number(2, 9))]),
            "no valid ONNX model: at byte 15 is its end, and no graph before it: get the file again",
        ),
        (
            "onnx-two-graphs",
            [model(&[w()]), bytes(7, &w())].concat(),
            "no valid ONNX model: at byte 34 is a second graph: get the file again",
        ),
        (
            "onnx-length-huge",
            begun(&[varint(7 << 3 | 2), varint(u64::MAX)]),
            "no valid ONNX model: at byte 11 is a field of 18446744073709551615 bytes, where its message has 0 more: get the file again",
        ),
        (
            "onnx-length-past-parent",
            begun(&[bytes(7, &[0x2a, 0x40, 0x08]), vec![0; 64]]),
            "no valid ONNX model: at byte 13 is a field of 64 bytes, where its message has 1 more: get the file again",
        ),
        (
            "onnx-group",
            begun(&[vec![0x3b]]),
            "no valid ONNX model: at byte 11 is a field of wire type 3, which ONNX does not have: get the file again",
        ),
        (
            "onnx-number-long",
            begun(&[vec![0x28], vec![0xff; 9], vec![0x02]]),
            "no valid ONNX model: at byte 12 is a number of more than 64 bits: get the file again",
        ),
        (
            "onnx-number-cut",
            begun(&[vec![0x28, 0xff]]),
            "no valid ONNX model: at byte 12 is a number that goes on after the end of its message: get the file again",
        ),
        (
            "onnx-cut",
            cut,
            "no valid ONNX model: at byte 11 is a field of 15 bytes, where its message has 14 more: get the file again",
        ),
        (
            "onnx-many-operations",
            model(&[bytes(1, b"").repeat(50_001)]),
            "no valid ONNX model: at byte 100017 is a graph of more than 50000 operations: get the file again",
        ),
        (
            "onnx-many-inputs",
            model(&[bytes(1, &bytes(1, b"").repeat(250_001))]),
            "no valid ONNX model: at byte 19 is a graph of more than 250000 inputs of operations: get the file again",
        ),
        (
            "onnx-many-tensors",
            model(&(0..=100_000).map(|n| tensor(&n.to_string(), 1, &[0], (9, &[]))).collect::<Vec<_>>()),
            "no valid ONNX model: at byte 1488907 is a graph of more than 100000 tensors: get the file again",
        ),
        (
            "onnx-is-gguf",
            b"GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0".to_vec(),
            "this is a GGUF file (get the model as safetensors), not an ONNX model: give the .onnx file",
        ),
        (
            "onnx-is-zip",
            b"PK\x03\x04\0\0\0\0\0\0\0\0".to_vec(),
            "this is a zip archive, not an ONNX model: give the .onnx file",
        ),
        (
            "onnx-is-pickle",
            b"\x80\x02}q\0.\0\0\0\0\0\0\0\0\0\0".to_vec(),
            "this is a PyTorch file, not an ONNX model: give the .onnx file",
        ),
        (
            "onnx-is-safetensors",
            b"\x02\0\0\0\0\0\0\0{}".to_vec(),
            "this is a safetensors file, not an ONNX model: give the .onnx file",
        ),
        (
            "onnx-is-web-page",
            b"<!DOCTYPE html><html></html>".to_vec(),
            "this is a web page (the download failed), not an ONNX model: give the .onnx file",
        ),
        ("onnx-empty", Vec::new(), "this is a file that was cut off, not an ONNX model: give the .onnx file"),
    ]
}

#[test]
fn every_hostile_model_gets_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut wrong = Vec::new();
    for (name, file, expected) in attacks() {
        fs::write(&path, &file).unwrap();
        let start = processor_seconds();
        let on_disk = OnnxFile::open(&path).err().unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(processor_seconds() - start < 1.0, "{name}");
        let in_memory = OnnxFile::from_bytes("model", file).err().unwrap().to_string();
        let message = in_memory.strip_prefix("model: ").unwrap();
        assert_eq!(on_disk.strip_prefix(&format!("{}: ", path.display())), Some(message));
        assert!(!message.contains(char::is_control) && message.len() < 400, "{message}");
        if message != expected {
            wrong.push(format!("{name}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_names_them() {
    assert_eq!(listed("ONNX models"), attacks().iter().map(|attack| attack.0).collect::<Vec<_>>());
}
