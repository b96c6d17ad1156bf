//! Attention: `(a)`, `(a:1.2)`, `[a]` and `BREAK` (A1111, `prompt_parser.py`, `parse_prompt_attention`).

use super::{
    Emphasis,
    pattern::{is_space, split_at_word},
};
use crate::Error;

/// What `(a)` multiplies by.
const ROUND: f64 = 1.1;
/// What `[a]` multiplies by.
const SQUARE: f64 = 1.0 / 1.1;
/// The most brackets that may be open at once: each multiplies the weight of all that is in it, and 1.1 to this power is
/// far beyond any use.
const MAX_DEPTH: usize = 128;
/// Marks the end of a chunk; the reference has a text and a weight for it, so that brackets around it make it a word.
const BREAK: (&str, f64) = ("BREAK", -1.0);

/// Texts and their weights, neighbours with equal weights joined; a [`Piece::is_break`] ends a chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) weight: f64,
}

impl Piece {
    pub(crate) fn is_break(&self) -> bool {
        (self.text.as_str(), self.weight) == BREAK
    }
}

/// The pieces of a prompt without schedule, weighted as `emphasis` says.
///
/// # Errors
/// As [`attention`].
pub(crate) fn pieces(text: &str, emphasis: Emphasis) -> Result<Vec<Piece>, Error> {
    if emphasis == Emphasis::None {
        return Ok(vec![Piece { text: text.to_owned(), weight: 1.0 }]);
    }
    let mut pieces = attention(text)?;
    if emphasis == Emphasis::Ignore {
        pieces.iter_mut().filter(|piece| !piece.is_break()).for_each(|piece| piece.weight = 1.0);
    }
    Ok(pieces)
}

/// The pieces of a prompt without schedule.
///
/// # Errors
/// A weight is no number, such as `1.2.3`, or too large; or brackets are deeper than [`MAX_DEPTH`].
fn attention(text: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Pieces::default();
    let (mut round, mut square) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(token_length(rest, first));
        rest = after;
        let weight = if first == ':' { weight(token) } else { None };
        match first {
            '\\' => pieces.push(&token[1..], 1.0),
            '(' | '[' if round.len() + square.len() >= MAX_DEPTH => {
                return Err(Error::DeepBrackets { limit: MAX_DEPTH });
            }
            '(' => round.push(pieces.weights.len()),
            '[' => square.push(pieces.weights.len()),
            ':' if let Some(weight) = weight
                && let Some(start) = round.pop() =>
            {
                let refused = || Error::Weight { text: weight.to_owned() };
                pieces.multiply(start, weight.parse().map_err(|_| refused())?);
            }
            ')' if let Some(start) = round.pop() => pieces.multiply(start, ROUND),
            ']' if let Some(start) = square.pop() => pieces.multiply(start, SQUARE),
            _ => pieces.push_broken(token),
        }
    }
    // Those left open hold to the end.
    round.into_iter().for_each(|start| pieces.multiply(start, ROUND));
    square.into_iter().for_each(|start| pieces.multiply(start, SQUARE));
    pieces.joined()
}

/// Bytes of the token that `rest` begins with.
fn token_length(rest: &str, first: char) -> usize {
    match first {
        '\\' if rest[1..].starts_with(['(', ')', '[', ']', '\\']) => 2,
        '\\' | '(' | ')' | '[' | ']' => 1,
        // `:\s*([+-]?[.\d]+)\s*\)`
        ':' => {
            let number = rest[1..].trim_start_matches(is_space);
            let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
            let after = digits.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
            let close = after.trim_start_matches(is_space);
            if after.len() < digits.len() && close.starts_with(')') { rest.len() - close.len() + 1 } else { 1 }
        }
        _ => rest.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(rest.len()),
    }
}

/// The weight of the token `: 1.2 )`.
fn weight(token: &str) -> Option<&str> {
    Some(token.strip_prefix(':')?.strip_suffix(')')?.trim_matches(is_space))
}

/// Pieces before they are joined, the weights apart so that they are multiplied fast.
#[derive(Default)]
struct Pieces<'a> {
    texts: Vec<&'a str>,
    weights: Vec<f64>,
}

impl<'a> Pieces<'a> {
    fn push(&mut self, text: &'a str, weight: f64) {
        self.texts.push(text);
        self.weights.push(weight);
    }

    /// Pushes a text, cut at each `\s*\bBREAK\b\s*`.
    fn push_broken(&mut self, text: &'a str) {
        let mut pieces = split_at_word(text, BREAK.0).peekable();
        let mut is_first = true;
        while let Some(mut piece) = pieces.next() {
            if !is_first {
                self.push(BREAK.0, BREAK.1);
                piece = piece.trim_start_matches(is_space);
            }
            if pieces.peek().is_some() {
                piece = piece.trim_end_matches(is_space);
            }
            self.push(piece, 1.0);
            is_first = false;
        }
    }

    fn multiply(&mut self, start: usize, by: f64) {
        self.weights[start..].iter_mut().for_each(|weight| *weight *= by);
    }

    fn joined(self) -> Result<Vec<Piece>, Error> {
        let mut joined: Vec<Piece> = Vec::new();
        for (text, weight) in self.texts.into_iter().zip(self.weights) {
            if !(weight as f32).is_finite() {
                return Err(Error::Weight { text: weight.to_string() });
            }
            match joined.last_mut().filter(|last| last.weight == weight) {
                Some(last) => last.text.push_str(text),
                None => joined.push(Piece { text: text.to_owned(), weight }),
            }
        }
        if joined.is_empty() {
            joined.push(Piece { text: String::new(), weight: 1.0 });
        }
        Ok(joined)
    }
}
