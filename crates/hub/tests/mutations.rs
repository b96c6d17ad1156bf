//! Answers of a hub changed at random: each is read or refused by one line, and every path that is picked stays in its
//! folder. The test command makes twenty thousand, the same every time; `MUTATIONS` and `SEED` make others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../fuzz/mutator.rs"]
mod mutator;

use std::path::{Component, Path};

use calotype_hub::{ModelId, ModelInfo, Selection, Url};

#[test]
fn answers_that_are_wrong() {
    let corpus = [
        r#"{"sha":"1234567890abcdef1234567890abcdef12345678","siblings":[{"rfilename":"model_index.json","size":5},{"rfilename":"unet/config.json"},{"rfilename":"unet/diffusion_pytorch_model.safetensors","size":7},{"rfilename":"unet/diffusion_pytorch_model.fp16.safetensors"},{"rfilename":"vae/config.json"},{"rfilename":"vae/diffusion_pytorch_model.bin"},{"rfilename":"text_encoder/config.json"},{"rfilename":"text_encoder/model-00001-of-00002.safetensors"},{"rfilename":"text_encoder/model-00002-of-00002.safetensors"},{"rfilename":"text_encoder/model.safetensors.index.json"},{"rfilename":"tokenizer/vocab.json"}],"cardData":{"license":"other","license_name":"x","license_link":"LICENSE.md"},"tags":["license:mit"]}"#,
        r#"{"sha":"fedcba0987654321fedcba0987654321fedcba09","siblings":[{"rfilename":"v1-5.safetensors","size":4},{"rfilename":"v1-5.ckpt"}],"cardData":{"license":["a","b"]}}"#,
    ]
    .map(|text| text.as_bytes().to_vec());
    let words: [&[u8]; 12] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"1e99",
        b"-1",
        b"\"rfilename\":\"../x.safetensors\"",
        b"\\u0000",
        b"\\n",
        b".fp16",
    ];
    let (id, hub): (ModelId, Url) = ("org/name".parse().unwrap(), Url::endpoint("https://hub.example").unwrap());
    mutator::run("hub", &corpus, &words, |bytes| {
        let picked = ModelInfo::from_json(&bytes, &id, &hub).and_then(|info| {
            assert!(!info.license.to_string().contains(char::is_control));
            Selection::default().paths(&info)
        });
        match picked {
            Ok(paths) => {
                let plain =
                    |path: &String| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
                assert!(paths.iter().all(plain), "{paths:?}");
                true
            }
            Err(error) => {
                assert!(!error.to_string().contains(char::is_control), "{error}");
                false
            }
        }
    });
}
