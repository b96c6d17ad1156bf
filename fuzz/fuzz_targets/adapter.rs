#![no_main]
use std::sync::LazyLock;

use calotype_formats::{Checkpoint, SafeTensors, TorchFile};
use calotype_models::{ModelConfig, ParamSpec, TextConfig, UNetConfig, adapters::Adapter};

/// The parameters of Stable Diffusion 1: keys of real files are for them.
static MODEL: LazyLock<[Vec<ParamSpec>; 2]> =
    LazyLock::new(|| [UNetConfig::sd15().specs().unwrap(), TextConfig::sd15().specs().unwrap()]);

// A file of LoRA or LyCORIS: its keys, shapes and scales.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = match SafeTensors::from_bytes(bytes.to_vec()) {
        Ok(file) => Checkpoint::from(file),
        Err(_) => match TorchFile::from_bytes(bytes.to_vec()).and_then(Checkpoint::try_from) {
            Ok(file) => file,
            Err(_) => return,
        },
    };
    let [unet, text_encoder] = &*MODEL;
    if let Err(error) = Adapter::new(file, unet, text_encoder) {
        assert!(!error.to_string().contains('\n'));
    }
});
