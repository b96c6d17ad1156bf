//! Holding a log against its hashes.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::Head;
use super::chain::{self, BEGINNING};
use super::log::LONGEST_LINE;
use crate::error::{Error, Result};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines that there are.
    pub lines: u64,
    /// The last good line.
    pub head: Head,
    /// What is wrong, in the order of the lines, the first hundred.
    pub faults: Vec<Fault>,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line in the file, from 1; one more than there are for what is missing at the end.
    pub line: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The line's content is not what its hash is of.
    Changed,
    /// Before this line, lines with these numbers are missing.
    Missing {
        /// The first number.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The line has a number that stood before: it was moved, or stands twice.
    Moved {
        /// Its number.
        seq: u64,
    },
    /// The line before is another one than when this was written.
    Replaced,
    /// The last line was cut by a crash. It is mended when the log is opened.
    Cut,
    /// An anchor has another hash of this line, or of a line that isn't there.
    NotAnchored {
        /// The line's number by the anchor.
        seq: u64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            FaultKind::Changed => f.write_str("it was changed"),
            FaultKind::Missing { first, last } if first == last => {
                write!(f, "before it, line number {first} is missing")
            }
            FaultKind::Missing { first, last } => {
                write!(f, "before it, the lines number {first} to {last} are missing")
            }
            FaultKind::Moved { seq } => {
                write!(f, "it has the number {seq}, which is out of order: it was moved, or is there twice")
            }
            FaultKind::Replaced => f.write_str("the line before it is not the one that it was written after"),
            FaultKind::Cut => f.write_str("it was cut by a crash; it is mended when the log is next written"),
            FaultKind::NotAnchored { seq } => write!(f, "the anchor has another line number {seq}"),
        }
    }
}

/// Most faults that are told.
const MOST_FAULTS: usize = 100;

/// Holds all lines of a log against their hashes, and against the lines of an anchor's file.
///
/// # Errors
/// [`Error::Audit`] when a file can't be read, or an anchor's file is none.
pub fn verify(path: &Path, anchor: Option<&Path>) -> Result<Report> {
    let read = |error: io::Error| Error::Audit { path: path.into(), problem: format!("cannot be read: {error}") };
    let mut anchors = anchor.map(anchors).transpose()?.unwrap_or_default();
    let mut reader = BufReader::new(calotype_files::open(path).map_err(read)?);
    let mut report = Report { lines: 0, head: Head { seq: 0, hash: BEGINNING.to_owned() }, faults: Vec::new() };
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes).map_err(read)?;
        if bytes.is_empty() {
            break;
        }
        report.lines += 1;
        let Some(line) = bytes.strip_suffix(b"\n") else {
            report.fault(report.lines, FaultKind::Cut);
            break;
        };
        let Some(link) = chain::read(line) else {
            report.fault(report.lines, FaultKind::Changed);
            // The line was there: the next one's number is held against the one after it.
            report.head = Head { seq: report.head.seq + 1, hash: String::new() };
            continue;
        };
        let expected = report.head.seq + 1;
        if link.seq > expected {
            report.fault(report.lines, FaultKind::Missing { first: expected, last: link.seq - 1 });
        } else if link.seq < expected {
            report.fault(report.lines, FaultKind::Moved { seq: link.seq });
            continue;
        } else if !report.head.hash.is_empty() && link.previous != report.head.hash {
            report.fault(report.lines, FaultKind::Replaced);
        }
        anchors.retain(|anchor| {
            let is_here = anchor.seq == link.seq;
            if is_here && anchor.hash != link.hash {
                report.fault(report.lines, FaultKind::NotAnchored { seq: anchor.seq });
            }
            !is_here
        });
        report.head = Head { seq: link.seq, hash: link.hash };
    }
    for anchor in anchors {
        report.fault(report.lines + 1, FaultKind::NotAnchored { seq: anchor.seq });
    }
    Ok(report)
}

impl Report {
    fn fault(&mut self, line: u64, kind: FaultKind) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { line, kind });
        }
    }
}

/// The heads that an anchor's file has.
fn anchors(path: &Path) -> Result<Vec<Head>> {
    let failed = |problem: String| Error::Audit { path: path.into(), problem };
    let read = |error: io::Error| failed(format!("cannot be read: {error}"));
    let text = io::read_to_string(calotype_files::open(path).map_err(read)?).map_err(read)?;
    let head = |(number, line): (usize, &str)| {
        let mut parts = line.split(' ');
        let seq = parts.next().and_then(|seq| seq.parse().ok());
        let hash = parts.next().filter(|hash| hash.len() == BEGINNING.len());
        match (seq, hash) {
            (Some(seq), Some(hash)) => Ok(Head { seq, hash: hash.to_owned() }),
            _ => Err(failed(format!("line {}: expected a number, a hash and a time", number + 1))),
        }
    };
    // A line that a crash has cut anchors nothing.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().enumerate().map(head).filter(|head| head.as_ref().map_or(true, |head| head.seq > 0)).collect()
}
