//! A1111's text in its parts: the prompt, the negative prompt, the settings. Its own parser takes the last line for the
//! settings and stops at what it does not know; here they may be on any line, and what is unknown is an item like any other.

use super::fields;

/// What the negative prompt begins with.
pub(super) const NEGATIVE: &str = "Negative prompt:";
/// A line with fewer known settings belongs to the prompt.
const MIN_SETTINGS: usize = 3;
/// So many bytes are searched in vain for the ends of brackets; after that a bracket is text.
const MAX_VAIN: usize = 1 << 20;
/// The longest name of a setting on a line of its own.
const MAX_NAME: usize = 40;

/// Settings that A1111, its successors and what imitates them write, beside those of [`fields::FIELDS`].
const OTHERS: &[&str] = &[
    "ADetailer model",
    "App",
    "Backend",
    "Batch pos",
    "Batch size",
    "Civitai resources",
    "ControlNet 0",
    "Created Date",
    "Face restoration",
    "First pass size",
    "Hashes",
    "Hires checkpoint",
    "Hires prompt",
    "Hires sampler",
    "Hypernet",
    "Hypernet strength",
    "Init image hash",
    "Operations",
    "Parser",
    "Pipeline",
    "Refiner",
    "Refiner switch at",
    "Scheduler",
    "Size-1",
    "Token merging ratio",
    "VAE",
    "VAE hash",
];

/// A text in its parts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    /// Names and values in their order; a bare word has no value.
    pub(super) settings: Vec<(String, String)>,
}

impl Parts {
    pub(super) fn new(text: &str) -> Self {
        let text = text.trim();
        let (prompts, settings) = match settings_line(text) {
            Some(start) => (&text[..start], settings(&text[start..])),
            None => (text, Vec::new()),
        };
        let negative = prompts.lines().position(|line| line.starts_with(NEGATIVE)).unwrap_or(usize::MAX);
        let lines = |lines: Vec<&str>| lines.join("\n");
        let prompt = lines(prompts.lines().take(negative).collect());
        let negative_prompt = lines(prompts.lines().skip(negative).collect());
        let negative_prompt = negative_prompt.strip_prefix(NEGATIVE).unwrap_or_default().trim().to_owned();
        Self { prompt, negative_prompt, settings }
    }
}

/// Whether a setting is one that such texts have.
fn is_known(name: &str) -> bool {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    fields::find(name).is_some() || OTHERS.iter().any(|known| is(known))
}

/// Where the settings begin: the last line with three of them, if it is not within a value of a line before.
fn settings_line(text: &str) -> Option<usize> {
    let (mut found, mut start, mut free) = (None, 0, 0);
    let mut vain = 0;
    for line in text.split_inclusive('\n') {
        if start >= free {
            let items = Items::new(line, &mut vain).filter(|(name, _)| is_known(name));
            if items.take(MIN_SETTINGS).count() == MIN_SETTINGS {
                let mut whole = Items::new(&text[start..], &mut vain);
                whole.by_ref().for_each(drop);
                free = text.len() - whole.rest.len();
                found = Some(start);
            }
        }
        start += line.len();
    }
    found
}

/// The settings in a text that begins with their line. A line after it (`Template: …`) is one setting, unless it begins with
/// a known one too; without a name it goes on with the line before.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut vain = 0;
    let mut items = Items::new(text, &mut vain);
    let mut all: Vec<_> = items.by_ref().collect();
    let mut rest = items.rest;
    let first = all.len();
    while let Some(line) = rest.lines().next() {
        let is_item = |name: &&str| !name.is_empty() && name.len() <= MAX_NAME && !name.contains([',', '"']);
        let named = line.split_once(':').map(|(name, value)| (name.trim(), value)).filter(|(name, _)| is_item(name));
        match named {
            Some((name, _)) if is_known(name) => {
                let mut items = Items::new(rest, &mut vain);
                all.extend(items.by_ref());
                rest = items.rest;
                continue;
            }
            Some((name, value)) => all.push((name.to_owned(), value.trim().to_owned())),
            None if line.trim().is_empty() => {}
            None => match all.get_mut(first..).and_then(<[_]>::last_mut) {
                Some((_, value)) => *value = format!("{value}\n{}", line.trim()),
                None => all.push((line.trim().to_owned(), String::new())),
            },
        }
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    all
}

