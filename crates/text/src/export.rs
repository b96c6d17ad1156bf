//! The files of CLIP's tokenizer, as a diffusers folder has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::tokenizer::{MAX_LENGTH, Tokenizer, clip_merges};
use crate::vocabulary::{BOS, EOS};

/// The files of a diffusers folder's `tokenizer/` for CLIP's tokenizer, `(name, contents)`: what transformers'
/// `CLIPTokenizer` reads.
#[must_use]
pub fn clip_files() -> [(&'static str, String); 4] {
    let tokenizer = Tokenizer::clip();
    let ids: BTreeMap<u32, &str> = (0..).map_while(|id| Some((id, tokenizer.token(id)?))).collect();
    let entries: Vec<String> = ids.iter().map(|(id, token)| format!("{}:{id}", Value::from(*token))).collect();
    let specials = json!({ "bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS });
    let config = json!({
        "bos_token": BOS,
        "do_lower_case": true,
        "eos_token": EOS,
        "model_max_length": MAX_LENGTH,
        "pad_token": EOS,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": EOS,
    });
    [
        ("vocab.json", format!("{{{}}}", entries.join(","))),
        ("merges.txt", clip_merges().unwrap_or_default()),
        ("special_tokens_map.json", format!("{specials:#}\n")),
        ("tokenizer_config.json", format!("{config:#}\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_a_tokenizer_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in clip_files() {
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        let read = Tokenizer::from_folder(folder.path()).unwrap();
        for text in ["an octopus on a yellow background", "\"Ünïcode\" 🐙 \\ and <|endoftext|> more", ""] {
            assert_eq!(read.encode(text), Tokenizer::clip().encode(text));
        }
        assert_eq!(read.vocab_size(), 49408);
    }
}
