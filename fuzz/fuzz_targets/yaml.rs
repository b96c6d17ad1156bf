#![no_main]
use calotype_models::CompVisConfig;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(error) = CompVisConfig::from_yaml(text, "config") {
        assert!(!error.to_string().contains('\n'));
    }
});