/// The items of a line `Name: value, Name: "quoted, value", word`, which has more lines where a quoted value or one in
/// brackets has. At the end `rest` begins behind the line.
struct Items<'a, 'v> {
    rest: &'a str,
    is_at_end: bool,
    vain: &'v mut usize,
}

impl<'a, 'v> Items<'a, 'v> {
    fn new(text: &'a str, vain: &'v mut usize) -> Self {
        Self { rest: text, is_at_end: false, vain }
    }

    /// The value at the start of a text, and what follows it.
    fn value(&mut self, text: &'a str) -> (String, &'a str) {
        let whole = match text.as_bytes().first() {
            Some(b'"') => quoted(text),
            Some(b'{' | b'[') if *self.vain < MAX_VAIN => {
                let length = bracketed(text);
                if length.is_none() {
                    *self.vain += text.len();
                }
                length.map(|length| (text[..length].to_owned(), length))
            }
            _ => None,
        };
        // The value is that only if nothing but the end of the item follows.
        let whole = whole.map(|(value, length)| (value, text[length..].trim_start_matches([' ', '\t', '\r'])));
        whole.filter(|(_, rest)| rest.is_empty() || rest.starts_with([',', '\n'])).unwrap_or_else(|| {
            let (value, rest) = text.split_at(text.find([',', '\n']).unwrap_or(text.len()));
            (value.trim().to_owned(), rest)
        })
    }
}

impl Iterator for Items<'_, '_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', ',']);
        if self.is_at_end || self.rest.is_empty() || self.rest.starts_with('\n') {
            self.rest = self.rest.strip_prefix('\n').filter(|_| !self.is_at_end).unwrap_or(self.rest);
            self.is_at_end = true;
            return None;
        }
        let end = self.rest.find([':', ',', '\n']).unwrap_or(self.rest.len());
        let (name, after) = self.rest.split_at(end);
        let name = name.trim();
        match after.strip_prefix(':') {
            Some(value) if !name.is_empty() => {
                let (value, rest) = self.value(value.trim_start_matches([' ', '\t', '\r']));
                self.rest = rest;
                Some((name.to_owned(), value))
            }
            Some(_) => {
                let (word, rest) = self.rest.split_at(self.rest.find([',', '\n']).unwrap_or(self.rest.len()));
                self.rest = rest;
                Some((word.trim().to_owned(), String::new()))
            }
            None => {
                self.rest = after;
                Some((name.to_owned(), String::new()))
            }
        }
    }
}

/// What is in quotation marks at the start of a text, and the length of it all. It should be a JSON string; some leave
/// newlines in it as they are.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let length = end?.0 + 1;
    let json = text[..length].replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
    Some((serde_json::from_str(&json).unwrap_or_else(|_| text[1..length - 1].to_owned()), length))
}

