//! What a prompt seems to mean and does not.

use calotype::{Request, request::PromptStyle};

use crate::failure::with_point;

/// A line about the first part of the prompts that is written in a grammar which they are not read by.
pub(super) fn of_prompts(request: &Request) -> Option<String> {
    let texts = [&request.prompt, &request.negative_prompt];
    match request.prompt_style {
        PromptStyle::Plain => texts.into_iter().find_map(|text| weighted(text, |number| number.parse::<f64>().is_ok())).map(|part| {
            format!("{part:?} is only text in plain prompts: --prompt-style a1111 reads weights and the rest of A1111's grammar")
        }),
        _ => texts.into_iter().find_map(|text| weighted(text, |number| with_point(number).is_some())).map(|part| {
            format!("{part:?} is no weight but text: a decimal has a point")
        }),
    }
}

/// The first `(text:number)` or `[text:number]`, brackets in brackets left out. `16:9` is no weight.
fn weighted(text: &str, is_number: impl Fn(&str) -> bool) -> Option<&str> {
    let mut open = None;
    for (at, c) in text.char_indices() {
        match (c, open) {
            ('(' | '[', _) => open = Some((at, c)),
            (')', Some((start, '('))) | (']', Some((start, '['))) => {
                let inside = &text[start + 1..at];
                let found = inside.rsplit_once(':').filter(|(before, number)| {
                    let before = before.trim_end();
                    !before.is_empty() && !before.ends_with(|c: char| c.is_ascii_digit()) && is_number(number.trim())
                });
                if found.is_some() {
                    return text.get(start..=at);
                }
                open = None;
            }
            (')' | ']', _) => open = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(style: PromptStyle, prompt: &str, negative: &str) -> Option<String> {
        let (prompt, negative_prompt) = (prompt.to_owned(), negative.to_owned());
        of_prompts(&Request { prompt, negative_prompt, prompt_style: style, ..Request::default() })
    }

    #[test]
    fn weights_in_plain_prompts_are_noticed() {
        let plain = |prompt: &str| hint(PromptStyle::Plain, prompt, "");
        for (prompt, part) in [
            ("a (cat:1.3)", "(cat:1.3)"),
            ("a ((red) cat:1.3), (dog : .5 )", "(dog : .5 )"),
            ("[day:night:0.5] é", "[day:night:0.5]"),
        ] {
            let expected = format!(
                "{part:?} is only text in plain prompts: --prompt-style a1111 reads weights and the rest of A1111's grammar"
            );
            assert_eq!(plain(prompt), Some(expected));
        }
        for none in
            ["a (cat)", "(aspect 16:9)", "(note: a cat)", "a :1.3)", "(:1.3)", "(a:1.3]", "<lora:x:1>", "(a:1,3)"]
        {
            assert_eq!(plain(none), None, "{none}");
        }
        assert!(hint(PromptStyle::Plain, "a", "(blurry:1.3)").is_some());
    }

    #[test]
    fn decimal_commas_in_weights_are_noticed() {
        let a1111 = |prompt: &str| hint(PromptStyle::A1111, prompt, "");
        assert_eq!(a1111("a (cat:1,3)"), Some("\"(cat:1,3)\" is no weight but text: a decimal has a point".into()));
        assert_eq!(a1111("a (cat:1.3), (1, 2: a, b)"), None);
    }
}
