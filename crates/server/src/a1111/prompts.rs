//! The prompts of a body, with its styles.

use calotype::Request;

use super::fields::{Fields, Warnings};
use crate::{config::Style, problem::Result};

/// Fills in the prompts with their styles, and gives the names of those styles that there are.
pub(super) fn fill(
    fields: &Fields<'_>,
    known: &[Style],
    request: &mut Request,
    warnings: &Warnings,
) -> Result<Vec<String>> {
    for (name, text) in [("prompt", &mut request.prompt), ("negative_prompt", &mut request.negative_prompt)] {
        // An empty one is as if it were left out where an infotext has one.
        if let Some(given) = fields.text(name)?.filter(|given| !given.is_empty()) {
            *text = given;
        }
    }
    let used = styles(fields, known, request, warnings)?;
    if fields.flag("disable_extra_networks")? {
        request.prompt = without_tags(&request.prompt);
    }
    Ok(used)
}

/// Puts the words of styles around the prompts, and gives the names of those that there are.
fn styles(fields: &Fields<'_>, known: &[Style], request: &mut Request, warnings: &Warnings) -> Result<Vec<String>> {
    let mut used = Vec::new();
    for name in fields.texts("styles")? {
        let Some(style) = known.iter().find(|style| style.name == name) else {
            if !name.is_empty() && name != "None" {
                warnings.add(format!("there is no style {name:?}"));
            }
            continue;
        };
        request.prompt = styled(&request.prompt, &style.prompt);
        request.negative_prompt = styled(&request.negative_prompt, &style.negative_prompt);
        used.push(name);
    }
    Ok(used)
}

/// `{prompt}` is where the prompt goes; without it the words come after it (A1111's `merge_prompts`).
fn styled(prompt: &str, style: &str) -> String {
    if style.contains("{prompt}") {
        return style.replace("{prompt}", prompt);
    }
    let parts: Vec<&str> = [prompt.trim(), style.trim()].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// A prompt without `<lora:name:1>` and the like.
fn without_tags(prompt: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(prompt.len()), prompt);
    while let Some(start) = rest.find('<') {
        let is_tag = |tag: &str| {
            let name = tag.split_once(':').map_or("", |(name, _)| name);
            !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        };
        let end = rest[start..].find('>').map(|length| start + length);
        let kept = match end.filter(|&end| is_tag(&rest[start + 1..end])) {
            Some(end) => {
                text.push_str(&rest[..start]);
                end + 1
            }
            None => {
                text.push_str(&rest[..=start]);
                start + 1
            }
        };
        rest = &rest[kept..];
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_put_around_prompts() {
        for (prompt, style, expected) in [
            ("a fox", "oil painting of {prompt}, thick paint", "oil painting of a fox, thick paint"),
            ("a fox", " best quality ", "a fox, best quality"),
            ("", "best quality", "best quality"),
            ("a fox", "", "a fox"),
        ] {
            assert_eq!(styled(prompt, style), expected);
        }
    }

    #[test]
    fn tags_are_taken_out() {
        for (prompt, expected) in [
            ("a fox <lora:ink:0.8>, snow", "a fox , snow"),
            ("<hypernet:x:1>a < b > c", "a < b > c"),
            ("a <3 fox <lora:x", "a <3 fox <lora:x"),
            ("é<lora:é:1>è", "éè"),
            ("<<lora:a:1>>", "<>"),
        ] {
            assert_eq!(without_tags(prompt), expected, "{prompt}");
        }
    }
}
