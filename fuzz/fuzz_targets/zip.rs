#![no_main]
use calotype_formats::{Checkpoint, TorchFile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let archive = [b"PK".as_slice(), bytes].concat();
    let Ok(file) = TorchFile::from_bytes(archive) else { return };
    let Ok(weights) = Checkpoint::try_from(file) else { return };
    for tensor in weights.tensors() {
        assert_eq!(weights.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = weights.read_f32(&tensor.name);
    }
});
