//! ONNX models, byte by byte.

#![allow(dead_code, reason = "each test uses some of it")]

/// A number in the form of protocol buffers.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field that is a number.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is bytes, a text, or a message.
pub(crate) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// An initializer with its numbers in the field `data.0`: 9 is `raw_data`.
pub(crate) fn tensor(name: &str, data_type: u64, shape: &[usize], data: (u64, &[u8])) -> Vec<u8> {
    let mut tensor: Vec<u8> = shape.iter().flat_map(|&side| number(1, side as u64)).collect();
    tensor.extend(number(2, data_type));
    tensor.extend(bytes(8, name.as_bytes()));
    tensor.extend(bytes(data.0, data.1));
    bytes(5, &tensor)
}

/// A node, with an attribute that nothing reads.
pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|input| bytes(1, input.as_bytes())).collect();
    node.extend(bytes(2, output.as_bytes()));
    node.extend(bytes(3, b"name"));
    node.extend(bytes(4, op.as_bytes()));
    node.extend(bytes(5, &[bytes(1, b"group"), number(3, 1), number(20, 2)].concat()));
    bytes(1, &node)
}

/// A model of a graph's fields, as tf2onnx begins it.
pub(crate) fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    [number(1, 4), bytes(2, b"tf2onnx"), bytes(7, &graph.concat()), bytes(8, &number(2, 9))].concat()
}
