//! Which paths a stranger may name: those that mean one file inside a folder, on every system.

/// The most bytes of a path, and of one part of it.
const LONGEST: (usize, usize) = (1024, 255);

/// Names that are devices on Windows, with any ending.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Why a relative path with `/` between its parts may not become a file here; none if it may.
pub(crate) fn problem(path: &str) -> Option<&'static str> {
    if path.len() > LONGEST.0 || path.split('/').any(|part| part.len() > LONGEST.1) {
        return Some("the path is too long");
    }
    path.split('/').find_map(part_problem)
}

fn part_problem(part: &str) -> Option<&'static str> {
    if part.is_empty() {
        return Some("an absolute path, or one with an empty part");
    }
    if part == "." || part == ".." {
        return Some("the path leaves its folder");
    }
    // The directional marks among these would show a name as another one.
    if part.chars().any(|c| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }) {
        return Some("the path has control characters");
    }
    if part.contains(['\\', ':', '<', '>', '"', '|']) || part.ends_with(['.', ' ']) || is_device(part) {
        return Some("the path means something else on Windows");
    }
    None
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered =
        |name: &str| stem.strip_prefix(name).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit());
    DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt")
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_allowed_stays_in_its_folder(path in r"([a-z./\\:~ \x00-\x20]|\.\.|con|PC){0,12}") {
            if problem(&path).is_none() {
                let parts: Vec<_> = Path::new(&path).components().collect();
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                prop_assert_eq!(parts.len(), path.split('/').count());
                prop_assert!(!path.contains(['\\', ':', '\0', '\n']));
            }
        }
    }

    #[test]
    fn only_a_plain_path_inside_the_folder() {
        for path in [
            "model_index.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            ".gitattributes",
            "a b/ü.txt",
            "console/com10.x",
        ] {
            assert_eq!(problem(path), None, "{path}");
        }
        let wrong = [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "..\\x",
            "C:/x",
            "C:x",
            "\\\\host\\x",
            "a/nul",
            "CON.txt",
            "aux .json",
            "LPT1",
            "com9.safetensors",
            "a.",
            "a /b",
            "a\nb",
            "a\0b",
            "a\u{1b}[2J",
            "a\u{202e}b",
            "x:stream",
        ];
        for path in wrong {
            assert!(problem(path).is_some(), "{path:?}");
        }
        assert!(problem(&"a/".repeat(600)).is_some());
        assert!(problem(&"a".repeat(256)).is_some());
    }
}
