use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, Result, error::show_path};

/// Writes a file whole or not at all.
///
/// `write` gets a buffered writer to a temporary file in the folder of `path`; when it returns, that file is flushed to
/// the disk and renamed to `path`. If anything fails, or `write` panics, the temporary file is removed and a file that
/// was at `path` before is still there, unchanged. (A process that is killed may leave a temporary file, named
/// `.calotype-*.tmp`, never a half-written `path`.)
///
/// A symbolic link stays: the file that it names is written, by a temporary file beside that. Pipes and devices are written to
/// as they are.
///
/// # Errors
/// The folder does not exist or can't be written, the disk is full, or `write` returned an error.
pub fn write_atomic<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> Result<T> {
    write_atomic_after(path, write, || Ok(()))
}

/// As [`write_atomic`]; between the flush to the disk and the rename `ready` is called, after whose error there is no file.
///
/// # Errors
/// As [`write_atomic`], or what `ready` returned.
pub fn write_atomic_after<T, E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ready: impl FnOnce() -> Result<(), E>,
) -> Result<T, E> {
    // A device or a pipe is written to: a file in its place would be none.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        ready()?;
        return Ok(write_to_device(path, write)?);
    }
    let fail = |action| move |source| Error::Write { file: show_path(path), action, source };
    let target = follow_links(path).map_err(fail("follow the link"))?;
    let finished = Finished::new(&Disk, &target, write)?;
    ready()?;
    Ok(finished.rename(&Disk, &target)?)
}

/// As [`write_atomic_after`] where there is no file yet, and says whether it is there now: another one that was made
/// meanwhile stays.
///
/// # Errors
/// As [`write_atomic_after`].
pub fn write_new<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ready: impl FnOnce() -> Result<(), E>,
) -> Result<bool, E> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let finished = Finished::new(&Disk, path, write)?;
    ready()?;
    Ok(finished.link(path)?)
}

/// The most links that are followed, as on Linux.
const MAX_LINKS: usize = 40;

/// What a path names when it is a symbolic link, which need not exist yet.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if !path.is_symlink() {
            return Ok(path);
        }
        let target = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many links lead from one to the next"))
}

