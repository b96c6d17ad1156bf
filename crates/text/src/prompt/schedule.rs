//! Prompts that change on the way: `[from:to:when]`, `[to:when]`, `[from::when]` and `[a|b|…]` (A1111,
//! `prompt_parser.py`, `get_learned_conditioning_prompt_schedules`).
//!
//! The reference gives its grammar to an Earley parser. Here one pass over the text with a stack finds the same: since
//! no bracket, colon or bar may stand alone inside a construct, an opening bracket begins at most one. Outside of them
//! brackets and colons are text, but a `|` or a backslash with nothing after it is no prompt of this grammar at all, and
//! then nothing in it is scheduled. Where stray brackets leave the reference two readings it takes one by chance (by the
//! hash seed of the process); here a construct always counts.

use std::{collections::BTreeSet, ops::Range};

use super::pattern::is_space;
use crate::Error;

/// The most bytes of a prompt's texts at all of its steps.
const MAX_BYTES: usize = 4 << 20;

/// Which steps a schedule runs over, and what its numbers count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeline {
    steps: usize,
    /// What `when` as a whole number counts from.
    whole_offset: f64,
    /// What `when` with a point counts from, in runs.
    fraction_offset: f64,
    /// Whether `when` is a fraction if it is below 1, and not if it has a point.
    is_old: bool,
}

impl Timeline {
    /// One run of `steps` evaluations of the model: a `when` with a point is a fraction of them, one without counts them.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self { steps, whole_offset: 0.0, fraction_offset: 0.0, is_old: false }
    }

    /// The second run of two, as of the hires fix, after one of `first_steps`: fractions are those from 1 to 2, whole
    /// numbers go on counting from the first run's.
    #[must_use]
    pub fn second(first_steps: usize, steps: usize) -> Self {
        Self { steps, whole_offset: first_steps as f64, fraction_offset: 1.0, is_old: false }
    }

    /// Any run after A1111's "Use old prompt editing timelines", its way before version 1.6: a `when` below 1 is a fraction
    /// of the steps, with a point or without, any other counts them. In the second of two runs it is that of the first.
    #[must_use]
    pub fn old(steps: usize) -> Self {
        Self { is_old: true, ..Self::new(steps) }
    }

    /// The last step with the first of two texts, from `when` as it is written.
    fn step(self, when: &str) -> usize {
        let value: f64 = when.parse().unwrap_or(0.0);
        let is_fraction = if self.is_old { value < 1.0 } else { when.contains('.') };
        let step = match is_fraction {
            true => (value - self.fraction_offset) * self.steps as f64,
            false => value - self.whole_offset,
        };
        // Truncated towards zero; what is below 1 never holds.
        (step as usize).min(self.steps)
    }
}

/// What stands in square brackets and changes on the way.
#[derive(Debug)]
struct Construct {
    /// Where its brackets lie in the text, the closing one included.
    start: usize,
    end: usize,
    /// Its colons or bars, in [`Constructs::separators`].
    separators: Range<usize>,
    /// The last step with the first text; of alternatives `None`.
    until: Option<usize>,
}

/// A bracket that is open.
struct Open {
    start: usize,
    is_square: bool,
    /// Where its separators begin on their stack.
    separators: usize,
    bars: usize,
}

#[derive(Default)]
struct Constructs {
    /// By `start`.
    list: Vec<Construct>,
    separators: Vec<usize>,
}

/// The texts of a prompt and the last step of each, ascending; the last entry's is that of the timeline.
///
/// # Errors
/// A long prompt changes at so many steps that its texts take more than [`MAX_BYTES`].
pub(crate) fn schedule(text: &str, timeline: Timeline) -> Result<Vec<(usize, String)>, Error> {
    let Some(constructs) = find(text, timeline) else { return Ok(vec![(timeline.steps, text.to_owned())]) };
    let mut ends = BTreeSet::from([timeline.steps]);
    for construct in &constructs.list {
        match construct.until {
            Some(step) if step >= 1 => drop(ends.insert(step)),
            Some(_) => {}
            None => ends.extend(1..=timeline.steps),
        }
    }
    if text.len().saturating_mul(ends.len()) > MAX_BYTES {
        return Err(Error::LongSchedule { bytes: text.len(), steps: ends.len(), limit: MAX_BYTES / ends.len() });
    }
    Ok(ends.into_iter().map(|step| (step, constructs.render(text, step))).collect())
}

