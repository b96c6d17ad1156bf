#![no_main]
use calotype_formats::{Checkpoint, TorchFile};

/// The pickles before the values, in torch's older form: a magic number, a version, a system.
const HEAD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TorchFile::from_bytes([HEAD, bytes].concat()) else { return };
    // What it prints walks through all of it.
    let _ = format!("{:?}", file.root());
    let Ok(weights) = Checkpoint::try_from(file) else { return };
    for tensor in weights.tensors() {
        assert_eq!(weights.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = weights.read_f32(&tensor.name);
    }
});
