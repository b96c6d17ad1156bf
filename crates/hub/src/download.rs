//! One file: from the hub into `blobs`, whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Disk, Error, Event, Result, Watch,
    client::{Client, Subject},
    digest::{Checksum, Hasher},
    retry::{Retries, Trouble},
    url::Url,
};

/// Bytes read at once.
const PIECE: usize = 128 * 1024;

/// An attempt that brought this much counts as progress: the failures before it are forgotten.
const PROGRESS: u64 = 1 << 20;

/// What to download, and by what means.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) disk: &'a dyn Disk,
    pub(crate) backoff: Duration,
    pub(crate) url: Url,
    pub(crate) subject: Subject<'a>,
    pub(crate) path: &'a str,
    pub(crate) size: u64,
    pub(crate) checksum: &'a Checksum,
}

impl Download<'_> {
    /// Downloads what `incomplete` lacks, checks all of it, and renames it to `blob`. Wrong bytes are deleted, and
    /// downloaded once more.
    pub(crate) fn run(&self, incomplete: &Path, blob: &Path, watch: &mut dyn Watch) -> Result<()> {
        let mut again = false;
        loop {
            let mut partial = Partial::open(self, incomplete.to_owned(), watch)?;
            let different = self.complete(&mut partial, watch)?;
            let problem = different.or_else(|| self.checksum.problem(partial.hasher.clone()));
            let Some(problem) = problem else {
                partial.file.sync_all().map_err(|error| Error::io(incomplete, "write it", error))?;
                drop(partial);
                return fs::rename(incomplete, blob)
                    .map_err(|error| Error::io(blob, "rename the finished file to it", error));
            };
            drop(partial);
            fs::remove_file(incomplete).map_err(|error| Error::io(incomplete, "delete it", error))?;
            if again {
                return Err(Error::Corrupt { path: self.path.to_owned(), problem });
            }
            again = true;
        }
    }

    /// Attempts until all bytes are there; else why what the server has is another file than the hub announced.
    fn complete(&self, partial: &mut Partial, watch: &mut dyn Watch) -> Result<Option<String>> {
        let mut retries = Retries::new(self.backoff);
        loop {
            let before = partial.length;
            match self.attempt(partial, watch) {
                Ok(different) => return Ok(different),
                Err(trouble) => {
                    if partial.length >= before.saturating_add(PROGRESS) {
                        retries.progressed();
                    }
                    retries.wait(trouble, watch)?;
                }
            }
        }
    }

    /// One request, and its body as far as it comes; or why it is another file.
    fn attempt(&self, partial: &mut Partial, watch: &mut dyn Watch) -> Result<Option<String>, Trouble> {
        self.report(partial, watch)?;
        if partial.length == self.size {
            return Ok(None);
        }
        let from = Some(partial.length).filter(|from| *from > 0);
        let answer = self.client.get(&self.url, from, self.subject)?;
        let range = answer.header("content-range").map(str::to_owned);
        let length = answer.content_length();
        let status = answer.status;
        let mut body = answer.into_body();
        match (status, from) {
            (206, Some(from)) if range.as_deref().is_some_and(|range| continues(range, from)) => {}
            (200, None) => {}
            // The whole file instead of the rest.
            (200, Some(_)) => partial.restart()?,
            _ => {
                partial.restart()?;
                let problem = format!("it has no such part of the file ({status})");
                return Err(Trouble::Passing { host: body.host, problem, after: None });
            }
        }
        let missing = self.size - partial.length;
        if let Some(length) = length.filter(|length| *length != missing) {
            return Ok(Some(format!("{} offers {length} bytes, but the hub says {missing}", body.host)));
        }
        let too_long = |host| format!("{host} sends more than the {} bytes that the hub says", self.size);
        let mut buffer = vec![0; PIECE];
        while partial.length < self.size {
            let read = body.read(&mut buffer)?;
            if read == 0 {
                let problem = format!("the connection was cut after {} of {} bytes", partial.length, self.size);
                return Err(Trouble::Passing { host: body.host, problem, after: None });
            }
            if read as u64 > self.size - partial.length {
                return Ok(Some(too_long(&body.host)));
            }
            partial.append(self.disk, &buffer[..read])?;
            self.report(partial, watch)?;
        }
        // Without a length only the end of the body says that this is all.
        if length.is_none() && body.read(&mut buffer)? > 0 {
            return Ok(Some(too_long(&body.host)));
        }
        Ok(None)
    }

    fn report(&self, partial: &Partial, watch: &mut dyn Watch) -> Result<()> {
        let event = Event::Downloading { path: self.path, done: partial.length, size: self.size };
        if watch.event(event).is_break() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Whether a `Content-Range` begins where it was asked to.
fn continues(range: &str, from: u64) -> bool {
    let start = range.trim().strip_prefix("bytes ").and_then(|range| range.split('-').next());
    start.and_then(|start| start.trim().parse().ok()) == Some(from)
}

/// A file under way, and the checksum of what it has.
struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Hasher,
    empty: Hasher,
}

impl Partial {
    /// Opens what an earlier download left, if there is something.
    fn open(download: &Download<'_>, path: PathBuf, watch: &mut dyn Watch) -> Result<Self> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| Error::io(&path, "create it", error))?;
        let length = file.metadata().map_err(|error| Error::io(&path, "read it", error))?.len();
        let hasher = download.checksum.hasher(download.size);
        let mut partial = Self { file, length: 0, empty: hasher.clone(), hasher, path };
        if length > download.size {
            partial.restart()?;
            return Ok(partial);
        }
        let mut buffer = vec![0; PIECE];
        loop {
            if partial.length > 0 && watch.event(Event::Checking { path: download.path }).is_break() {
                return Err(Error::Stopped);
            }
            let read = partial.file.read(&mut buffer).map_err(|error| Error::io(&partial.path, "read it", error))?;
            if read == 0 {
                return Ok(partial);
            }
            partial.hasher.update(&buffer[..read]);
            partial.length += read as u64;
        }
    }

    fn append(&mut self, disk: &dyn Disk, bytes: &[u8]) -> Result<()> {
        disk.write(&mut self.file, bytes).map_err(|error| Error::io(&self.path, "write it", error))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is there.
    fn restart(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| Error::io(&self.path, "empty it", error))?;
        self.hasher = self.empty.clone();
        self.length = 0;
        Ok(())
    }
}
