#![no_main]
mod torch;

// A whole zip archive.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| torch::read(bytes.to_vec()));
