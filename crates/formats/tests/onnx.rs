//! ONNX models as data. Those that are hostile are in `hostile/onnx.rs`.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/onnx.rs"]
mod onnx;

use calotype_formats::{DType, OnnxFile, OnnxNode};
use onnx::{bytes, model, node, number, tensor, varint};

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn tensors_and_operations_are_read() {
    let half = [0x00, 0x3c, 0x00, 0xc0];
    let graph = [
        node("Conv", &["x", "w", ""], "y"),
        tensor("w", 1, &[2, 2], (9, &floats(&[1.0, 2.0, 3.0, -4.5]))),
        tensor("b", 1, &[3], (4, &floats(&[0.5, 0.25, 8.0]))),
        tensor("half", 10, &[2], (9, &half)),
        tensor("count", 7, &[1], (9, &7u64.to_le_bytes())),
        tensor("scalar", 1, &[], (9, &floats(&[6.0]))),
        tensor("none", 1, &[0, 5], (9, &[])),
        // Integers and texts in protobuf's own form, and types that are not known.
        tensor("axes", 7, &[2], (7, &[varint(3), varint(u64::MAX)].concat())),
        tensor("texts", 8, &[1], (6, b"text")),
        tensor("complex", 14, &[1], (9, &[0; 8])),
        node("Relu", &["y"], "z"),
    ];
    let file = OnnxFile::from_bytes("m.onnx", model(&graph)).unwrap();
    let weights = file.weights();
    assert_eq!(
        weights.tensors().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["b", "count", "half", "none", "scalar", "w"]
    );
    assert_eq!(weights.read_f32("w").unwrap(), [1.0, 2.0, 3.0, -4.5]);
    assert_eq!(weights.read_f32("b").unwrap(), [0.5, 0.25, 8.0]);
    assert_eq!(weights.read_f32("half").unwrap(), [1.0, -2.0]);
    assert_eq!(weights.read_i64("count").unwrap(), [7]);
    assert_eq!(weights.get("w").map(|t| (t.dtype, t.shape.clone())), Some((DType::F32, vec![2, 2])));
    assert_eq!((weights.read_f32("scalar").unwrap(), weights.read_f32("none").unwrap()), (vec![6.0], vec![]));
    let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let relu = OnnxNode { op: "Relu".into(), inputs: texts(&["y"]), outputs: texts(&["z"]) };
    assert_eq!(
        file.nodes(),
        [OnnxNode { op: "Conv".into(), inputs: texts(&["x", "w", ""]), outputs: texts(&["y"]) }, relu]
    );
}

#[test]
fn sides_may_be_packed_and_fields_in_any_order() {
    let tensor =
        [bytes(9, &floats(&[1.0; 6])), bytes(1, &[2, 3]), number(2, 1), bytes(8, b"w"), bytes(12, b"note")].concat();
    // A field of eight bytes and one of four, which no message of ONNX has at these places.
    let unknown = [varint(40 << 3 | 1), vec![0; 8], varint(41 << 3 | 5), vec![0; 4]].concat();
    let file = [number(1, 8), bytes(7, &[unknown, bytes(5, &tensor)].concat()), bytes(3, b"1.0")].concat();
    let file = OnnxFile::from_bytes("m.onnx", file).unwrap();
    assert_eq!(file.weights().get("w").unwrap().shape, [2, 3]);
}

#[test]
fn no_cut_is_read_as_whole() {
    let whole = model(&[node("Conv", &["x", "w"], "y"), tensor("w", 1, &[2, 2], (9, &floats(&[1.0, 2.0, 3.0, 4.0])))]);
    // What is after the graph is not needed, and a cut there may fall between two fields.
    let graph_end = whole.len() - 4;
    for length in 0..graph_end {
        let message = OnnxFile::from_bytes("m.onnx", whole[..length].to_vec()).err().unwrap().to_string();
        assert!(!message.contains('\n'), "{length}: {message}");
    }
}
