//! Character classes as the reference sees them.
//!
//! They are a table of our own, because the reference's parts follow different versions of Unicode (16 for letters
//! and numbers, 9 for normalization) and a crate's next version would move ids. `reference/tokenizer.py` writes it.

use std::sync::LazyLock;

/// Ranges of code points, ascending, both ends included.
type Ranges = Vec<(u32, u32)>;

static TABLE: LazyLock<[Ranges; 3]> = LazyLock::new(|| ["L", "N", "C"].map(|class| parse(DATA, class)));
const DATA: &str = include_str!("../data/characters.txt");

fn parse(data: &str, class: &str) -> Ranges {
    let range = |line: &str| {
        let mut fields = line.split(' ');
        let mut code = || u32::from_str_radix(fields.next()?, 16).ok();
        Some((code()?, code()?))
    };
    data.lines().filter_map(|line| range(line.strip_prefix(class)?.trim_start())).collect()
}

fn contains(ranges: &Ranges, c: char) -> bool {
    let code = u32::from(c);
    let after = ranges.partition_point(|&(low, _)| low <= code);
    after.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|&(_, high)| code <= high)
}

/// Unicode's general category L.
pub(crate) fn is_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { contains(&TABLE[0], c) }
}

/// Unicode's general category N.
pub(crate) fn is_number(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { contains(&TABLE[1], c) }
}

/// Whether canonical normalization (Unicode 9) can change, move or compose this character.
pub(crate) fn is_canonical(c: char) -> bool {
    contains(&TABLE[2], c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_ascending() {
        assert_eq!(TABLE.iter().map(Vec::len).sum::<usize>(), DATA.lines().count());
        for ranges in TABLE.iter() {
            assert!(ranges.iter().all(|(low, high)| low <= high));
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }

    #[test]
    fn ascii_agrees_with_the_table() {
        for c in '\0'..='\x7f' {
            assert_eq!(is_letter(c), contains(&TABLE[0], c));
            assert_eq!(is_number(c), contains(&TABLE[1], c));
        }
    }
}
