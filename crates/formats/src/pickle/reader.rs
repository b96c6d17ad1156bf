use std::ops::Range;

use super::Problem;
use crate::source::Source;

/// Bytes read from the file at a time.
const WINDOW: usize = 64 * 1024;

/// Reads a part of a file from front to back, little by little.
pub(crate) struct Reader<'a> {
    source: &'a Source,
    /// Where the next window starts, and where the part ends.
    ahead: Range<u64>,
    window: Vec<u8>,
    next: usize,
    /// Where the current frame of the pickle ends.
    frame: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a Source, part: Range<u64>) -> Self {
        Self { source, ahead: part, window: Vec::new(), next: 0, frame: None }
    }

    /// The place of the next byte in the file.
    pub(crate) fn position(&self) -> u64 {
        self.ahead.start - (self.window.len() - self.next) as u64
    }

    /// Bytes there are until the end of the part.
    pub(crate) fn left(&self) -> u64 {
        self.ahead.end - self.position()
    }

    fn refill(&mut self) -> Result<(), Problem> {
        let len = WINDOW.min(usize::try_from(self.ahead.end - self.ahead.start).unwrap_or(WINDOW));
        if len == 0 {
            return Err(cut_off());
        }
        self.window.resize(len, 0);
        self.source.read_at(&mut self.window, self.ahead.start)?;
        self.ahead.start += len as u64;
        self.next = 0;
        Ok(())
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Problem> {
        if self.next == self.window.len() {
            self.refill()?;
        }
        let byte = self.window[self.next];
        self.next += 1;
        Ok(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn fill(&mut self, mut to: &mut [u8]) -> Result<(), Problem> {
        while !to.is_empty() {
            if self.next == self.window.len() {
                self.refill()?;
            }
            let len = to.len().min(self.window.len() - self.next);
            to[..len].copy_from_slice(&self.window[self.next..][..len]);
            self.next += len;
            to = &mut to[len..];
        }
        Ok(())
    }

    /// The next `len` bytes. The caller has seen to it that so many may be held.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Problem> {
        if len as u64 > self.left() {
            return Err(cut_off());
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes up to the next line feed, without it; at most `limit`.
    pub(crate) fn line(&mut self, limit: usize) -> Result<Vec<u8>, Problem> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                _ if line.len() == limit => {
                    return Err(Problem::limit(format!("its pickle has a line of more than {limit} bytes")));
                }
                byte => line.push(byte),
            }
        }
    }

    /// Begins a frame of `len` bytes.
    pub(crate) fn begin_frame(&mut self, len: u64) -> Result<(), Problem> {
        if self.frame.is_some() {
            return Err(Problem::broken("a frame begins in another"));
        }
        if len > self.left() {
            return Err(cut_off());
        }
        self.frame = Some(self.position() + len);
        Ok(())
    }

    /// Asked after each opcode: a frame holds opcodes whole. One that reaches out of its frame is read differently by
    /// different readers (<https://github.com/python/cpython/issues/154848>).
    pub(crate) fn check_frame(&mut self) -> Result<(), Problem> {
        match self.frame {
            Some(end) if self.position() > end => Err(Problem::broken("a value reaches out of its frame")),
            Some(end) if self.position() == end => {
                self.frame = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn cut_off() -> Problem {
    Problem::Broken("the pickle is cut off: download the file again".to_owned())
}
