//! The wire format of protocol buffers (<https://protobuf.dev/programming-guides/encoding>), read by position: what is skipped
//! is never in memory.

use std::ops::Range;

use crate::{Error, Result, source::Source};

/// Bytes read at a time: most fields lie close together.
const WINDOW: usize = 4096;
/// The most bytes of a number.
const MAX_VARINT: usize = 10;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(u64),
    /// Where in the file a text, bytes, a message or packed numbers are.
    Bytes(Range<u64>),
    /// Four or eight bytes, skipped: no field that is read here has them.
    Fixed,
}

/// Reads fields of messages, each of which is a part of the file.
pub(super) struct Wire<'a> {
    source: &'a Source,
    /// Where the window lies in the file.
    start: u64,
    window: Vec<u8>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, start: 0, window: Vec::new() }
    }

    /// The next field of a message, of which `message` is what is left: its number and value.
    pub(super) fn field(&mut self, message: &mut Range<u64>) -> Result<Option<(u64, Value)>> {
        if message.is_empty() {
            return Ok(None);
        }
        let at = message.start;
        let tag = self.number(message)?;
        let value = match tag & 7 {
            0 => Value::Number(self.number(message)?),
            1 => self.skip(message, 8, at)?,
            2 => {
                let length = self.number(message)?;
                let start = message.start;
                self.skip(message, length, at)?;
                Value::Bytes(start..message.start)
            }
            5 => self.skip(message, 4, at)?,
            kind => return Err(self.refuse(at, format!("a field of wire type {kind}, which ONNX does not have"))),
        };
        Ok(Some((tag >> 3, value)))
    }

    /// The next number of `rest`.
    pub(super) fn number(&mut self, rest: &mut Range<u64>) -> Result<u64> {
        let at = rest.start;
        let mut number = 0;
        for n in 0..MAX_VARINT {
            if rest.is_empty() {
                return Err(self.refuse(at, "a number that goes on after the end of its message".to_owned()));
            }
            let byte = self.byte(rest.start)?;
            rest.start += 1;
            // Of the tenth byte one bit has room.
            if n + 1 == MAX_VARINT && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.refuse(at, "a number of more than 64 bits".to_owned()))
    }

    /// A text of at most `limit` bytes.
    pub(super) fn text(&self, bytes: Range<u64>, limit: u64) -> Result<String> {
        let (at, length) = (bytes.start, bytes.end - bytes.start);
        if length > limit {
            return Err(self.refuse(at, format!("a name of {length} bytes, at most {limit} are allowed")));
        }
        let mut text = vec![0; length as usize];
        self.source.read_at(&mut text, at)?;
        String::from_utf8(text).map_err(|_| self.refuse(at, "a name that is not UTF-8".to_owned()))
    }

    /// How messages call the file.
    pub(super) fn label(&self) -> &str {
        &self.source.label
    }

    /// What is wrong, and where.
    pub(super) fn refuse(&self, at: u64, problem: String) -> Error {
        let problem = format!("no valid ONNX model: at byte {at} is {problem}: get the file again");
        Error::file(&self.source.label, problem)
    }

    fn skip(&self, message: &mut Range<u64>, length: u64, at: u64) -> Result<Value> {
        let left = message.end - message.start;
        if length > left {
            let problem = format!("a field of {length} bytes, where its message has {left} more");
            return Err(self.refuse(at, problem));
        }
        message.start += length;
        Ok(Value::Fixed)
    }

    /// A byte before the end of the file.
    fn byte(&mut self, at: u64) -> Result<u8> {
        let place = |start: u64| at.checked_sub(start).and_then(|n| usize::try_from(n).ok());
        if let Some(&byte) = place(self.start).and_then(|n| self.window.get(n)) {
            return Ok(byte);
        }
        let left = self.source.len.saturating_sub(at);
        self.window.resize(WINDOW.min(usize::try_from(left).unwrap_or(WINDOW)), 0);
        self.start = at;
        self.source.read_at(&mut self.window, at)?;
        self.window.first().copied().ok_or_else(|| self.refuse(at, "the end of the file".to_owned()))
    }
}
