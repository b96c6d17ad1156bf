#![no_main]
use calotype_models::{ModelConfig, TextConfig, UNetConfig, VaeConfig};

fn read<C: ModelConfig>(text: &str) {
    match C::from_json(text) {
        Ok(config) => {
            let _ = config.specs();
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

// A `config.json` of a folder, as that of each network.
libfuzzer_sys::fuzz_target!(|text: &str| {
    read::<TextConfig>(text);
    read::<UNetConfig>(text);
    read::<VaeConfig>(text);
});
