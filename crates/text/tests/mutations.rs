//! Any text goes through the tokenizer and the prompt grammar without a panic, and comes out well-formed: a short run of
//! a seeded mutator. `CALOTYPE_FUZZ_RUNS=10000000` makes it a long one, `CALOTYPE_FUZZ_SEED` another one.

#![allow(clippy::unwrap_used)]

use std::env;

use calotype_text::{EmbeddingNames, Emphasis, Grammar, MAX_LENGTH, Timeline, Tokenizer};

const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    ":",
    "|",
    "\\",
    "\\(",
    "\\]",
    "<lora:x:0.5>",
    "<",
    ">",
    " BREAK ",
    " AND ",
    "AND",
    ":1.2)",
    ": -.5 )",
    ":0.3]",
    ":3]",
    "1e999",
    "#",
    "\n",
    ", ",
    " ",
    "cat ",
    "my-style",
    "<|endoftext|>",
    "<|ENDOFTEXT|>",
    "'s",
    "É",
    "e\u{301}",
    "日本",
    "🐙",
    "👩\u{200d}🚀",
    "\u{0}",
    "\u{202e}",
    "\u{1b}[31m",
    "ß",
    "İ",
    "½",
    "٣",
    "\u{1c}",
    "_",
    "9",
    "+",
    "-",
    ".",
    "=",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn piece(&mut self) -> String {
        match self.below(8) {
            0 => char::from_u32(self.below(0x11_0000) as u32).map(String::from).unwrap_or_default(),
            1 => char::from(self.below(128) as u8).to_string(),
            _ => PIECES[self.below(PIECES.len())].to_owned(),
        }
    }
}

/// Changes a text at one place: puts a piece in, cuts a range out, or repeats one.
fn mutate(text: &mut Vec<String>, random: &mut Random) {
    let start = random.below(text.len() + 1);
    let length = random.below(8).min(text.len() - start);
    match random.below(4) {
        0 => drop(text.drain(start..start + length)),
        1 => {
            let repeated = text[start..start + length].to_vec();
            text.splice(start..start, repeated);
        }
        _ => text.insert(start, random.piece()),
    }
    text.truncate(200);
}

fn check(text: &str, grammar: Grammar, embeddings: &EmbeddingNames) {
    let tokenizer = Tokenizer::clip();
    let ids = tokenizer.encode_raw(text);
    assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "{text:?}");
    tokenizer.decode(&ids);
    assert_eq!(tokenizer.encode(text).ids.len(), MAX_LENGTH);

    let prompt = match grammar.prompt(text) {
        Ok(prompt) => prompt,
        Err(error) => return assert!(!error.to_string().contains('\n'), "{text:?}"),
    };
    assert!(!prompt.parts.is_empty());
    let negative = grammar.negative_prompt(text).ok();
    for schedule in prompt.parts.iter().map(|part| &part.schedule).chain(&negative) {
        let entries = &schedule.entries.0;
        assert_eq!(entries.last().unwrap().0, 5, "{text:?}");
        assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0), "{text:?}");
        assert!(entries.iter().all(|&(_, place)| place < schedule.texts.len()), "{text:?}");
        let all = match schedule.chunks(tokenizer, embeddings) {
            Ok(all) => all,
            Err(error) => return assert!(!error.to_string().contains('\n'), "{text:?}"),
        };
        assert_eq!(schedule.texts.len(), all.len());
        let count = all[0].len();
        for chunks in &all {
            assert!(count >= 1 && chunks.len() == count, "{text:?}");
            for chunk in chunks {
                assert_eq!((chunk.ids[0], chunk.ids[MAX_LENGTH - 1]), (49406, 49407), "{text:?}");
                assert!(chunk.ids.iter().all(|&id| id < 49408 + 7), "{text:?}");
                assert!(chunk.weights.iter().all(|weight| weight.is_finite()), "{text:?}");
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

#[test]
fn mutated_texts_are_read_or_refused() {
    let mut random = Random(setting("CALOTYPE_FUZZ_SEED", 1));
    let mut embeddings = EmbeddingNames::default();
    embeddings.insert(Tokenizer::clip(), "my-style", 49408, 7).unwrap();
    let mut corpus: Vec<Vec<String>> = vec![Vec::new(); 64];
    for _ in 0..setting("CALOTYPE_FUZZ_RUNS", 3_000) {
        let mut text = corpus[random.below(corpus.len())].clone();
        (0..=random.below(6)).for_each(|_| mutate(&mut text, &mut random));
        let emphasis = Emphasis::ALL[random.below(16).min(3)];
        check(&text.concat(), Grammar { timeline: Timeline::new(5), emphasis }, &embeddings);
        let place = random.below(corpus.len());
        corpus[place] = if random.below(16) == 0 { Vec::new() } else { text };
    }
}
