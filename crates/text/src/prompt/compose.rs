//! `AND`: several prompts at once, each with a weight (Liu et al. 2022; A1111, `prompt_parser.py`,
//! `get_multicond_prompt_list`).

use super::pattern::{is_space, split_at_word};

/// The prompts between the `AND`s, and the weight of each: `a :1.2 AND b`.
pub(crate) fn parts(text: &str) -> impl Iterator<Item = (&str, f64)> {
    split_at_word(text, "AND").map(|part| {
        let text = part.trim_end_matches(is_space);
        weighted(text).unwrap_or((text, 1.0))
    })
}

/// `text : number`.
fn weighted(text: &str) -> Option<(&str, f64)> {
    let (text, number) = text.rsplit_once(':')?;
    let number = number.trim_start_matches(is_space);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    // Of what parses, numbers with an exponent and names like `inf` are none of the grammar's.
    let is_plain = digits.chars().all(|c| c == '.' || c.is_ascii_digit());
    let weight = number.parse().ok().filter(|_| is_plain)?;
    Some((text.trim_end_matches(is_space), weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_parts() {
        let parts = |text| parts(text).collect::<Vec<_>>();
        assert_eq!(parts("a :1.2 AND b:.5AND c AND d:.5"), [("a", 1.2), (" b:.5AND c", 1.0), (" d", 0.5)]);
        assert_eq!(parts("a: -2. "), [("a", -2.0)]);
        assert_eq!(parts("a:1:2"), [("a:1", 2.0)]);
        assert_eq!(parts("a:1e3 AND b:inf AND c:. AND"), [("a:1e3", 1.0), (" b:inf", 1.0), (" c:.", 1.0), ("", 1.0)]);
    }
}
