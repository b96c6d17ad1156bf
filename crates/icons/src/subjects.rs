use crate::{
    error::{Error, Result},
    packages::Packages,
    words::{plural, with_article},
};

/// The list of subjects.
const LIST: &str = include_str!("subjects.txt");

/// Something that is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its emoji's code points in hexadecimal, `1F34E`.
    pub code: String,
    /// What captions call it; the first is the most common.
    pub nouns: Vec<Noun>,
}

/// A name of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noun {
    /// Without an article: `apple`, `grapes`.
    pub words: String,
    /// Whether there can be one and two of it; else it has no article: `grapes`, `cheese`.
    pub counted: bool,
}

impl Noun {
    /// With what is said about it: `a small blue apple`, `small grapes`.
    pub(crate) fn one(&self, adjectives: &[&str]) -> String {
        let words = join(adjectives, &self.words);
        if self.counted { with_article(&words) } else { words }
    }

    /// Several: `three blue apples`; only of what is counted.
    pub(crate) fn many(&self, count: &str, adjectives: &[&str]) -> String {
        join(&[&[count], adjectives].concat(), &plural(&self.words))
    }
}

fn join(adjectives: &[&str], noun: &str) -> String {
    [adjectives, &[noun]].concat().join(" ")
}

/// The subjects of the data set, in the order of `subjects.txt`.
///
/// # Errors
/// [`Error::Subjects`] when the list has a bad line or names an emoji that the packages have no name for.
pub fn subjects(packages: &Packages) -> Result<Vec<Subject>> {
    parse(LIST, |code| packages.label(code).map(str::to_owned))
}

/// Reads a list: `CODE`, or `CODE name | another name`; a name that begins with `@` is not counted. `label` is the name where the
/// line has none.
pub(crate) fn parse(list: &str, label: impl Fn(&str) -> Option<String>) -> Result<Vec<Subject>> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (index, line) in list.lines().enumerate() {
        let failed = |reason: String| Error::Subjects { line: index + 1, reason };
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (code, names) = line.split_once(' ').unwrap_or((line, ""));
        let point = |part: &str| u32::from_str_radix(part, 16).ok().and_then(char::from_u32).is_some();
        if !code.split('-').all(point) {
            return Err(failed(format!("{code:?} is no code point; expected hexadecimal, such as 1F34E")));
        }
        let names = match names.trim() {
            "" => label(code).ok_or_else(|| failed(format!("U+{code} has no name: give one after it")))?,
            names => names.to_owned(),
        };
        let noun = |name: &str| {
            let words = name.trim();
            let (words, counted) = words.strip_prefix('@').map_or((words, true), |words| (words, false));
            let plain = |c: char| c.is_ascii_lowercase() || " '-".contains(c);
            if words.is_empty() || !words.chars().all(plain) || words.contains("  ") {
                return Err(failed(format!("{words:?} is no name; expected words in lower case")));
            }
            Ok(Noun { words: words.to_owned(), counted })
        };
        let nouns = names.split('|').map(noun).collect::<Result<Vec<_>>>()?;
        let known = |noun: &&Noun| subjects.iter().any(|s| s.nouns.iter().any(|n| n.words == noun.words));
        if let Some(twice) = nouns.iter().find(known) {
            return Err(failed(format!("{:?} is another subject's name already", twice.words)));
        }
        if subjects.iter().any(|s| s.code == code) {
            return Err(failed(format!("U+{code} is in the list already")));
        }
        subjects.push(Subject { code: code.to_owned(), nouns });
    }
    Ok(subjects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sound() {
        // Another name for each, in letters, where the packages give one.
        let letters = |code: &str| code.bytes().map(|b| char::from(b'a' + b % 26)).collect::<String>();
        let subjects = parse(LIST, |code| Some(format!("subject {}", letters(code)))).unwrap();
        assert!(subjects.len() >= 400, "{}", subjects.len());
        assert!(subjects.iter().all(|s| s.nouns.iter().all(|noun| noun.words.split(' ').count() <= 5)));
    }

    #[test]
    fn lines() {
        let list = "# fruit\n1F34E apple | red apple\n\n  1F347 @grapes # plural\n2708\n";
        let subjects = parse(list, |_| Some("airplane".into())).unwrap();
        assert_eq!(subjects.iter().map(|s| s.code.as_str()).collect::<Vec<_>>(), ["1F34E", "1F347", "2708"]);
        assert_eq!(subjects[0].nouns[1].one(&["small"]), "a small red apple");
        assert_eq!(subjects[0].nouns[0].many("two", &["blue"]), "two blue apples");
        assert_eq!(subjects[1].nouns[0].one(&["blue"]), "blue grapes");
        assert_eq!(subjects[2].nouns[0].one(&[]), "an airplane");
        for (list, line) in [
            ("1F34E\nxyz", 2),
            ("D800", 1),
            ("1F34E a\n1F34E b", 2),
            ("1F34E a\n1F347 a", 2),
            ("1F34E a |", 1),
            ("1F34E Apple", 1),
        ] {
            match parse(list, |_| Some("name".into())) {
                Err(Error::Subjects { line: got, .. }) => assert_eq!(got, line, "{list:?}"),
                other => panic!("{list:?}: {other:?}"),
            }
        }
        assert!(parse("1F34E", |_| None).is_err());
    }
}
