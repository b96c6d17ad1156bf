#![no_main]
use calotype_text::{MAX_LENGTH, Tokenizer};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let tokenizer = Tokenizer::clip();
    let ids = tokenizer.encode_raw(text);
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
    tokenizer.decode(&ids);
    assert_eq!(tokenizer.encode(text).ids.len(), MAX_LENGTH);
});
