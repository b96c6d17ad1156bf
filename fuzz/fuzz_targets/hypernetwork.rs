#![no_main]
use std::sync::LazyLock;

use calotype_formats::TorchFile;
use calotype_models::adapters::Hypernetwork;
use calotype_tensor::cpu::Cpu;

static CPU: LazyLock<Cpu> = LazyLock::new(|| Cpu::new(1).unwrap());

// A hypernetwork of A1111's.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TorchFile::from_bytes(bytes.to_vec()) else { return };
    match Hypernetwork::new(file) {
        Ok(hypernetwork) => drop(hypernetwork.load(&*CPU, 1.0)),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
