//! Equality with the reference tokenizer, on texts and digests written by `reference/tokenizer.py`.

#![allow(clippy::unwrap_used)]

use calotype_text::{MAX_LENGTH, Tokenizer};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn goldens() -> Value {
    serde_json::from_str(include_str!("goldens.json")).unwrap()
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn texts() {
    let tokenizer = Tokenizer::clip();
    let goldens = goldens();
    let cases = goldens["cases"].as_array().unwrap();
    assert!(cases.len() >= 250);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let raw = ids(&case["ids"]);
        assert_eq!(tokenizer.encode_raw(text), raw, "{text:?}");
        assert_eq!(tokenizer.decode(&raw), case["decoded"], "{text:?}");

        let mut padded = ids(&case["encoded"]);
        padded.resize(MAX_LENGTH, 49407);
        let encoding = tokenizer.encode(text);
        assert_eq!(encoding.ids, padded, "{text:?}");
        assert_eq!(encoding.len_untruncated, raw.len() + 2);
        let cut = raw.get(75..).filter(|cut| !cut.is_empty()).map(|cut| tokenizer.decode(cut));
        assert_eq!(encoding.truncated_text, cut);
    }
}

#[test]
fn vocabulary() {
    let tokenizer = Tokenizer::clip();
    let tokens: Vec<&str> = (0..).map_while(|id| tokenizer.token(id)).collect();
    assert_eq!(tokens.len(), 49408);
    let digest = Sha256::new().chain_update(tokens.join("\n"));
    assert_eq!(hex(digest), goldens()["vocabulary_sha256"]);
}

#[test]
fn every_code_point() {
    let tokenizer = Tokenizer::clip();
    let mut digest = Sha256::new();
    for start in (0..0x11_0000).step_by(256) {
        let chars = (start..start + 256).filter_map(char::from_u32);
        let text: String = chars.map(|c| format!("{c} e{c}\u{323}b ")).collect();
        for id in tokenizer.encode_raw(&text) {
            digest.update(id.to_le_bytes());
        }
    }
    assert_eq!(hex(digest), goldens()["every_code_point_sha256"]);
}
