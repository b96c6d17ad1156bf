//! Prompts equal to A1111's, to the token and the weight: goldens of `reference/a1111_prompts.py`.

#![allow(clippy::unwrap_used)]

use calotype_text::{
    Chunk, EmbeddingNames, Emphasis, ExtraNetworkTag, Grammar, MAX_LENGTH, Part, Schedule, Timeline, Tokenizer,
};
use serde_json::Value;

const EOS: u32 = 49407;

fn goldens() -> Value {
    serde_json::from_str(include_str!("prompts.json")).unwrap()
}

fn grammar(timeline: Timeline) -> Grammar {
    Grammar { timeline, emphasis: Emphasis::Original }
}

fn chunks(schedule: &Schedule, embeddings: &EmbeddingNames) -> Vec<Vec<Chunk>> {
    schedule.chunks(Tokenizer::clip(), embeddings).unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// `[ids without padding, [[weight, count], …]]`.
fn assert_chunk(chunk: &Chunk, golden: &Value, prompt: &str) {
    let mut ids: Vec<u32> = serde_json::from_value(golden[0].clone()).unwrap();
    ids.resize(MAX_LENGTH, EOS);
    assert_eq!(chunk.ids.as_slice(), ids, "{prompt:?}");
    let runs = golden[1].as_array().unwrap();
    let weights = runs.iter().flat_map(|run| vec![run[0].as_f64().unwrap() as f32; number(&run[1])]);
    assert_eq!(chunk.weights.to_vec(), weights.collect::<Vec<_>>(), "{prompt:?}");
}

fn assert_part(part: &Part, embeddings: &EmbeddingNames, golden: &Value, prompt: &str) {
    assert_eq!(part.weight, golden["weight"].as_f64().unwrap(), "{prompt:?}");
    let schedule = &part.schedule;
    let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
    assert_eq!(schedule.texts, texts, "{prompt:?}");
    let entries: Vec<(usize, usize)> = serde_json::from_value(golden["entries"].clone()).unwrap();
    assert_eq!(schedule.entries.0, entries, "{prompt:?}");
    let all = chunks(schedule, embeddings);
    let longest = all.iter().map(Vec::len).max().unwrap();
    for (chunks, golden) in all.iter().zip(golden["chunks"].as_array().unwrap()) {
        let golden = golden.as_array().unwrap();
        assert_eq!(chunks.len(), longest);
        assert!(chunks.len() >= golden.len(), "{prompt:?}");
        chunks.iter().zip(golden).for_each(|(chunk, golden)| assert_chunk(chunk, golden, prompt));
        // Texts with fewer chunks than others of their schedule are filled with empty ones.
        for empty in &chunks[golden.len()..] {
            assert!(empty.ids[1..].iter().all(|&id| id == EOS) && empty.weights.iter().all(|&weight| weight == 1.0));
        }
    }
}

#[test]
fn equals_a1111() {
    let goldens = goldens();
    let mut embeddings = EmbeddingNames::default();
    for entry in goldens["embeddings"].as_array().unwrap() {
        let (name, first, vectors) = (entry[0].as_str().unwrap(), number(&entry[1]) as u32, number(&entry[2]));
        embeddings.insert(Tokenizer::clip(), name, first, vectors).unwrap();
    }
    let none = EmbeddingNames::default();
    let mut count = 0;
    for (group, cases) in goldens.as_object().unwrap().iter().filter(|(group, _)| *group != "embeddings") {
        for case in cases.as_array().unwrap() {
            let text = case["prompt"].as_str().unwrap();
            let steps = number(&case["steps"]);
            let timeline = match case["hires"].as_u64() {
                _ if case["old"] == true => Timeline::old(steps),
                Some(second) => Timeline::second(steps, second as usize),
                None => Timeline::new(steps),
            };
            let emphasis = match case["emphasis"].as_str() {
                Some("None") => Emphasis::None,
                Some("Ignore") => Emphasis::Ignore,
                _ => Emphasis::Original,
            };
            let embeddings = if group == "embedded" { &embeddings } else { &none };
            let prompt = Grammar { timeline, emphasis }.prompt(text).unwrap();
            let mut networks: Vec<(String, Vec<String>)> =
                prompt.networks.into_iter().map(|ExtraNetworkTag { kind, args }| (kind, args)).collect();
            networks.sort();
            assert_eq!(serde_json::json!(networks), case["networks"], "{text:?}");
            let parts = case["parts"].as_array().unwrap();
            assert_eq!(prompt.parts.len(), parts.len(), "{text:?}");
            if emphasis == Emphasis::Ignore {
                // The reference keeps the weights there and does not use them.
                let chunks = chunks(&prompt.parts[0].schedule, embeddings);
                assert!(chunks.iter().flatten().all(|chunk| chunk.weights == [1.0; MAX_LENGTH]));
            } else {
                prompt.parts.iter().zip(parts).for_each(|(part, golden)| assert_part(part, embeddings, golden, text));
            }
            count += 1;
        }
    }
    assert!(count > 300, "{count}");
}

#[test]
fn the_first_text_holds_once_more_than_it_says() {
    // `self.step` of A1111's denoiser counts from 0, and an entry holds while `step <= end_at_step`.
    let prompt = grammar(Timeline::new(4)).prompt("[a|b]").unwrap();
    let schedule = &prompt.parts[0].schedule;
    let held: Vec<&str> = (0..7).map(|step| schedule.texts[schedule.entries.at(step)].as_str()).collect();
    assert_eq!(held, ["a", "a", "b", "a", "b", "b", "b"]);
}

#[test]
fn a_negative_prompt_has_neither_networks_nor_and() {
    let schedule = grammar(Timeline::new(4)).negative_prompt("a AND <lora:x:1> [b:c:2] # d").unwrap();
    assert_eq!(schedule.texts, ["a AND <lora:x:1> b \n", "a AND <lora:x:1> c \n"]);
}

#[test]
fn an_embedding_moves_with_the_words_after_a_comma() {
    let mut names = EmbeddingNames::default();
    names.insert(Tokenizer::clip(), "mystyle", 50000, 3).unwrap();
    let text = format!("{}, {}mystyle {}", "x ".repeat(60), "y ".repeat(8), "z ".repeat(8));
    let prompt = grammar(Timeline::new(1)).prompt(&text).unwrap();
    let chunks = chunks(&prompt.parts[0].schedule, &names);
    let [first, second] = chunks[0].as_slice() else { panic!("two chunks") };
    assert!(first.ids.iter().all(|&id| id < 49408));
    assert_eq!(second.ids[9..12], [50000, 50001, 50002]);
}

#[test]
fn an_open_clip_tokenizer_pads_with_its_own_token() {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in calotype_text::clip_files() {
        std::fs::write(
            folder.path().join(name),
            contents.replace("\"pad_token\": \"<|endoftext|>\"", "\"pad_token\": \"!\""),
        )
        .unwrap();
    }
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let prompt = grammar(Timeline::new(1)).prompt("a cat").unwrap();
    let ids = prompt.parts[0].schedule.chunks(&tokenizer, &EmbeddingNames::default()).unwrap()[0][0].ids;
    assert_eq!(ids[..5], [49406, 320, 2368, EOS, 0]);
    assert!(ids[4..].iter().all(|&id| id == 0));
}

#[test]
fn what_is_no_prompt_is_a_one_line_error() {
    let mut names = EmbeddingNames::default();
    let error = |result: Result<(), calotype_text::Error>| result.unwrap_err().to_string();
    let prompt = |text: &str, steps| {
        let laid_out = |part: &Part| part.schedule.chunks(Tokenizer::clip(), &EmbeddingNames::default());
        let parsed = grammar(Timeline::new(steps)).prompt(text);
        parsed
            .and_then(|prompt| prompt.parts.iter().map(laid_out).collect::<Result<Vec<_>, _>>())
            .unwrap_err()
            .to_string()
    };
    let messages = [
        prompt("(a:1.2.3)", 4),
        prompt(&format!("(a:{})", "9".repeat(60)), 4),
        prompt(&format!("a :{}", "9".repeat(400)), 4),
        prompt(&"a".repeat(65537), 4),
        prompt(&format!("[{}]{}", vec!["a|b"; 30].join("|c"), "c".repeat(60000)), 1000),
        prompt(
            &format!(
                "[{}|{}]",
                ["a"; 40].join(" BREAK "),
                (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join("|")
            ),
            1000,
        ),
        prompt(&"(".repeat(129), 4),
        error(names.insert(Tokenizer::clip(), "x", 50000, 76)),
        error(names.insert(Tokenizer::clip(), " ", 50000, 1)),
    ];
    for (message, part) in messages.iter().zip([
        "weight 1.2.3",
        "not too large",
        "weight inf",
        "65537 bytes",
        "at 1000 steps",
        "chunks of 75",
        "deeper than 128",
        "\"x\" has 76",
        "no letter",
    ]) {
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    }
}
