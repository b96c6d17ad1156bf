#![no_main]
mod torch;

// A whole file in the form before torch 1.6.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| torch::read(bytes.to_vec()));
