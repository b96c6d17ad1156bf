#![no_main]
use calotype_formats::SafeTensors;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = SafeTensors::from_bytes(bytes.to_vec()) else { return };
    for tensor in file.tensors() {
        assert_eq!(file.read(&tensor.name).unwrap().len() as u64, tensor.byte_count());
        let _ = (file.read_f32(&tensor.name), file.read_i64(&tensor.name));
    }
});