/// The constructs of a text; `None` if it is no prompt of this grammar.
fn find(text: &str, timeline: Timeline) -> Option<Constructs> {
    let mut constructs = Constructs::default();
    let (mut open, mut separators): (Vec<Open>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut bars, mut bars_used) = (0, 0);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next().filter(|&(_, c)| c != '\n')?),
            '(' | '[' => {
                open.push(Open { start: at, is_square: c == '[', separators: separators.len(), bars: 0 });
            }
            ':' | '|' => {
                bars += usize::from(c == '|');
                if let Some(innermost) = open.last_mut() {
                    innermost.bars += usize::from(c == '|');
                    separators.push(at);
                }
            }
            ')' | ']' => {
                let closed = open.pop().filter(|open| open.is_square == (c == ']'));
                let valid = closed.is_some_and(|closed| {
                    let inside = separators.split_off(closed.separators);
                    bars_used += if closed.is_square && closed.bars == inside.len() { closed.bars } else { 0 };
                    constructs.close(text, &closed, at, &inside, timeline)
                });
                if !valid {
                    // A bracket that is only text may stand in no construct: none of the open ones is one.
                    open.clear();
                    separators.clear();
                }
            }
            _ => {}
        }
    }
    constructs.list.sort_unstable_by_key(|construct| construct.start);
    (bars == bars_used).then_some(constructs)
}

impl Constructs {
    /// Whether what is closed at `at`, its separators at `inside`, may stand in a prompt; if it changes, it is kept.
    fn close(&mut self, text: &str, open: &Open, at: usize, inside: &[usize], timeline: Timeline) -> bool {
        let until = match (open.is_square, open.bars, inside) {
            (false, bars, _) => return bars == 0 && inside.len() <= 1,
            (true, _, []) => return true,
            (true, 0, [last] | [_, last]) => {
                let Some(when) = number(&text[last + 1..at]) else { return false };
                Some(timeline.step(when))
            }
            (true, bars, _) if bars == inside.len() => None,
            _ => return false,
        };
        let first = self.separators.len();
        self.separators.extend(inside);
        self.list.push(Construct { start: open.start, end: at + 1, separators: first..self.separators.len(), until });
        true
    }

    /// The text at a step, from 1.
    fn render(&self, text: &str, step: usize) -> String {
        let mut out = String::with_capacity(text.len());
        // What is still to be written, the innermost last.
        let mut todo = vec![(0, text.len())];
        while let Some((start, end)) = todo.pop() {
            let next = self.list.partition_point(|construct| construct.start < start);
            match self.list.get(next).filter(|construct| construct.start < end) {
                Some(construct) => {
                    out.push_str(&text[start..construct.start]);
                    todo.extend([(construct.end, end), self.chosen(construct, step)]);
                }
                None => out.push_str(&text[start..end]),
            }
        }
        out
    }

    /// Where the part of a construct lies that holds at a step.
    fn chosen(&self, construct: &Construct, step: usize) -> (usize, usize) {
        let separators = &self.separators[construct.separators.clone()];
        let part = |index: usize| {
            let start = index.checked_sub(1).map_or(construct.start, |before| separators[before]) + 1;
            (start, separators.get(index).copied().unwrap_or(construct.end - 1))
        };
        match construct.until {
            None => part((step - 1) % (separators.len() + 1)),
            Some(until) if step > until => part(separators.len() - 1),
            Some(_) if separators.len() == 2 => part(0),
            Some(_) => (construct.start, construct.start),
        }
    }
}

/// The number that `text` is, whitespace around it left out: digits with or without a point, sign and exponent.
fn number(text: &str) -> Option<&str> {
    let text = text.trim_matches(is_space);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(rest);
    rest = &rest[whole..];
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix('.') {
        fraction = digits(after);
        rest = &after[fraction..];
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        rest = if exponent.is_empty() { rest } else { &exponent[digits(exponent)..] };
    }
    rest.is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ten(text: &str) -> Vec<(usize, String)> {
        schedule(text, Timeline::new(10)).unwrap()
    }

    #[test]
    fn numbers() {
        for valid in ["1", ".5", "5.", "-1", "+2.5e3", " 3\t", "1E-2"] {
            assert_eq!(number(valid), Some(valid.trim()), "{valid}");
        }
        for invalid in ["", ".", "1e", "1 2", "a", "--1", "1.2.3", "1e+", "٣"] {
            assert_eq!(number(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_second_run_counts_on() {
        let second = |text| schedule(text, Timeline::second(10, 10)).unwrap();
        assert_eq!(second("a [b:.5] c"), [(10, "a b c".to_owned())]);
        assert_eq!(second("a [b:1.5] c"), [(5, "a  c".to_owned()), (10, "a b c".to_owned())]);
        assert_eq!(second("a [b:12] c"), [(2, "a  c".to_owned()), (10, "a b c".to_owned())]);
    }

    #[test]
    fn huge_numbers_are_no_error() {
        assert_eq!(ten("[a:b:1e999]"), [(10, "a".to_owned())]);
        assert_eq!(ten("[a:b:-1e999]"), [(10, "b".to_owned())]);
        assert_eq!(ten("[a:b:99999999999999999999]"), [(10, "a".to_owned())]);
    }

    #[test]
    fn empty_timelines_are_no_error() {
        assert_eq!(schedule("[a|b][c:d:1]", Timeline::new(0)).unwrap().len(), 1);
    }
}
