//! Room on the disk: looked for before a run begins, and waited for when there is none left.

use std::{io::ErrorKind, path::Path, sync::atomic::Ordering, thread::sleep, time::Duration};

use crate::{Error, Notice, Result, RunOptions};

/// How long a run waits before it tries to write again, and how often it looks whether it is to stop.
const WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// Refuses to begin what will not fit: `need` bytes in a folder.
pub(crate) fn check(folder: &Path, need: u64) -> Result<()> {
    match available(folder) {
        Some(free) if free < need => Err(Error::run(
            folder,
            format!(
                "needs about {} on its disk, and {} are free: make room, or choose another output",
                mib(need),
                mib(free)
            ),
        )),
        _ => Ok(()),
    }
}

/// The free bytes of the disk that a folder is on, if the system says it.
fn available(folder: &Path) -> Option<u64> {
    #[cfg(any(unix, windows))]
    return fs4::available_space(folder).ok();
    #[cfg(not(any(unix, windows)))]
    return None;
}

/// Writes, and where the disk is full waits until it is not: what was learned is kept, in memory, and the file that was there
/// too. Only who stops the run ends the waiting.
pub(crate) fn patiently<T>(options: &mut RunOptions<'_>, write: impl FnMut() -> Result<T>) -> Result<T> {
    waiting(options, WAIT, write)
}

fn waiting<T>(options: &mut RunOptions<'_>, wait: Duration, mut write: impl FnMut() -> Result<T>) -> Result<T> {
    let mut told = false;
    loop {
        match write() {
            Err(error) if is_full(&error) && !options.stop.load(Ordering::Relaxed) => {
                if !told {
                    let text = format!("training waits, for the disk is full: make room, and it goes on ({error})");
                    (options.tell)(&Notice::Warning(text));
                }
                told = true;
                for _ in 0..wait.as_millis() / LOOK.as_millis() {
                    if !options.stop.load(Ordering::Relaxed) {
                        sleep(LOOK);
                    }
                }
            }
            done => return done,
        }
    }
}

fn is_full(error: &Error) -> bool {
    let source = match error {
        Error::Io { source, .. } | Error::Formats(calotype_formats::Error::Write { source, .. }) => source,
        _ => return false,
    };
    matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::{io, sync::atomic::AtomicBool};

    use super::*;

    fn full() -> Error {
        Error::io(Path::new("x"), "append to the metrics", io::Error::from(ErrorKind::StorageFull))
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        let (stop, mut told) = (AtomicBool::new(false), Vec::new());
        let mut tell = |notice: &Notice| told.push(format!("{notice:?}"));
        let (resume, threads, skip_bad, progress) = (false, 1, false, &mut |_: &crate::Progress| {});
        let mut options = RunOptions { resume, threads, skip_bad, set: &[], stop: &stop, progress, tell: &mut tell };
        let mut times = 0;
        let done = waiting(&mut options, LOOK, || {
            times += 1;
            if times < 4 { Err(full()) } else { Ok(times) }
        });
        assert_eq!(done.unwrap(), 4);
        // Other failures are none that pass, and who stops the run need not wait.
        let denied = || Error::io(Path::new("x"), "write", io::Error::from(ErrorKind::PermissionDenied));
        assert!(waiting(&mut options, WAIT, || Err::<(), _>(denied())).is_err());
        stop.store(true, Ordering::Relaxed);
        assert!(waiting(&mut options, WAIT, || Err::<(), _>(full())).is_err());
        assert!(told.len() == 1 && told[0].contains("training waits, for the disk is full"), "{told:?}");
    }

    #[test]
    fn room_is_looked_for_first() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), 1).unwrap();
        let message = check(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(message.contains("needs about 17592186044416 MiB on its disk, and "), "{message}");
    }
}