/// The length of a value in brackets at the start of a text, up to the bracket that closes the first; those in strings
/// don't count.
fn bracketed(text: &str) -> Option<usize> {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !is_escaped => is_string = !is_string,
            b'{' | b'[' if !is_string => depth += 1,
            b'}' | b']' if !is_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        is_escaped = byte == b'\\' && !is_escaped && is_string;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Vec<(String, String)>) {
        let Parts { prompt, negative_prompt, settings } = Parts::new(text);
        (prompt, negative_prompt, settings)
    }

    fn items(text: &str) -> Vec<(String, String)> {
        Items::new(text, &mut 0).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn items_of_every_form() {
        for (text, expected) in [
            ("Steps: 6, GFPGAN, Size: 96x32", &[("Steps", "6"), ("GFPGAN", ""), ("Size", "96x32")][..]),
            (
                "Hashes: {\"vae\": \"c6\", \"a, b\": \"}\"}, A: 1",
                &[("Hashes", "{\"vae\": \"c6\", \"a, b\": \"}\"}"), ("A", "1")],
            ),
            ("Civitai resources: [{\"a\":[1,2]},{}], A: 1", &[("Civitai resources", "[{\"a\":[1,2]},{}]"), ("A", "1")]),
            ("Cutoff targets: [\"white\", \"blue\"], A: 1", &[("Cutoff targets", "[\"white\", \"blue\"]"), ("A", "1")]),
            (
                "ControlNet 0 (unit): x, Ratio [hr]: 0.5, A: 1",
                &[("ControlNet 0 (unit)", "x"), ("Ratio [hr]", "0.5"), ("A", "1")],
            ),
            ("A: {x, B: [y, C: 1", &[("A", "{x"), ("B", "[y"), ("C", "1")]),
            ("A: {x} y, B: \"q\" z, C: 1", &[("A", "{x} y"), ("B", "\"q\" z"), ("C", "1")]),
            ("A: \"x, \\\"y\\\"\\n: z\", B: \"open, C: 1", &[("A", "x, \"y\"\n: z"), ("B", "\"open"), ("C", "1")]),
            ("A: \"x\ny\", B: 1", &[("A", "x\ny"), ("B", "1")]),
            ("A: , : x, ,, B:1", &[("A", ""), (": x", ""), ("B", "1")]),
            ("Date: 2024-01-01T10:20:30Z, A: C:\\x", &[("Date", "2024-01-01T10:20:30Z"), ("A", "C:\\x")]),
            ("A: \"\\q\", B: é", &[("A", "\\q"), ("B", "é")]),
            ("", &[]),
        ] {
            assert_eq!(items(text), pairs(expected), "{text}");
        }
        let many = "a:{,".repeat(1 << 18);
        assert_eq!(items(&many).len(), 1 << 18);
    }

    #[test]
    fn settings_on_any_line() {
        let line = "Steps: 6, Sampler: Euler a, Seed: 1";
        let three = [("Steps", "6"), ("Sampler", "Euler a"), ("Seed", "1")];
        let with = |more: &[(&str, &str)]| pairs(&[&three[..], more].concat());
        for (text, prompt, negative, settings) in [
            (format!("a\nb\nNegative prompt: c\nd\n{line}"), "a\nb", "c\nd", with(&[])),
            (format!("a\r\nNegative prompt: c\r\n{line}\r\n"), "a", "c", with(&[])),
            (
                format!("a\n{line}\nTemplate: a {{cat|dog}}, red\nor blue\nNegative Template: dog, x: y"),
                "a",
                "",
                with(&[("Template", "a {cat|dog}, red\nor blue"), ("Negative Template", "dog, x: y")]),
            ),
            (format!("a\n{line}\nClip skip: 2, Odd: 1"), "a", "", with(&[("Clip skip", "2"), ("Odd", "1")])),
            (format!("a\n{line}, Foo: \"x\ny\", Version: v1"), "a", "", with(&[("Foo", "x\ny"), ("Version", "v1")])),
            (
                format!("a\n{line}, Foo: \"x\nSteps: 1, Seed: 2, Size: 3\", Version: v1"),
                "a",
                "",
                with(&[("Foo", "x\nSteps: 1, Seed: 2, Size: 3"), ("Version", "v1")]),
            ),
            (format!("a\n{line}\n\nmade with love"), "a", "", with(&[("made with love", "")])),
            (format!("{line}\nb\n{line}"), "Steps: 6, Sampler: Euler a, Seed: 1\nb", "", with(&[])),
            (line.to_lowercase(), "", "", pairs(&[("steps", "6"), ("sampler", "euler a"), ("seed", "1")])),
            ("a\nb: c, d: e, f: g".to_owned(), "a\nb: c, d: e, f: g", "", vec![]),
            ("a\nSteps: 1, Seed: 2".to_owned(), "a\nSteps: 1, Seed: 2", "", vec![]),
            ("Negative prompt: c".to_owned(), "", "c", vec![]),
        ] {
            assert_eq!(parts(&text), (prompt.to_owned(), negative.to_owned(), settings), "{text}");
        }
    }
}
