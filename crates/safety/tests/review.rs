//! Images are held apart, and decided on once, with a line in the log first.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use calotype_safety::audit::{Entry, Kind, Log, Query, Storage, search, verify};
use calotype_safety::review::{Decision, Held, Holding, find, list};
use calotype_safety::{Error, Result};
use serde_json::Value;

const ORIGINAL: &[u8] = b"the image as it was made";
const BLURRED: &[u8] = b"its blurred copy";

struct Folder {
    folder: tempfile::TempDir,
    log: Log,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path().join("log")).unwrap();
        Self { folder, log }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Holds an image for `name`.
    fn hold(&mut self, name: &str) -> Held {
        let (held, path, log) = (self.path("held"), self.path(name), self.path("log"));
        let entry = Entry { seed: Some(7), verdict: Some("hold".into()), ..Entry::new(Kind::Made) };
        let mut holding = Holding::new(&held, ORIGINAL, "png", entry, "nsfw 0.97").unwrap();
        holding.hold(&path, BLURRED, Some(&log), |entry| self.log.append(&entry).map(drop)).unwrap();
        fs::write(&path, BLURRED).unwrap();
        find(&held, holding.id()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn held(&self) -> Vec<Result<Held>> {
        list(self.folder.path()).unwrap()
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.path("held")).unwrap().next().is_none()
    }
}

