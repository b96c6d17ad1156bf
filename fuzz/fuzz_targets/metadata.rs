#![no_main]
use calotype::metadata::Metadata;

// What a picture says of how it was made: A1111's text, and our JSON.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let read = Metadata::from_parameters(text).metadata;
    if let Err(error) = read.request(&[]) {
        assert!(!error.to_string().contains('\n'));
    }
    let _ = Metadata::from_parameters(&read.parameters());
    match Metadata::from_json(text) {
        Ok(read) => {
            // Infinity, as which a huge number is read, JSON has not.
            if let Ok(again) = Metadata::from_json(&read.to_json()) {
                assert_eq!(again.to_json(), read.to_json());
            }
            let _ = read.request(&[]);
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
