//! English of captions.

/// `a` or `an` before the words, by the first sound as its spelling shows it.
pub(crate) fn with_article(words: &str) -> String {
    let starts = |with: &[&str]| with.iter().any(|start| words.starts_with(start));
    let vowel = starts(&["a", "e", "i", "o", "u", "hour", "x-"]) && !starts(&["uni", "eu", "one", "uk", "use", "ufo"]);
    format!("{} {words}", if vowel { "an" } else { "a" })
}

/// Nouns whose plural has no rule.
const IRREGULAR: [(&str, &str); 12] = [
    ("leaf", "leaves"),
    ("mouse", "mice"),
    ("goose", "geese"),
    ("knife", "knives"),
    ("tooth", "teeth"),
    ("foot", "feet"),
    ("loaf", "loaves"),
    ("sheep", "sheep"),
    ("fish", "fish"),
    ("deer", "deer"),
    ("die", "dice"),
    ("ox", "oxen"),
];

/// More than one of a thing: `red apples`, `slices of pizza`.
pub(crate) fn plural(noun: &str) -> String {
    // What follows a preposition stays as it is.
    let head_end = [" of ", " with ", " in "].iter().filter_map(|word| noun.find(word)).min().unwrap_or(noun.len());
    let (head, rest) = noun.split_at(head_end);
    let (before, last) = head.rsplit_once(' ').map_or(("", head), |(before, last)| (before, last));
    let last = match IRREGULAR.iter().find(|(one, _)| *one == last) {
        Some((_, many)) => (*many).to_owned(),
        None => regular(last),
    };
    let space = if before.is_empty() { "" } else { " " };
    format!("{before}{space}{last}{rest}")
}

fn regular(noun: &str) -> String {
    let ends = |with: &[&str]| with.iter().any(|end| noun.ends_with(end));
    if ends(&["s", "x", "z", "ch", "sh"]) || ["tomato", "potato", "volcano", "mango", "mosquito"].contains(&noun) {
        return format!("{noun}es");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles() {
        for (words, phrase) in [
            ("red apple", "a red apple"),
            ("octopus", "an octopus"),
            ("unicorn", "a unicorn"),
            ("ufo", "a ufo"),
            ("umbrella", "an umbrella"),
            ("hourglass", "an hourglass"),
            ("house", "a house"),
        ] {
            assert_eq!(with_article(words), phrase);
        }
    }

    #[test]
    fn plurals() {
        for (one, many) in [
            ("apple", "apples"),
            ("slice of pizza", "slices of pizza"),
            ("maple leaf", "maple leaves"),
            ("cherry blossom", "cherry blossoms"),
            ("strawberry", "strawberries"),
            ("donkey", "donkeys"),
            ("fox", "foxes"),
            ("octopus", "octopuses"),
            ("tropical fish", "tropical fish"),
            ("nest with eggs", "nests with eggs"),
            ("peach", "peaches"),
        ] {
            assert_eq!(plural(one), many);
        }
    }
}