fn decision() -> Decision {
    Decision { who: "ada".into(), reason: Some("a statue".into()) }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_held_image_lies_apart_and_is_released_byte_for_byte() {
    let mut folder = Folder::new();
    let held = folder.hold("a.png");
    #[cfg(unix)]
    for (path, expected) in [
        (folder.path("held"), 0o700),
        (folder.path("held").join(&held.image().id), 0o700),
        (held.original_path(), 0o600),
        (held.original_path().with_file_name("record.json"), 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    assert_eq!((held.image().reason.as_str(), held.original().unwrap().as_slice()), ("nsfw 0.97", ORIGINAL));
    let path = held.release(&mut folder.log, &decision(), None).unwrap();
    assert_eq!((path.as_path(), fs::read(&path).unwrap().as_slice()), (folder.path("a.png").as_path(), ORIGINAL));
    // The released image is for all who may read the folder's images.
    #[cfg(unix)]
    assert_eq!(mode(&path), mode(&folder.path("log")));
    assert!(folder.is_empty() && folder.held().is_empty());

    let lines = folder.lines();
    let member = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(member("kind"), ["held", "released"]);
    assert_eq!(member("file"), ["a.png", "a.png"]);
    assert_eq!(member("seed"), [7, 7]);
    assert_eq!(lines[1]["who"], "ada");
    assert_eq!(lines[1]["reason"], "a statue");
    assert_eq!(lines[0]["held_id"], held.image().id);
    assert_eq!(lines[0]["original_sha256"], lines[1]["file_sha256"]);
    assert!(verify(&folder.path("log"), None).unwrap().faults.is_empty());
    // Both forms of the image are found in the log.
    let found = |bytes| search(&folder.path("log"), &Query::image(bytes)).unwrap().len();
    assert_eq!((found(BLURRED), found(ORIGINAL)), (1, 2));
}

#[test]
fn a_rejected_image_leaves_its_blurred_copy() {
    let mut folder = Folder::new();
    let held = folder.hold("a.png");
    // Ids may be shortened, and the folder of the images stands for that within.
    let id = &held.image().id;
    find(folder.folder.path(), &id[..6])
        .unwrap()
        .reject(&mut folder.log, &Decision { reason: None, ..decision() })
        .unwrap();
    assert_eq!(fs::read(folder.path("a.png")).unwrap(), BLURRED);
    assert!(folder.is_empty());
    let last = folder.lines().pop().unwrap();
    assert_eq!((&last["kind"], &last["reason"]), (&"rejected".into(), &Value::Null));
    let message = find(folder.folder.path(), id).unwrap_err().to_string();
    assert!(message.contains("no image with the id"), "{message}");
    assert!(find(folder.folder.path(), "").is_err());
    // What was decided on elsewhere is not decided on again.
    assert!(held.release(&mut folder.log, &decision(), None).is_err());
    assert_eq!(folder.lines().len(), 2);
}

/// A log that can't be written.
struct Full;

impl Storage for Full {
    fn length(&mut self) -> io::Result<u64> {
        Ok(0)
    }
    fn read_from(&mut self, _: u64) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_happens_without_its_line() {
    let mut folder = Folder::new();
    let held = folder.hold("a.png");
    let mut full = Log::with_storage("full", Full).unwrap();
    assert!(held.release(&mut full, &decision(), None).is_err());
    assert!(held.release(&mut full, &decision(), Some(&folder.path("b.png"))).is_err());
    assert!(held.reject(&mut full, &decision()).is_err());
    assert_eq!(fs::read(folder.path("a.png")).unwrap(), BLURRED);
    assert!(!folder.path("b.png").exists());
    assert_eq!((folder.held().len(), held.original().unwrap().as_slice()), (1, ORIGINAL));

    let elsewhere = folder.path("elsewhere");
    let mut holding = Holding::new(&elsewhere, ORIGINAL, "png", Entry::new(Kind::Made), "").unwrap();
    let error = holding.hold(&folder.path("c.png"), BLURRED, None, |entry| full.append(&entry).map(drop));
    assert!(error.is_err());
    drop(holding);
    assert!(fs::read_dir(elsewhere).unwrap().next().is_none());
}

#[test]
fn the_name_may_be_taken_meanwhile() {
    let mut folder = Folder::new();
    let mut holding = Holding::new(&folder.path("held"), ORIGINAL, "jpg", Entry::new(Kind::Made), "").unwrap();
    // Before it has its name nobody sees it.
    assert!(folder.held().is_empty());
    for name in ["00000.jpg", "00001.jpg"] {
        holding.hold(&folder.path(name), BLURRED, None, |entry| folder.log.append(&entry).map(drop)).unwrap();
    }
    let held = folder.held();
    assert_eq!(held.len(), 1);
    let held = held[0].as_ref().unwrap();
    assert_eq!(held.image().path, folder.path("00001.jpg"));
    assert_eq!(
        (held.image().entry.file.as_deref(), held.original().unwrap().as_slice()),
        (Some("00001.jpg"), ORIGINAL)
    );
}

#[test]
fn what_a_killed_release_left_is_tidied() {
    for tidied_by_list in [true, false] {
        let mut folder = Folder::new();
        let held = folder.hold("a.png");
        // Killed after the image got its name.
        fs::write(folder.path("a.png"), ORIGINAL).unwrap();
        assert!(held.reject(&mut folder.log, &decision()).unwrap_err().to_string().contains("was released already"));
        if tidied_by_list {
            assert!(folder.held().is_empty());
        } else {
            held.release(&mut folder.log, &decision(), None).unwrap();
        }
        // It has its line already.
        assert!(folder.is_empty() && folder.lines().len() == 1);
        assert_eq!(fs::read(folder.path("a.png")).unwrap(), ORIGINAL);
    }
    // Killed while it was taken away, or while it was staged.
    let mut folder = Folder::new();
    let held = folder.hold("a.png");
    let hidden = |ending: &str| folder.path("held").join(format!(".calotype-{}.{ending}", held.image().id));
    fs::rename(folder.path("held").join(&held.image().id), hidden("gone")).unwrap();
    fs::create_dir(hidden("tmp")).unwrap();
    assert!(folder.held().is_empty() && !hidden("gone").exists() && hidden("tmp").exists());
}

#[test]
fn another_file_is_not_replaced() {
    let mut folder = Folder::new();
    let held = folder.hold("a.png");
    fs::write(folder.path("a.png"), b"a later image").unwrap();
    let error = held.release(&mut folder.log, &decision(), None).unwrap_err().to_string();
    assert!(error.contains("a.png: it is not the blurred copy of the held image any more"), "{error}");
    let (there, free) = (folder.path("a.png"), folder.path("b.png"));
    let error = held.release(&mut folder.log, &decision(), Some(&there)).unwrap_err();
    assert!(error.to_string().contains("there is a file already"), "{error}");
    assert_eq!((folder.lines().len(), fs::read(folder.path("a.png")).unwrap().as_slice()), (1, &b"a later image"[..]));
    let path = held.release(&mut folder.log, &decision(), Some(&free)).unwrap();
    assert_eq!((fs::read(path).unwrap().as_slice(), folder.is_empty()), (ORIGINAL, true));
    // A blurred copy that is gone leaves its name free.
    let held = folder.hold("c.png");
    fs::remove_file(folder.path("c.png")).unwrap();
    held.release(&mut folder.log, &decision(), None).unwrap();
    assert_eq!(fs::read(folder.path("c.png")).unwrap(), ORIGINAL);
}

#[test]
fn two_do_not_decide_at_once() {
    let mut folder = Folder::new();
    let held = folder.hold("a.png");
    let other = File::open(held.original_path().with_file_name("record.json")).unwrap();
    other.lock().unwrap();
    let error = held.reject(&mut folder.log, &decision()).unwrap_err();
    assert!(error.to_string().contains("another process is deciding on it"), "{error}");
    drop(other);
    held.reject(&mut folder.log, &decision()).unwrap();
}

#[test]
fn changed_records_and_originals_are_refused() {
    let mut folder = Folder::new();
    let (a, b, c) = (folder.hold("a.png"), folder.hold("b.png"), folder.hold("c.png"));
    let record = |held: &Held| held.original_path().with_file_name("record.json");
    fs::write(a.original_path(), b"another image").unwrap();
    let error = a.release(&mut folder.log, &decision(), None).unwrap_err();
    assert!(matches!(&error, Error::Held { .. }) && error.to_string().contains("it was changed since"), "{error}");
    let text = fs::read_to_string(record(&b)).unwrap();
    fs::write(record(&b), text.replace("original.png", "../../log")).unwrap();
    fs::remove_file(record(&c)).unwrap();
    fs::write(folder.path("held").join("a file"), b"").unwrap();
    let found = folder.held();
    let errors: Vec<String> = found.iter().filter_map(|held| Some(held.as_ref().err()?.to_string())).collect();
    assert_eq!((found.len(), errors.len()), (3, 2));
    assert!(errors.iter().all(|error| !error.contains('\n')), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("is no name of a file")), "{errors:?}");
}
