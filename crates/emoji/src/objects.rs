use crate::error::{Error, Result};

/// The list of objects: a code point per line, then the noun phrase where the rule does not give a good one.
const LIST: &str = include_str!("objects.txt");

/// Something that is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The character whose picture it is.
    pub character: char,
    /// Its Unicode name, such as `RED APPLE`.
    pub name: String,
    /// How a caption calls it, article included: `a red apple`.
    pub phrase: String,
}

/// The objects of the data set, in the order of `objects.txt`.
///
/// # Errors
/// [`Error::Objects`] when the list has a bad line.
pub fn objects() -> Result<Vec<Object>> {
    parse(LIST)
}

fn parse(list: &str) -> Result<Vec<Object>> {
    let mut objects: Vec<Object> = Vec::new();
    for (index, line) in list.lines().enumerate() {
        let failed = |reason: String| Error::Objects { line: index + 1, reason };
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (code, phrase) = line.split_once(' ').unwrap_or((line, ""));
        let character = u32::from_str_radix(code, 16)
            .ok()
            .and_then(char::from_u32)
            .ok_or_else(|| failed(format!("{code:?} is no code point; expected one in hexadecimal, such as 1F34E")))?;
        let name =
            unicode_names2::name(character).ok_or_else(|| failed(format!("U+{code} has no Unicode name")))?.to_string();
        let phrase = match phrase.trim() {
            "" => with_article(&name.to_lowercase()),
            phrase => phrase.to_owned(),
        };
        if let Some(other) = objects.iter().find(|o| o.character == character || o.phrase == phrase) {
            return Err(failed(format!("the same character or phrase as {:?} before", other.phrase)));
        }
        objects.push(Object { character, name, phrase });
    }
    Ok(objects)
}

/// `a` or `an` before the words, by the first sound as its spelling shows it.
pub(crate) fn with_article(words: &str) -> String {
    let starts = |with: &[&str]| with.iter().any(|start| words.starts_with(start));
    let vowel = starts(&["a", "e", "i", "o", "u", "hour"]) && !starts(&["uni", "eu", "one", "uk", "use"]);
    format!("{} {words}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::HELD_OUT;

    #[test]
    fn the_list_is_sound() {
        let objects = objects().unwrap();
        assert!(objects.len() >= HELD_OUT, "{}", objects.len());
        let phrase_of = |c: char| objects.iter().find(|o| o.character == c).map(|o| o.phrase.as_str());
        assert_eq!(phrase_of('\u{1F34E}'), Some("a red apple"));
        assert_eq!(phrase_of('\u{1F419}'), Some("an octopus"));
        for object in &objects {
            let plain = object.phrase.chars().all(|c| c.is_ascii_lowercase() || " '-".contains(c));
            assert!(plain && object.phrase.split(' ').all(|word| !word.is_empty()), "{:?}", object.phrase);
            assert!(object.phrase.split(' ').count() <= 5, "{:?}", object.phrase);
        }
    }

    #[test]
    fn articles() {
        for (words, phrase) in [
            ("red apple", "a red apple"),
            ("octopus", "an octopus"),
            ("orange", "an orange"),
            ("unicorn face", "a unicorn face"),
            ("umbrella", "an umbrella"),
            ("hourglass", "an hourglass"),
            ("house", "a house"),
            ("elephant", "an elephant"),
        ] {
            assert_eq!(with_article(words), phrase);
        }
    }

    #[test]
    fn lines() {
        let list = "# fruit\n1F34E\n\n  1F347 grapes # plural\n";
        let objects = parse(list).unwrap();
        assert_eq!(objects[0].name, "RED APPLE");
        assert_eq!((objects[1].name.as_str(), objects[1].phrase.as_str()), ("GRAPES", "grapes"));
        for (list, line) in
            [("1F34E\nxyz", 2), ("D800", 1), ("10FFFF", 1), ("1F34E\n1F34E a", 2), ("1F34E a\n1F347 a", 2)]
        {
            match parse(list) {
                Err(Error::Objects { line: got, .. }) => assert_eq!(got, line, "{list:?}"),
                other => panic!("{list:?}: {other:?}"),
            }
        }
    }
}
