//! The files of CLIP's tokenizer, as a diffusers folder has them: whole, or cut down to what some texts need.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::tokenizer::{MAX_LENGTH, Tokenizer, clip_merges};
use crate::vocabulary::{BOS, EOS, parse_merges};

/// The files of a diffusers folder's `tokenizer/`, `(name, contents)`: what transformers' `CLIPTokenizer` reads.
pub type TokenizerFolder = [(&'static str, String); 4];

/// CLIP's tokens that no merge makes: each byte, and each byte that ends a word.
const BYTE_TOKENS: u32 = 512;

/// The files of CLIP's tokenizer.
#[must_use]
pub fn clip_files() -> TokenizerFolder {
    let tokens = (0..).map_while(|id| Tokenizer::clip().token(id));
    files(tokens, clip_merges().unwrap_or_default())
}

/// A small tokenizer that splits some texts as CLIP's does.
#[derive(Clone, Debug)]
pub struct ReducedClip {
    /// CLIP's ids of its tokens, ascending: the rows of a token embedding that it needs. Its own ids are 0, 1, 2, ….
    pub kept: Vec<u32>,
    /// Its files.
    pub files: TokenizerFolder,
}

/// CLIP's tokenizer with the tokens alone that the words of `texts` are split into, those that these are merged from, the
/// bytes, and the special ones. Texts of such words are split as by CLIP's: no other merge is ever done in them.
#[must_use]
pub fn reduced_clip<'a>(texts: impl IntoIterator<Item = &'a str>) -> ReducedClip {
    let clip = Tokenizer::clip();
    let merges = clip_merges().unwrap_or_default();
    let pairs = parse_merges(&merges).unwrap_or_default();
    let merge_of = |id: u32| pairs.get(id.checked_sub(BYTE_TOKENS)? as usize);

    let mut kept: BTreeSet<u32> = (0..BYTE_TOKENS).chain([clip.bos(), clip.eos()]).collect();
    let mut open: Vec<u32> = texts.into_iter().flat_map(|text| clip.encode_raw(text)).collect();
    while let Some(id) = open.pop() {
        if kept.insert(id) {
            open.extend(
                merge_of(id).into_iter().flat_map(|&(left, right)| [left, right]).filter_map(|part| clip.id(part)),
            );
        }
    }
    let lines: Vec<String> =
        kept.iter().filter_map(|&id| merge_of(id)).map(|(left, right)| format!("{left} {right}\n")).collect();
    let files = files(kept.iter().filter_map(|&id| clip.token(id)), format!("#version: 0.2\n{}", lines.concat()));
    ReducedClip { kept: kept.into_iter().collect(), files }
}

/// The files of a tokenizer with these tokens, by id.
fn files<'a>(tokens: impl Iterator<Item = &'a str>, merges: String) -> TokenizerFolder {
    let entries: Vec<String> =
        (0..).zip(tokens).map(|(id, token): (u32, _)| format!("{}:{id}", Value::from(token))).collect();
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
        ("merges.txt", merges),
        ("special_tokens_map.json", format!("{specials:#}\n")),
        ("tokenizer_config.json", format!("{config:#}\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: TokenizerFolder) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        Tokenizer::from_folder(folder.path()).unwrap()
    }

    #[test]
    fn the_files_are_a_tokenizer_again() {
        let read = read(clip_files());
        for text in ["an octopus on a yellow background", "\"Ünïcode\" 🐙 \\ and <|endoftext|> more", ""] {
            assert_eq!(read.encode(text), Tokenizer::clip().encode(text));
        }
        assert_eq!(read.vocab_size(), 49408);
    }

    #[test]
    fn a_reduced_tokenizer_splits_its_words_as_clips_does() {
        let words = ["an octopus", "on a yellow background", "skateboarding", "naïve 🐙!", "it's"];
        let reduced = reduced_clip(words);
        let small = read(reduced.files);
        assert_eq!(small.vocab_size(), reduced.kept.len());
        assert!((520..700).contains(&reduced.kept.len()), "{}", reduced.kept.len());
        let as_clip = |text: &str| -> Vec<u32> {
            small.encode_raw(text).into_iter().map(|id| reduced.kept[id as usize]).collect()
        };
        for text in words.iter().copied().chain(["a yellow octopus on skateboarding", "It's An OCTOPUS!", ""]) {
            assert_eq!(as_clip(text), Tokenizer::clip().encode_raw(text), "{text}");
        }
        // Other words are their letters, or parts that are known.
        assert_eq!(small.decode(&small.encode_raw("the zebra")), "the zebra");
        assert!(as_clip("zebra").len() > 1);
        let specials = |tokenizer: &Tokenizer| [tokenizer.bos(), tokenizer.eos(), tokenizer.pad()];
        assert_eq!(specials(&small).map(|id| reduced.kept[id as usize]), specials(Tokenizer::clip()));
    }
}
