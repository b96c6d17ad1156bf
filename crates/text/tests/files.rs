//! Tokenizers read from files: a diffusers folder's own, and what is wrong with bad ones.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use calotype_text::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

/// CLIP's byte tokens, the word "hi" and the special tokens.
fn vocab() -> Value {
    let clip = Tokenizer::clip();
    let mut tokens: Vec<&str> = (0..512).filter_map(|id| clip.token(id)).collect();
    tokens.extend(["hi</w>", "<|startoftext|>", "<|endoftext|>"]);
    tokens
        .into_iter()
        .zip(0..)
        .map(|(token, id): (&str, u32)| (token.to_string(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn folder(files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn from_files(vocab: &str, merges: &str) -> Result<Tokenizer, String> {
    let folder = folder(&[("vocab.json", vocab.into()), ("merges.txt", merges.into())]);
    let path = |name: &str| folder.path().join(name);
    Tokenizer::from_files(&path("vocab.json"), &path("merges.txt")).map_err(|error| error.to_string())
}

const MERGES: &str = "#version: 0.2\nh i</w>\n";

#[test]
fn own_vocabulary_padded_with_eos() {
    let tokenizer = from_files(&vocab().to_string(), MERGES).unwrap();
    assert_eq!(tokenizer.vocab_size(), 515);
    let ids = tokenizer.encode("Hi!").ids;
    assert_eq!(ids[..5], [513, 512, 256, 514, 514]);
}

#[test]
fn clip_written_out_is_clip() {
    let clip = Tokenizer::clip();
    let tokens: serde_json::Map<_, _> = (0..).map_while(|id| Some((clip.token(id)?.to_string(), json!(id)))).collect();
    let merges = miniz_oxide::inflate::decompress_to_vec_zlib(include_bytes!("../data/clip_merges.txt.z")).unwrap();
    let tokenizer = from_files(&json!(tokens).to_string(), std::str::from_utf8(&merges).unwrap()).unwrap();
    for text in ["a photograph of an astronaut", "Ünïcödé 😀 <|endoftext|>", ""] {
        assert_eq!(tokenizer.encode(text), clip.encode(text));
    }
}

/// As the reference does for Stable Diffusion v2: "hello! world!! !" has the pad token wherever it has "!".
#[test]
fn pad_token_of_the_folder_is_special() {
    let config = json!({"pad_token": {"content": "!"}}).to_string();
    let single =
        json!({"model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocab(), "merges": [["h", "i</w>"]]}});
    let old = [
        ("vocab.json", vocab().to_string()),
        ("merges.txt", MERGES.into()),
        ("special_tokens_map.json", config.clone()),
    ];
    let new = [("tokenizer.json", single.to_string()), ("tokenizer_config.json", config)];
    for files in [&old[..], &new[..]] {
        let folder = folder(files);
        let ids = Tokenizer::from_folder(folder.path()).unwrap().encode("hi! hi!! !").ids;
        assert_eq!(ids[..9], [513, 512, 0, 512, 0, 0, 0, 514, 0]);
    }
}

#[test]
fn bad_files_are_one_line_errors() {
    let good = vocab().to_string();
    let with = |token: &str, id: Value| {
        let mut vocab = vocab();
        vocab[token] = id;
        vocab.to_string()
    };
    let without_eos = {
        let mut vocab = vocab();
        vocab.as_object_mut().unwrap().remove("<|endoftext|>");
        vocab.to_string()
    };
    let cases = [
        (from_files("", MERGES), "not JSON"),
        (from_files("[1]", MERGES), "expected an object"),
        (from_files("{", MERGES), "not JSON"),
        (from_files(&"[".repeat(100_000), MERGES), "not JSON"),
        (from_files("{}", ""), "lacks \"<|endoftext|>\""),
        (from_files(&without_eos, MERGES), "lacks \"<|endoftext|>\""),
        (from_files(&with("hi</w>", json!(-1)), MERGES), "expected a whole number under 515"),
        (from_files(&with("hi</w>", json!(515)), MERGES), "expected a whole number under 515"),
        (from_files(&with("hi</w>", json!(1e300)), MERGES), "expected a whole number under 515"),
        (from_files(&with("hi</w>", json!(5)), MERGES), "two tokens have the id 5"),
        (from_files(&with("new\nline", json!("x")), MERGES), "expected a whole number under 516"),
        (from_files(&with("hi</w>", json!(vec![0; 10_000])), MERGES), "expected a whole number"),
        (from_files(&good, &"h".repeat(10_000)), "line 1: expected two tokens"),
        (from_files(&good, &format!("h {}", "x".repeat(10_000))), "the vocabulary lacks"),
        (from_files(&good, "h\n"), "line 1: expected two tokens"),
        (from_files(&good, "#version: 0.2\nh i </w>\n"), "line 2: expected two tokens"),
        (from_files(&good, "h x\n"), "of the merge to \"hx\", the vocabulary lacks \"hx\""),
        (from_files(&good, "日 本\n"), "the vocabulary lacks \"日\""),
    ];
    for (result, expected) in cases {
        let message = result.unwrap_err();
        assert!(message.contains(expected) && message.lines().count() == 1 && message.len() < 400, "{message}");
    }
}

#[test]
fn missing_and_unreadable_files() {
    let message = |folder: &Path| Tokenizer::from_folder(folder).unwrap_err().to_string();
    assert!(message(Path::new("/nonexistent")).starts_with("cannot read the tokenizer file /nonexistent/vocab.json: "));

    let binary = folder(&[("merges.txt", MERGES.into())]);
    fs::write(binary.path().join("vocab.json"), [0xFF, 0xFE]).unwrap();
    assert!(message(binary.path()).contains("not UTF-8"));

    let huge = folder(&[("merges.txt", MERGES.into())]);
    fs::File::create(huge.path().join("vocab.json")).unwrap().set_len(1 << 40).unwrap();
    assert!(message(huge.path()).contains("is larger than 33554432 bytes"));

    let pad = json!({"pad_token": "<pad>"}).to_string();
    let unknown_pad =
        folder(&[("vocab.json", vocab().to_string()), ("merges.txt", MERGES.into()), ("tokenizer_config.json", pad)]);
    assert!(message(unknown_pad.path()).contains("lacks \"<pad>\""));

    for model in [
        json!({}),
        json!({"type": "BPE", "end_of_word_suffix": "</w>"}),
        json!({"type": "BPE", "end_of_word_suffix": "</w>", "merges": [1], "vocab": {}}),
    ] {
        let single = folder(&[("tokenizer.json", json!({ "model": model }).to_string())]);
        assert!(message(single.path()).contains("expected"));
    }
}

/// The files of CLIP's tokenizer, with others in their place or beside them.
fn clip_with(files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in calotype_text::clip_files().iter().chain(files) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// `reference/added_tokens.py`: tokenizers with words of their own, as transformers saves them, and its ids.
#[test]
fn added_tokens_are_found_as_in_transformers() {
    let goldens: Value = serde_json::from_str(include_str!("added_tokens.json")).unwrap();
    for case in goldens["cases"].as_array().unwrap() {
        let mut files = Vec::new();
        for (name, saved) in case["saved"].as_object().unwrap() {
            let text = if name == "tokenizer.json" { json!({ "added_tokens": saved }) } else { saved.clone() };
            files.push((name.as_str(), text.to_string()));
        }
        let folder = clip_with(&files);
        let read = |name: &str| fs::read(folder.path().join(name)).ok();
        let own = case.get("texts").unwrap_or(&goldens["texts"]);
        for tokenizer in
            [Tokenizer::from_folder(folder.path()).unwrap(), Tokenizer::from_memory("memory", &read).unwrap()]
        {
            for (text, ids) in own.as_array().unwrap().iter().zip(case["ids"].as_array().unwrap()) {
                let text = text.as_str().unwrap();
                assert_eq!(json!(tokenizer.encode_raw(text)), *ids, "{} {text:?}", case["name"]);
            }
            let added = tokenizer.added_tokens();
            assert!(added.iter().map(|(_, id)| *id).eq(49408..tokenizer.vocab_size() as u32), "{added:?}");
            assert_eq!(tokenizer.token(49408), Some(added[0].0));
            assert_eq!(tokenizer.decode(&[320, 49408, 1125]), format!("a {} photo", added[0].0));
        }
    }
}

/// An older folder, whose flags are in `tokenizer_config.json`, and which has the tokens in `added_tokens.json` too.
#[test]
fn flags_of_added_tokens_are_those_of_the_config() {
    let config = json!({"added_tokens_decoder": {
        "49406": {"content": "<|startoftext|>", "special": true, "normalized": true},
        "49408": {"content": "Sks", "single_word": true, "normalized": false},
    }});
    let added = json!({"Sks": 49408, "other": 49409});
    let folder = clip_with(&[("tokenizer_config.json", config.to_string()), ("added_tokens.json", added.to_string())]);
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    assert_eq!(tokenizer.encode_raw("Sks sks OTHER"), [49408, 48136, 49409]);
}

#[test]
fn added_tokens_that_are_none_are_refused() {
    let message = |name: &str, json: Value| {
        let folder = clip_with(&[(name, json.to_string())]);
        let message = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(message.contains(name) && message.lines().count() == 1 && message.len() < 400, "{message}");
        message
    };
    let form = "expected a text of 1 to 4096 bytes and an id";
    assert!(message("added_tokens.json", json!([1])).contains(form));
    assert!(message("added_tokens.json", json!({"": 49408})).contains(form));
    assert!(message("added_tokens.json", json!({"a": -1})).contains(form));
    assert!(message("added_tokens.json", json!({"a": 1e300})).contains(form));
    assert!(message("tokenizer_config.json", json!({"added_tokens_decoder": {"x": {"content": "a"}}})).contains(form));
    assert!(message("tokenizer_config.json", json!({"added_tokens_decoder": {"1": "a"}})).contains(form));
    assert!(message("tokenizer.json", json!({"added_tokens": {"content": "a", "id": 1}})).contains(form));
    let config = json!({"added_tokens_decoder": {"49408": {"content": "a"}}});
    let folder = clip_with(&[
        ("tokenizer_config.json", config.to_string()),
        ("added_tokens.json", json!({"a": 49409}).to_string()),
    ]);
    let message = Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(message.contains("\"a\" has the id 49409, in another file 49408"), "{message}");
}

/// LongCLIP's 248 tokens, or 32: transformers pads to that length, and the contexts are others.
#[test]
fn another_length_of_texts_is_refused() {
    for (length, refused) in
        [(json!(77), false), (json!(null), false), (json!(1e30), false), (json!(248), true), (json!(32), true)]
    {
        let folder = clip_with(&[("tokenizer_config.json", json!({"model_max_length": length}).to_string())]);
        match Tokenizer::from_folder(folder.path()) {
            Ok(_) => assert!(!refused, "{length}"),
            Err(error) => assert!(refused && error.to_string().contains("model_max_length = "), "{error}"),
        }
    }
}
