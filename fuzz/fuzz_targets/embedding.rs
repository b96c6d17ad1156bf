#![no_main]
use calotype_formats::{Checkpoint, SafeTensors, TorchFile};
use calotype_models::{TextConfig, adapters::Embedding};

// A textual inversion embedding.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = match SafeTensors::from_bytes(bytes.to_vec()) {
        Ok(file) => Checkpoint::from(file),
        Err(_) => match TorchFile::from_bytes(bytes.to_vec()).and_then(Checkpoint::try_from) {
            Ok(file) => file,
            Err(_) => return,
        },
    };
    match Embedding::read(&file) {
        Ok(embedding) => {
            assert!(embedding.count() * embedding.width() * 4 <= 8 * bytes.len());
            let _ = embedding.check(&TextConfig::sd15());
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
