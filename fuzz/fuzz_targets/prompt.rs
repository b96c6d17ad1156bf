#![no_main]
use calotype_text::{EmbeddingNames, Emphasis, Grammar, Timeline, Tokenizer};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let tokenizer = Tokenizer::clip();
    let mut embeddings = EmbeddingNames::default();
    embeddings.insert(tokenizer, "ab", 49408, 7).unwrap();
    let grammar = Grammar { timeline: Timeline::new(5), emphasis: Emphasis::Original };
    let _ = grammar.negative_prompt(text);
    let Ok(prompt) = grammar.prompt(text) else { return };
    for part in &prompt.parts {
        assert_eq!(part.schedule.entries.0.last().unwrap().0, 5);
        for chunk in part.schedule.chunks(tokenizer, &embeddings).iter().flatten().flatten() {
            assert!(chunk.ids.iter().all(|&id| id < 49415));
            assert!(chunk.weights.iter().all(|weight| weight.is_finite()));
        }
    }
});
