#![no_main]
use calotype_formats::OnnxFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = OnnxFile::from_bytes("x.onnx", bytes.to_vec()) else { return };
    let weights = file.weights();
    for tensor in weights.tensors() {
        assert_eq!(weights.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = (weights.read_f32(&tensor.name), weights.read_i64(&tensor.name));
    }
});
