//! `--include`'s patterns, as Python's `fnmatch` has them: `*` any characters (also `/`), `?` one, `[…]` one of a set.

/// Whether the whole of `text` matches. A pattern that ends in `/` means everything in that folder.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = parse(pattern);
    if pattern.ends_with('/') {
        parts.push(Part::Any);
    }
    let text: Vec<char> = text.chars().collect();
    // Where to go on when a match fails: after the last star, which then swallows one character more.
    let (mut at, mut star) = ((0, 0), None);
    loop {
        match parts.get(at.0) {
            Some(Part::Any) => {
                star = Some(at);
                at.0 += 1;
                continue;
            }
            Some(part) if text.get(at.1).is_some_and(|c| part.is(*c)) => {
                at = (at.0 + 1, at.1 + 1);
                continue;
            }
            None if at.1 == text.len() => return true,
            _ => {}
        }
        match &mut star {
            Some((part, swallowed)) if *swallowed < text.len() => {
                *swallowed += 1;
                at = (*part + 1, *swallowed);
            }
            _ => return false,
        }
    }
}

enum Part {
    Any,
    One,
    Char(char),
    Set { ranges: Vec<(char, char)>, negated: bool },
}

impl Part {
    fn is(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
            Self::Set { ranges, negated } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

fn parse(pattern: &str) -> Vec<Part> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '[' => match set(&chars[at..]) {
                Some((part, length)) => {
                    at += length;
                    part
                }
                // A bracket that nothing closes stands for itself.
                None => Part::Char('['),
            },
            c => Part::Char(c),
        });
    }
    parts
}

/// The set after a `[`, and how many characters it takes with its `]`.
fn set(chars: &[char]) -> Option<(Part, usize)> {
    let negated = chars.first() == Some(&'!');
    let start = usize::from(negated);
    // A `]` right at the start is one of the set.
    let end = start + 1 + chars.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let mut ranges = Vec::new();
    let mut rest = &chars[start..end];
    while let [low, tail @ ..] = rest {
        (rest, _) = match tail {
            ['-', high, tail @ ..] => (tail, ranges.push((*low, *high))),
            tail => (tail, ranges.push((*low, *low))),
        };
    }
    Some((Part::Set { ranges, negated }, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without a set: each star takes as much as it likes.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| defined(rest, &text[taken..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => defined(rest, tail),
            ([c, rest @ ..], [d, tail @ ..]) => c == d && defined(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), defined(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn as_fnmatch() {
        let yes = [
            ("*", ""),
            ("*.safetensors", "unet/a.safetensors"),
            ("unet/", "unet/a/b"),
            ("v1-5*only.ckpt", "v1-5-ema-only.ckpt"),
            ("?[a-c]x", "zbx"),
            ("[!a]", "b"),
            ("[]]", "]"),
            ("[", "["),
            ("a[b", "a[b"),
            ("**a**b**", "xaxbx"),
            ("[a-]", "-"),
        ];
        let no = [
            ("*.bin", "a.bin.txt"),
            ("a", "ab"),
            ("?", ""),
            ("[!a]", "a"),
            ("unet/", "vae/x"),
            ("[a-c]", "d"),
            ("A", "a"),
        ];
        yes.iter().for_each(|(pattern, text)| assert!(matches(pattern, text), "{pattern} {text}"));
        no.iter().for_each(|(pattern, text)| assert!(!matches(pattern, text), "{pattern} {text}"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        assert!(!matches(&"*a".repeat(2000), &"a".repeat(1000)));
    }
}
