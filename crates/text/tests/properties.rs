//! What holds for any text, and that no text takes long.

use std::time::{Duration, Instant};

use calotype_text::{EmbeddingNames, Emphasis, Grammar, MAX_LENGTH, MAX_PROMPT_BYTES, Timeline, Tokenizer};
use proptest::prelude::*;

const PIECES: &str = r"(\PC|[a-zA-Z' <|>\x00-\x1f]|<\|endoftext\|>|<\|startoftext\|>|\p{M}){0,120}";

proptest! {
    #[test]
    fn ids_are_in_range_and_77(text in PIECES) {
        let tokenizer = Tokenizer::clip();
        let encoding = tokenizer.encode(&text);
        prop_assert_eq!(encoding.ids.len(), MAX_LENGTH);
        prop_assert!(encoding.ids.iter().all(|&id| id < 49408));
        prop_assert_eq!((encoding.ids[0], encoding.ids[76]), (49406, 49407));
        prop_assert_eq!(encoding.truncated_text.is_some(), encoding.len_untruncated > MAX_LENGTH);
    }

    #[test]
    fn a_final_space_changes_nothing(text in any::<String>()) {
        let tokenizer = Tokenizer::clip();
        prop_assert_eq!(tokenizer.encode_raw(&text), tokenizer.encode_raw(&format!("{text} ")));
    }

    #[test]
    fn any_ids_decode(ids in prop::collection::vec(prop_oneof![any::<u32>(), 0u32..49408], 0..100)) {
        Tokenizer::clip().decode(&ids);
    }

    #[test]
    fn plain_words_come_back(text in "[a-z]{1,20}( [a-z]{1,20}){0,9}") {
        let tokenizer = Tokenizer::clip();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode_raw(&text)), text);
    }
}

#[test]
fn long_texts_are_quick() {
    let tokenizer = Tokenizer::clip();
    let texts = [
        "a".repeat(1 << 18),
        "ab".repeat(1 << 17),
        "!".repeat(1 << 18),
        "a\u{301}\u{323}".repeat(1 << 16),
        "e".to_string() + &"\u{301}\u{323}".repeat(1 << 16),
        "word ".repeat(1 << 16),
        " ".repeat(1 << 18),
        "<|endoftext|>".repeat(1 << 14),
        "<|".repeat(1 << 17),
        "<|ENDOFTEXT|>".repeat(1 << 14),
    ];
    for text in texts {
        let start = Instant::now();
        tokenizer.encode(&text);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{:?}…: {took:?}", text.chars().take(20).collect::<String>());
    }
}

/// What takes long in a careless parser: depth, what is never closed, what is looked for to the end from every place.
#[test]
fn no_prompt_takes_long() {
    let embeddings = EmbeddingNames::default();
    let grammar = Grammar { timeline: Timeline::new(50), emphasis: Emphasis::Original };
    let full = |piece: &str| piece.repeat(MAX_PROMPT_BYTES / piece.len());
    let nested = |open: &str, close: &str, depth| format!("{}x{}", open.repeat(depth), close.repeat(depth));
    let texts = [
        nested("(", ")", 10_000),
        nested("[", "]", 10_000),
        nested("(a", ")", 10_000),
        nested("[a:", ":0.5]", 10_000),
        nested("[a|", "]", 1_000),
        full("("),
        full("["),
        full("(\\("),
        full("[\\("),
        full(")"),
        full(":"),
        full(": "),
        full(":1"),
        full("<"),
        full("<a:"),
        full("#"),
        full("\n#"),
        full("AND"),
        full(" AND "),
        full("BREAK"),
        full(" BREAK"),
        full("["),
        full("[:a:1]"),
        full("\\"),
        full(" "),
        full("word "),
    ];
    for text in texts {
        let start = Instant::now();
        // Read or refused.
        for part in grammar.prompt(&text).iter().flat_map(|prompt| &prompt.parts) {
            drop(part.schedule.chunks(Tokenizer::clip(), &embeddings));
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{:?}…: {took:?}", text.chars().take(20).collect::<String>());
    }
    let start = Instant::now();
    assert!(grammar.prompt(&"(a".repeat(1 << 19)).is_err());
    assert!(start.elapsed() < Duration::from_millis(100));
}