fn write_to_device<T>(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> Result<T> {
    let fail = |action| move |source| Error::Write { file: show_path(path), action, source };
    let mut writer = BufWriter::new(OpenOptions::new().write(true).open(path).map_err(fail("open it"))?);
    let written = write(&mut writer).map_err(fail("write"))?;
    writer.flush().map_err(fail("write"))?;
    Ok(written)
}

/// What is asked of the file system, so that tests can make each request fail.
trait FileSystem {
    type File: Write;
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

struct Disk;

impl FileSystem for Disk {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A new name reaches the disk with the folder. Not every system can sync a folder; the file is right either way.
fn sync_folder_of(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}

/// A temporary file that is whole and on the disk.
struct Finished<T> {
    temporary: Temporary,
    result: T,
}

impl<T> Finished<T> {
    /// In the folder of `path`.
    fn new<S: FileSystem>(
        system: &S,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<Self> {
        let fail = |action| move |source| Error::Write { file: show_path(path), action, source };
        let created = create_temporary(system, folder_of(path));
        let (file, temporary) = created.map_err(fail("create a file in its folder"))?;
        let mut writer = BufWriter::with_capacity(64 * 1024, file);
        let result = write(&mut writer).map_err(fail("write"))?;
        let file = writer.into_inner().map_err(|e| fail("write")(e.into_error()))?;
        system.sync(&file).map_err(fail("write"))?;
        Ok(Self { temporary, result })
    }

    /// Gives it the name `path`, in the place of what was there.
    fn rename<S: FileSystem>(mut self, system: &S, path: &Path) -> Result<T> {
        let fail = |source| Error::Write { file: show_path(path), action: "rename the finished file to it", source };
        system.rename(&self.temporary.path, path).map_err(fail)?;
        self.temporary.renamed = true;
        sync_folder_of(path);
        Ok(self.result)
    }

    /// Gives it the name `path`, unless something is there.
    fn link(mut self, path: &Path) -> Result<bool> {
        let fail = |source| Error::Write { file: show_path(path), action: "rename the finished file to it", source };
        match fs::hard_link(&self.temporary.path, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            // A file system without links: the name is taken first, so that of two programs one gets it.
            Err(_) => match OpenOptions::new().write(true).create_new(true).open(path) {
                Ok(_) => {
                    fs::rename(&self.temporary.path, path).map_err(fail)?;
                    self.temporary.renamed = true;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                Err(error) => return Err(fail(error)),
            },
        }
        sync_folder_of(path);
        Ok(true)
    }
}

/// A file that is removed in the end, unless it was renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn create_temporary<S: FileSystem>(system: &S, folder: &Path) -> io::Result<(S::File, Temporary)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".calotype-{}-{count}.tmp", process::id()));
        match system.create(&path) {
            Ok(file) => return Ok((file, Temporary { path, renamed: false })),
            // Left by a killed process that had the same number.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_device_stays_a_device() {
        let null = Path::new("/dev/null");
        assert_eq!(write_atomic(null, |writer| writer.write_all(b"lost").map(|()| 7)).unwrap(), 7);
        assert!(!fs::metadata(null).unwrap().is_file());
    }

    /// A disk on which request number `fails_at` (and every later one) fails.
    struct FailingDisk {
        requests: Cell<usize>,
        fails_at: usize,
    }

    impl FailingDisk {
        fn request(&self) -> io::Result<()> {
            let number = self.requests.replace(self.requests.get() + 1);
            if number < self.fails_at { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
    }

    struct FailingFile<'a> {
        disk: &'a FailingDisk,
        file: File,
    }

    impl Write for FailingFile<'_> {
        /// Half of what was asked, as a full disk does, and every second time an interruption that isn't a failure.
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.disk.request()?;
            if self.disk.requests.get().is_multiple_of(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.file.write(&bytes[..bytes.len().div_ceil(2)])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.disk.request()
        }
    }

    impl<'a> FileSystem for &'a FailingDisk {
        type File = FailingFile<'a>;

        fn create(&self, path: &Path) -> io::Result<FailingFile<'a>> {
            self.request()?;
            Ok(FailingFile { disk: self, file: Disk.create(path)? })
        }

        fn sync(&self, file: &FailingFile<'a>) -> io::Result<()> {
            self.request()?;
            Disk.sync(&file.file)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.request()?;
            Disk.rename(from, to)
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Fails each request in turn until a write gets through, and checks the folder every time.
    fn fail_everywhere(old: Option<&[u8]>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let new = vec![7; 200_000];
        if let Some(old) = old {
            fs::write(&path, old).unwrap();
        }
        for fails_at in 0.. {
            let disk = FailingDisk { requests: Cell::new(0), fails_at };
            let written =
                Finished::new(&&disk, &path, |writer| new.chunks(999).try_for_each(|part| writer.write_all(part)));
            let result = written.and_then(|finished| finished.rename(&&disk, &path));
            match result {
                Ok(()) => {
                    assert_eq!(fs::read(&path).unwrap(), new);
                    assert_eq!(names(folder.path()), ["weights.safetensors"]);
                    assert!(fails_at > 10, "only {fails_at} requests: the writes were not tried one by one");
                    return;
                }
                Err(error) => {
                    assert!(error.to_string().contains("any earlier file is untouched"), "{error}");
                    assert_eq!(fs::read(&path).ok().as_deref(), old, "at request {fails_at}");
                    assert_eq!(names(folder.path()).len(), usize::from(old.is_some()), "at request {fails_at}");
                }
            }
        }
    }

    #[test]
    fn a_failing_disk_leaves_the_old_file() {
        fail_everywhere(Some(b"old"));
    }

    #[test]
    fn a_failing_disk_leaves_no_new_file() {
        fail_everywhere(None);
    }

    #[test]
    fn a_failing_or_panicking_writer_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        write_atomic(&path, |writer| writer.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |writer| {
            writer.write_all(b"new")?;
            Err::<(), _>(io::Error::other("cancelled"))
        })
        .unwrap_err();
        assert!(error.to_string().ends_with("cannot write: cancelled"), "{error}");
        let panic = std::panic::catch_unwind(|| write_atomic(&path, |_| -> io::Result<()> { panic!("on purpose") }));
        assert!(panic.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["picture.png"]);
    }

    #[test]
    fn a_folder_in_the_way_or_missing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, |writer| writer.write_all(b"x")).is_err());
        assert_eq!(names(folder.path()), ["taken"]);
        let error = write_atomic(&folder.path().join("no/such/file"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("cannot create a file in its folder"), "{error}");
    }

    #[test]
    fn a_leftover_of_another_process_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let leftovers: Vec<_> =
            (0..200).map(|n| folder.path().join(format!(".calotype-{}-{n}.tmp", process::id()))).collect();
        leftovers.iter().for_each(|path| fs::write(path, b"theirs").unwrap());
        write_atomic(&folder.path().join("new"), |writer| writer.write_all(b"mine")).unwrap();
        leftovers.iter().for_each(|path| assert_eq!(fs::read(path).unwrap(), b"theirs"));
        assert_eq!(names(folder.path()).len(), leftovers.len() + 1);
    }

    #[test]
    fn without_what_must_come_first_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        fs::write(&path, b"old").unwrap();
        let problem = || Error::Write { file: "log".into(), action: "write", source: io::Error::other("full") };
        let refuse = || Err(problem());
        assert!(write_atomic_after(&path, |writer| writer.write_all(b"new"), refuse).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        // What is there stays, and nothing has to be ready for it.
        assert!(!write_new::<Error>(&path, |writer| writer.write_all(b"new"), || unreachable!()).unwrap());
        let other = folder.path().join("other.png");
        assert!(write_new(&other, |writer| writer.write_all(b"new"), refuse).is_err());
        assert_eq!(names(folder.path()), ["picture.png"]);
        let made_meanwhile = || fs::write(&other, b"theirs").map_err(|_| problem());
        assert!(!write_new(&other, |writer| writer.write_all(b"new"), made_meanwhile).unwrap());
        assert_eq!(fs::read(&other).unwrap(), b"theirs");
        fs::remove_file(&other).unwrap();
        assert!(write_new::<Error>(&other, |writer| writer.write_all(b"new"), || Ok(())).unwrap());
        assert_eq!(fs::read(&other).unwrap(), b"new");
        assert_eq!(names(folder.path()).len(), 2, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_it_names_is_written() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::TempDir::new().unwrap();
        let [far, link, second] = ["far/file", "link", "second"].map(|name| folder.path().join(name));
        fs::create_dir(folder.path().join("far")).unwrap();
        symlink("far/file", &link).unwrap();
        symlink(&link, &second).unwrap();
        // Through a link to nothing, and then over what is there.
        for text in ["new", "newer"] {
            write_atomic(&second, |writer| writer.write_all(text.as_bytes())).unwrap();
            assert!(link.is_symlink() && second.is_symlink());
            assert_eq!(fs::read_to_string(&far).unwrap(), text);
        }
        let names: Vec<_> = fs::read_dir(folder.path().join("far")).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
        symlink("loop", folder.path().join("loop")).unwrap();
        let error = write_atomic(&folder.path().join("loop"), |writer| writer.write_all(b"x")).unwrap_err();
        assert!(error.to_string().contains("too many links"), "{error}");
    }
}
