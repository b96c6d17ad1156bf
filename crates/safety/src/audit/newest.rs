//! Reading a log from its end.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::log::LONGEST_LINE;
use crate::error::{Error, Result};

/// Bytes that are read at once.
const BLOCK: u64 = 64 << 10;

/// The lines of a log, the newest first, however long it is: only what is asked for is read. They are not verified, and the first may be
/// one that a crash has cut.
pub struct Newest {
    file: File,
    path: PathBuf,
    /// Where what was not read yet ends.
    end: u64,
    /// What was read and not given yet.
    rest: Vec<u8>,
}

impl Newest {
    /// Begins at the end of the log as it is now.
    ///
    /// # Errors
    /// [`Error::Audit`] when the log can't be read.
    pub fn open(log: &Path) -> Result<Self> {
        let opened = calotype_files::open(log).and_then(|mut file| Ok((file.seek(SeekFrom::End(0))?, file)));
        let (end, file) = opened.map_err(|error| failed(log, &error))?;
        Ok(Self { file, path: log.to_owned(), end, rest: Vec::new() })
    }

    fn read(&mut self) -> Result<Option<String>> {
        loop {
            let line = match self.rest.iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => {
                    let line = self.rest.split_off(newline + 1);
                    self.rest.pop();
                    line
                }
                None if self.end > 0 => {
                    self.read_block().map_err(|error| failed(&self.path, &error))?;
                    continue;
                }
                None if self.rest.is_empty() => return Ok(None),
                None => std::mem::take(&mut self.rest),
            };
            if !line.is_empty() {
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
        }
    }

    fn read_block(&mut self) -> std::io::Result<()> {
        if self.rest.len() as u64 > LONGEST_LINE {
            return Err(IoError::new(ErrorKind::InvalidData, "a line is too long: verify it"));
        }
        let length = BLOCK.min(self.end);
        self.end -= length;
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut block = Vec::new();
        (&mut self.file).take(length).read_to_end(&mut block)?;
        block.append(&mut self.rest);
        self.rest = block;
        Ok(())
    }
}

impl Iterator for Newest {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn failed(log: &Path, error: &IoError) -> Error {
    Error::Audit { path: log.into(), problem: format!("cannot be read: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_from_the_end_whatever_their_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let block = BLOCK as usize;
        for lengths in [
            vec![],
            vec![1],
            vec![3, 1, 5],
            vec![block - 1, 1],
            vec![block, block, 7],
            vec![3 * block, 2],
            vec![10; 30_000],
        ] {
            let lines: Vec<String> =
                (0..).zip(&lengths).map(|(i, length)| ["a", "é", "c"][i % 3].repeat(*length)).collect();
            for end in ["\n", "", "\n\n"] {
                std::fs::write(&path, lines.join("\n") + end).unwrap();
                let read: Vec<String> = Newest::open(&path).unwrap().map(Result::unwrap).collect();
                assert!(read.iter().eq(lines.iter().rev()), "{lengths:?} {end:?}");
            }
        }
        assert!(Newest::open(&folder.path().join("none")).is_err());
    }
}
