#![no_main]
use calotype_hub::ModelInfo;

// What a hub says of a model, and the files that are picked from it.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let id = "org/name".parse().unwrap();
    let hub = calotype_hub::Url::endpoint("https://hub.example").unwrap();
    match ModelInfo::from_json(bytes, &id, &hub) {
        Ok(info) => drop(calotype_hub::Selection::default().paths(&info)),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
