//! Prompts of other programs, written in A1111's grammar.

/// NovelAI's factor of a bracket.
const NOVELAI: f64 = 1.05;
/// More signs behind a word make no difference any more.
const MAX_SIGNS: usize = 30;

/// A prompt of a program that has `(weights:1.2)` and no square brackets, such as ComfyUI: those are text.
pub(super) fn without_square_brackets(prompt: &str) -> String {
    let mut out = String::with_capacity(prompt.len());
    let mut is_escaped = false;
    for c in prompt.chars() {
        if matches!(c, '[' | ']') && !is_escaped {
            out.push('\\');
        }
        out.push(c);
        is_escaped = c == '\\' && !is_escaped;
    }
    out
}

/// NovelAI's: `{more}` is 1.05 times as strong and `[less]` as weak; round brackets are text. What is not closed is text.
pub(super) fn novelai(prompt: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut open: Vec<(char, usize)> = Vec::new();
    for c in prompt.chars() {
        let close = match c {
            '{' | '[' => {
                open.push((c, out.len()));
                out.push(if c == '[' { "\\[".to_owned() } else { c.to_string() });
                continue;
            }
            '}' => ('{', NOVELAI),
            ']' => ('[', 1.0 / NOVELAI),
            '(' | ')' => {
                out.push(format!("\\{c}"));
                continue;
            }
            _ => {
                out.push(c.to_string());
                continue;
            }
        };
        match open.pop() {
            Some((bracket, at)) if bracket == close.0 => {
                "(".clone_into(&mut out[at]);
                out.push(format!(":{})", weight(close.1)));
            }
            other => {
                open.extend(other);
                out.push(if c == ']' { "\\]".to_owned() } else { c.to_string() });
            }
        }
    }
    out.concat()
}

/// InvokeAI's: `word++`, `word-`, `(some words)1.2`, `(some words)+`; a `+` is 1.1 times as strong, a `-` 0.9 times. Square
/// brackets are text.
pub(super) fn invokeai(prompt: &str) -> String {
    let prompt = without_square_brackets(prompt);
    let chars: Vec<char> = prompt.chars().collect();
    let mut out = String::with_capacity(prompt.len());
    // Where what a weight may stand behind begins in `out`: open brackets, and the last word.
    let (mut open, mut word): (Vec<usize>, Option<usize>) = (Vec::new(), None);
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                word.get_or_insert(out.len());
                out.push(c);
                out.extend(chars.get(at));
                at += 1;
            }
            '(' => {
                open.push(out.len());
                word = None;
            }
            ')' => {
                word = None;
                let Some(start) = open.pop() else { continue };
                let (factor, length) = behind(&chars[at..]);
                at += length;
                weigh(&mut out, start, factor);
            }
            '+' | '-' if word.is_some() => {
                let (factor, length) = behind(&chars[at - 1..]);
                let ends =
                    chars.get(at - 1 + length).is_none_or(|next| !(next.is_alphanumeric() || "+-".contains(*next)));
                match word.take_if(|_| ends && length > 0) {
                    Some(start) => {
                        at += length - 1;
                        weigh(&mut out, start, factor);
                    }
                    None => out.push(c),
                }
            }
            c if c.is_whitespace() || ",.;:!?\"".contains(c) => {
                word = None;
                out.push(c);
            }
            c => {
                word.get_or_insert(out.len());
                out.push(c);
            }
        }
    }
    out
}

/// The factor that stands at the start of some characters, and how many it takes.
fn behind(chars: &[char]) -> (f64, usize) {
    let count = |sign: char| chars.iter().take_while(|&&c| c == sign).count();
    match (count('+'), count('-')) {
        (0, 0) => {
            let text: String = chars.iter().take_while(|c| c.is_ascii_digit() || **c == '.').collect();
            let number = text.trim_end_matches('.');
            number.parse().map_or((1.0, 0), |factor| (factor, number.len()))
        }
        (more, less) => {
            let power = |count: usize| count.min(MAX_SIGNS) as i32;
            (1.1_f64.powi(power(more)) * 0.9_f64.powi(power(less)), more + less)
        }
    }
}

/// Puts what was written since `start` in brackets with a weight, if it has one.
fn weigh(out: &mut String, start: usize, factor: f64) {
    if factor != 1.0 && start < out.len() {
        out.insert(start, '(');
        out.push_str(&format!(":{})", weight(factor)));
    }
}

/// With four digits at most.
fn weight(factor: f64) -> f64 {
    (factor * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammars_are_translated() {
        for (theirs, ours) in [("a [b] (c:1.2) \\[d\\]", "a \\[b\\] (c:1.2) \\[d\\]"), ("\\\\[x", "\\\\\\[x")] {
            assert_eq!(without_square_brackets(theirs), ours);
        }
        for (theirs, ours) in [
            ("{a}, [b], c", "(a:1.05), (b:0.9524), c"),
            ("{{a b}} (c)", "((a b:1.05):1.05) \\(c\\)"),
            ("{a [b} c]", "{a (b} c:0.9524)"),
            ("{a", "{a"),
            ("a]", "a\\]"),
        ] {
            assert_eq!(novelai(theirs), ours);
        }
        for (theirs, ours) in [
            ("a big+ cat", "a (big:1.1) cat"),
            ("a big++, cat--", "a (big:1.21), (cat:0.81)"),
            ("(a red cat)1.3 sat", "(a red cat:1.3) sat"),
            ("(a red cat)+ (on) it", "(a red cat:1.1) on it"),
            ("(a (red)1.5 cat)0.5", "(a (red:1.5) cat:0.5)"),
            ("well-lit - room [x]", "well-lit - room \\[x\\]"),
            ("\\(a\\) b)", "\\(a\\) b"),
            ("(a, b", "a, b"),
            ("a+b é+ 猫-", "a+b (é:1.1) (猫:0.9)"),
            ("", ""),
        ] {
            assert_eq!(invokeai(theirs), ours, "{theirs}");
        }
    }
}
