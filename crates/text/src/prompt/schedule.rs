//! Prompts that change on the way: `[from:to:when]`, `[to:when]`, `[from::when]` and `[a|b|…]` (A1111,
//! `prompt_parser.py`, `get_learned_conditioning_prompt_schedules`).
//!
//! The reference gives its grammar to an Earley parser. Here one pass over the text with a stack finds the same: since
//! no bracket, colon or bar may stand alone inside a construct, an opening bracket begins at most one. Outside of them
//! brackets and colons are text, but a `|` or a backslash with nothing after it is no prompt of this grammar at all, and
//! then nothing in it is scheduled. Where stray brackets leave the reference two readings it takes one by chance (by the
//! hash seed of the process); here a construct always counts.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use super::pattern::is_space;
use crate::Error;

/// The most bytes of all different texts of a prompt.
const MAX_BYTES: usize = 1 << 20;
/// The most pieces that its texts are put together from, at all of its steps.
const MAX_PIECES: usize = 1_000_000;

/// What reading a prompt may still take, all its parts together.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    pieces: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: MAX_BYTES, pieces: MAX_PIECES }
    }
}

fn spend(left: &mut usize, amount: usize) -> Option<()> {
    *left = left.checked_sub(amount)?;
    Some(())
}

/// The texts of a prompt, each once, in the order they come.
#[derive(Debug, PartialEq)]
pub(crate) struct Texts {
    pub(crate) texts: Vec<String>,
    /// The last step of each entry, ascending, and which text it is; the last entry's is that of the timeline.
    pub(crate) entries: Vec<(usize, usize)>,
}

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

/// The texts of a prompt, and when each holds. A text is put together once, however often it holds.
///
/// # Errors
/// They take more than the budget has.
pub(crate) fn schedule(text: &str, timeline: Timeline, budget: &mut Budget) -> Result<Texts, Error> {
    let Some(constructs) = find(text, timeline) else {
        return Ok(Texts { texts: vec![text.to_owned()], entries: vec![(timeline.steps, 0)] });
    };
    let mut ends = BTreeSet::from([timeline.steps]);
    ends.extend(constructs.list.iter().filter_map(|construct| construct.until).filter(|&step| step >= 1));
    if constructs.list.iter().any(|construct| construct.until.is_none()) {
        ends.extend(1..=timeline.steps);
    }
    let refused = || Error::LongSchedule { bytes: text.len(), steps: ends.len(), limit: MAX_BYTES };
    let mut texts = Texts { texts: Vec::new(), entries: Vec::with_capacity(ends.len()) };
    // Most steps choose as one before them did.
    let (mut by_pieces, mut by_text) = (HashMap::new(), HashMap::new());
    for &step in &ends {
        let pieces = constructs.pieces(text.len(), step, budget).ok_or_else(refused)?;
        let place = match by_pieces.get(&pieces) {
            Some(&place) => place,
            None => {
                let length = pieces.iter().map(|&(start, end)| end - start).sum();
                spend(&mut budget.bytes, length).ok_or_else(refused)?;
                let put_together: String = pieces.iter().map(|&(start, end)| &text[start..end]).collect();
                let place = *by_text.entry(put_together).or_insert_with_key(|text| {
                    texts.texts.push(text.clone());
                    texts.texts.len() - 1
                });
                by_pieces.insert(pieces, place);
                place
            }
        };
        texts.entries.push((step, place));
    }
    Ok(texts)
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

    /// The pieces of the text that hold at a step, from 1; `None` if they are more than the budget has.
    fn pieces(&self, length: usize, step: usize, budget: &mut Budget) -> Option<Vec<(usize, usize)>> {
        let mut pieces = Vec::new();
        // What is still to be looked at, the innermost last.
        let mut todo = vec![(0, length)];
        let add = |to: &mut Vec<_>, (start, end)| {
            if start < end {
                to.push((start, end))
            }
        };
        while let Some((start, end)) = todo.pop() {
            spend(&mut budget.pieces, 1)?;
            let next = self.list.partition_point(|construct| construct.start < start);
            match self.list.get(next).filter(|construct| construct.start < end) {
                Some(construct) => {
                    add(&mut pieces, (start, construct.start));
                    add(&mut todo, (construct.end, end));
                    add(&mut todo, self.chosen(construct, step));
                }
                None => pieces.push((start, end)),
            }
        }
        Some(pieces)
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
        read(text, Timeline::new(10))
    }

    fn read(text: &str, timeline: Timeline) -> Vec<(usize, String)> {
        let Texts { texts, entries } = schedule(text, timeline, &mut Budget::default()).unwrap();
        entries.into_iter().map(|(step, place)| (step, texts[place].clone())).collect()
    }

    /// Pieces and bytes that a prompt takes at 1000 steps; `None` if they are too many.
    fn taken(text: &str) -> Option<(usize, usize, usize)> {
        let mut budget = Budget::default();
        let texts = schedule(text, Timeline::new(1000), &mut budget).ok()?.texts;
        Some((texts.len(), MAX_PIECES - budget.pieces, MAX_BYTES - budget.bytes))
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
        let second = |text| read(text, Timeline::second(10, 10));
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
        assert_eq!(read("[a|b][c:d:1]", Timeline::new(0)).len(), 1);
    }

    #[test]
    fn what_a_schedule_takes_grows_with_its_text_and_not_with_the_steps() {
        let nested = |depth: usize, end: &str| format!("{}x{}", "[a:".repeat(depth), end.repeat(depth));
        // Two choices: two texts, whatever they stand in.
        assert_eq!(taken(&nested(1000, ":0.5]")), Some((2, 2 + 1001, 2)));
        let long = format!("[a|b]{}", "c ".repeat(30_000));
        assert_eq!(taken(&long), Some((2, 3000, 120_002)));
        // As many texts as steps, of one letter each.
        let letters = |count: usize| format!("[{}]", vec!["z"; count].join("|"));
        assert_eq!(taken(&letters(10_000)), Some((1, 2000, 1000)));
        // Different steps at every depth.
        let steps: String = (1..=1000).rev().map(|step| format!(":{step}]")).collect();
        let (texts, pieces, bytes) = taken(&format!("{}x{steps}", "[a:".repeat(1000))).unwrap();
        assert!(texts <= 1000 && pieces <= MAX_PIECES && bytes <= MAX_BYTES, "{texts} {pieces} {bytes}");
        // Too many changes, and too many long texts.
        assert_eq!(taken(&"[a|b]".repeat(10_000)), None);
        assert_eq!(taken(&format!("[a|b|c|d|e|f|g|h|i|j|k|l|m|n|o|p|q|r]{}", "c ".repeat(30_000))), None);
    }
}
