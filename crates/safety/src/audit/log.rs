//! Writing the log.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::chain::{self, BEGINNING};
use super::{Entry, Kind};
use crate::error::{Error, Result};

/// How often another process's lock is waited for, and how long each time.
const LOCK_TRIES: usize = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The longest line that is looked for at the end of a file, in bytes.
pub(super) const LONGEST_LINE: u64 = 4 << 20;

/// What a log is written to. It is a trait so that tests can make it fail.
pub trait Storage {
    /// Bytes that there are.
    ///
    /// # Errors
    /// What the system says.
    fn length(&mut self) -> io::Result<u64>;
    /// The bytes from a place to the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_from(&mut self, start: u64) -> io::Result<Vec<u8>>;
    /// Writes all bytes at the end.
    ///
    /// # Errors
    /// What the system says; some of them may be written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was written is on the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts what is beyond a length.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Storage for File {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_from(&mut self, start: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.seek(SeekFrom::Start(start))?;
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// The last line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number: how many lines there are.
    pub seq: u64,
    /// Its hash, in hexadecimal; zeros when there is none.
    pub hash: String,
}

/// What was done to a log whose last line had been cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// How many bytes were taken away. 0 if only the end of the line was missing, and was put there.
    pub cut_bytes: u64,
}

/// A log that is open for writing. No other process can open it meanwhile.
#[derive(Debug)]
pub struct Log<S: Storage = File> {
    path: PathBuf,
    storage: S,
    length: u64,
    head: Head,
    mended: Option<Mended>,
    /// A write failed, and it is not known what is on the disk.
    is_broken: bool,
}

impl Log {
    /// Opens a log, or begins one. A last line that was cut by a crash is taken away, and a line says so ([`Log::mended`]).
    ///
    /// # Errors
    /// [`Error::Audit`] when the file can't be opened, read or written, is not a regular one, another process has it, or its last line is no
    /// line of a log.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed =
            |what: &str, error: io::Error| Error::Audit { path: path.into(), problem: format!("{what}: {error}") };
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = opened.map_err(|error| failed("cannot be opened", error))?;
        // A device may have no end.
        if !file.metadata().map_err(|error| failed("cannot be read", error))?.is_file() {
            let problem = "it is not a regular file: give the log a file of its own".to_owned();
            return Err(Error::Audit { path: path.into(), problem });
        }
        let mut tries = LOCK_TRIES;
        while let Err(error) = file.try_lock() {
            match error {
                // One that has ended may hold it for a moment, by a child that it was about to start.
                TryLockError::WouldBlock if tries > 0 => tries -= 1,
                TryLockError::WouldBlock => {
                    let problem =
                        "another process is writing it; end that one, or give this one a log of its own".to_owned();
                    return Err(Error::Audit { path: path.into(), problem });
                }
                TryLockError::Error(error) => return Err(failed("cannot be locked", error)),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        // The name of a new file must be on the disk, too.
        sync_folder(path).map_err(|error| failed("its folder cannot be synced", error))?;
        Self::with_storage(path, file)
    }
}

/// Brings the names in a file's folder onto the disk.
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

impl<S: Storage> Log<S> {
    /// A log on a storage; the path is for messages.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn with_storage(path: impl AsRef<Path>, mut storage: S) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let failed =
            |what: &str, error: io::Error| Error::Audit { path: path.clone(), problem: format!("{what}: {error}") };
        let length = storage.length().map_err(|error| failed("cannot be read", error))?;
        let start = length.saturating_sub(LONGEST_LINE);
        let tail = storage.read_from(start).map_err(|error| failed("cannot be read", error))?;
        let head = Head { seq: 0, hash: BEGINNING.to_owned() };
        let mut log = Self { path: path.clone(), storage, length, head, mended: None, is_broken: false };

        let whole = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let cut = &tail[whole..];
        if cut.is_empty() {
            log.read_head(&tail)?;
        } else if start > 0 && whole == 0 {
            return Err(log.error(format!("its last line is longer than {LONGEST_LINE} bytes; this is no audit log")));
        } else if chain::read(cut).is_some() {
            // Nothing but the newline is missing.
            log.write(b"\n")?;
            log.read_head(&[&tail, b"\n".as_slice()].concat())?;
            log.mended = Some(Mended { cut_bytes: 0 });
        } else {
            let cut_bytes = cut.len() as u64;
            log.read_head(&tail[..whole])?;
            let length = log.length - cut_bytes;
            log.storage.truncate(length).map_err(|error| failed("its cut line cannot be taken away", error))?;
            log.length = length;
            log.append(&Entry { cut_bytes: Some(cut_bytes), ..Entry::new(Kind::Mended) })?;
            log.mended = Some(Mended { cut_bytes });
        }
        Ok(log)
    }

    /// Takes the head from the end of the file, which ends with a newline or is empty.
    fn read_head(&mut self, tail: &[u8]) -> Result<()> {
        let Some(lines) = tail.strip_suffix(b"\n") else { return Ok(()) };
        let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or(lines);
        let Some(link) = chain::read(last) else {
            let problem = "its last line was changed, or this is no audit log; verify it, and begin another";
            return Err(self.error(problem.to_owned()));
        };
        self.head = Head { seq: link.seq, hash: link.hash };
        Ok(())
    }

    /// The last line.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What was done to the log when it was opened.
    #[must_use]
    pub fn mended(&self) -> Option<Mended> {
        self.mended
    }

    /// Writes a line, and returns when it is on the disk.
    ///
    /// # Errors
    /// [`Error::Audit`] when it can't be written: then the log is as it was. After an error that leaves open what is on the disk nothing
    /// more is written until the log is opened again.
    pub fn append(&mut self, entry: &Entry) -> Result<Head> {
        let seq = self.head.seq + 1;
        let (line, hash) = chain::line(seq, SystemTime::now(), entry, &self.head.hash);
        if line.len() as u64 > LONGEST_LINE / 2 {
            return Err(self.error(format!("a line of {} bytes is too long for it", line.len())));
        }
        self.write(line.as_bytes())?;
        self.head = Head { seq, hash };
        Ok(self.head.clone())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_broken {
            return Err(self.error("an earlier write failed; open it again".to_owned()));
        }
        if let Err(error) = self.storage.append(bytes) {
            // Part of the line may be there. Without it the log goes on.
            self.is_broken = self.storage.truncate(self.length).is_err();
            return Err(self.error(format!("cannot be written: {error}; no image is given out without its line")));
        }
        if let Err(error) = self.storage.sync() {
            // What a failed sync has lost no later one finds.
            self.is_broken = true;
            let _ = self.storage.truncate(self.length);
            return Err(self.error(format!("cannot be synced: {error}; no image is given out without its line")));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Writes the head at the end of another file, one line with number, hash and time, best on another disk: so it can be seen later
    /// that lines are missing at the end, or that the log was written anew.
    ///
    /// # Errors
    /// [`Error::Audit`] when that file can't be written.
    pub fn anchor(&self, path: &Path) -> Result<()> {
        let line = format!("{} {} {}\n", self.head.seq, self.head.hash, chain::rfc3339(SystemTime::now()));
        let write = || {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| Error::Audit { path: path.into(), problem: format!("cannot be written: {error}") })
    }

    fn error(&self, problem: String) -> Error {
        Error::Audit { path: self.path.clone(), problem }
    }
}
