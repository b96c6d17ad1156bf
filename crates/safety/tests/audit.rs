//! The audit log: lines that were changed, writes that fail, processes that are killed.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use calotype_image::{RgbImage, encode_png};
use calotype_safety::audit::{
    Entry, Fault, FaultKind, Kind, Log, Mended, Prompt, Query, Storage, publish, search, verify,
};
use serde_json::Value;

fn entry(number: usize) -> Entry {
    Entry {
        request_id: Some(format!("r-{number}")),
        prompt: Some(Prompt::Text(format!("a \"fox\"\n{number}"))),
        watermark_id: Some(format!("{:016x}", 1000 + number)),
        ..Entry::new(Kind::Made)
    }
}

/// A log of some lines.
fn log_of(folder: &Path, lines: usize) -> PathBuf {
    let path = folder.join("audit.jsonl");
    let mut log = Log::open(&path).unwrap();
    (0..lines).for_each(|number| drop(log.append(&entry(number)).unwrap()));
    path
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn faults(path: &Path) -> Vec<(u64, FaultKind)> {
    verify(path, None).unwrap().faults.into_iter().map(|Fault { line, kind }| (line, kind)).collect()
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(folder.path(), 3);
    let mut log = Log::open(&path).unwrap();
    assert_eq!((log.head().seq, log.mended()), (3, None));
    assert!(Log::open(&path).unwrap_err().to_string().contains("another process"));
    log.append(&entry(3)).unwrap();
    drop(log);
    let report = verify(&path, None).unwrap();
    assert_eq!((report.lines, report.head.seq, report.faults.len()), (4, 4, 0));
    let line: Value = serde_json::from_str(&lines(&path)[2]).unwrap();
    assert_eq!(
        (line["seq"].as_u64(), line["kind"].as_str(), line["request_id"].as_str()),
        (Some(3), Some("made"), Some("r-2"))
    );
    assert_eq!(line["prompt"]["text"], "a \"fox\"\n2");
    let of_requests = ["seed", "job_id", "key_id", "who"];
    assert!(of_requests.iter().all(|name| line.get(name).is_none()), "{line}");
    // Lines of before there were jobs are read as they are.
    let entry: Entry = serde_json::from_value(line).unwrap();
    assert_eq!((entry.job_id, entry.key_id), (None, None));
    fs::write(folder.path().join("empty"), "").unwrap();
    assert_eq!(verify(&folder.path().join("empty"), None).unwrap().lines, 0);
    assert!(verify(&folder.path().join("none"), None).is_err());
}

#[test]
fn what_was_done_to_lines_is_found_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(folder.path(), 10);
    let whole = lines(&path);
    let after = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        faults(&path)
    };
    assert_eq!(after(&|_| {}), []);
    assert_eq!(after(&|lines| lines[4] = lines[4].replace("r-4", "r-5")), [(5, FaultKind::Changed)]);
    assert_eq!(after(&|lines| drop(lines.remove(4))), [(5, FaultKind::Missing { first: 5, last: 5 })]);
    assert_eq!(after(&|lines| drop(lines.drain(2..6))), [(3, FaultKind::Missing { first: 3, last: 6 })]);
    assert_eq!(after(&|lines| lines.insert(6, lines[2].clone())), [(7, FaultKind::Moved { seq: 3 })]);
    assert_eq!(
        after(&|lines| lines.swap(3, 4)),
        [(4, FaultKind::Missing { first: 4, last: 4 }), (5, FaultKind::Moved { seq: 4 })]
    );
    assert_eq!(after(&|lines| lines[7] = "{}".into()), [(8, FaultKind::Changed)]);
    assert_eq!(after(&|lines| drop(lines.remove(0))), [(1, FaultKind::Missing { first: 1, last: 1 })]);
    // The first half of another log of the same length: only the place where both meet is seen.
    let other = tempfile::tempdir().unwrap();
    let foreign = lines_of_another(other.path());
    assert_eq!(after(&|lines| lines[..5].clone_from_slice(&foreign[..5])), [(6, FaultKind::Replaced)]);
    // Any bit of the file.
    let bytes = whole.join("\n").into_bytes();
    for at in (0..bytes.len()).step_by(37) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        changed.push(b'\n');
        fs::write(&path, &changed).unwrap();
        assert!(!faults(&path).is_empty(), "byte {at}");
    }
}

fn lines_of_another(folder: &Path) -> Vec<String> {
    let path = folder.join("audit.jsonl");
    let mut log = Log::open(&path).unwrap();
    (0..10).for_each(|number| drop(log.append(&Entry { who: Some("x".into()), ..entry(number) }).unwrap()));
    lines(&path)
}

/// A device has no end, and reading all of it would take all memory.
#[cfg(unix)]
#[test]
fn a_log_is_a_regular_file() {
    let folder = tempfile::tempdir().unwrap();
    let (log, device) = (log_of(folder.path(), 1), Path::new("/dev/zero"));
    let opened = Log::open(device).unwrap_err().to_string();
    assert_eq!(opened, "audit log /dev/zero: it is not a regular file: give the log a file of its own");
    for error in [
        verify(device, None).unwrap_err(),
        verify(&log, Some(device)).unwrap_err(),
        search(device, &Query::Watermark(1)).unwrap_err(),
        calotype_safety::rules::Rules::open(device).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("/dev/zero: cannot be read: it is a device, not a regular file"), "{error}");
    }
}

#[test]
fn anchors_see_what_is_missing_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (path, anchor) = (log_of(folder.path(), 4), folder.path().join("anchor"));
    let mut log = Log::open(&path).unwrap();
    log.anchor(&anchor).unwrap();
    log.append(&entry(4)).unwrap();
    log.anchor(&anchor).unwrap();
    drop(log);
    assert_eq!(verify(&path, Some(&anchor)).unwrap().faults, []);
    let whole = lines(&path);
    fs::write(&path, whole[..4].join("\n") + "\n").unwrap();
    assert_eq!(faults(&path), []);
    let missing = [Fault { line: 5, kind: FaultKind::NotAnchored { seq: 5 } }];
    assert_eq!(verify(&path, Some(&anchor)).unwrap().faults, missing);
    // Written anew.
    let other = tempfile::tempdir().unwrap();
    fs::write(&path, lines_of_another(other.path()).join("\n") + "\n").unwrap();
    assert_eq!(verify(&path, Some(&anchor)).unwrap().faults.len(), 2);
    fs::write(&anchor, "x\n").unwrap();
    assert!(verify(&path, Some(&anchor)).is_err());
}

#[test]
fn a_cut_line_is_mended_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(folder.path(), 3);
    let bytes = fs::read(&path).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for end in last + 1..bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        assert_eq!(faults(&path), [(3, FaultKind::Cut)]);
        let log = Log::open(&path).unwrap();
        let cut_bytes = if end + 1 == bytes.len() { 0 } else { (end - last) as u64 };
        assert_eq!((log.mended(), log.head().seq), (Some(Mended { cut_bytes }), 3), "{end}");
        drop(log);
        assert_eq!(faults(&path), []);
    }
    // Some file systems leave zeros.
    fs::write(&path, [&bytes[..last], [0; 300].as_slice()].concat()).unwrap();
    assert_eq!(Log::open(&path).unwrap().mended(), Some(Mended { cut_bytes: 300 }));
    // The first line of a new log.
    fs::write(&path, &bytes[..10]).unwrap();
    assert_eq!(Log::open(&path).unwrap().head().seq, 1);
    // A whole last line that was changed isn't mended.
    fs::write(&path, String::from_utf8(bytes).unwrap().replace("r-2", "r-3")).unwrap();
    assert!(Log::open(&path).unwrap_err().to_string().contains("changed"));
}

#[test]
fn images_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(folder.path(), 3);
    let picture = RgbImage::filled(9, 7, [1, 2, 3]);
    let (file, other) = (encode_png(&picture, &[]).unwrap(), encode_png(&picture, &[("parameters", "x")]).unwrap());
    let Query::Image { pixels_sha256, .. } = Query::image(&file) else { unreachable!() };
    let mut log = Log::open(&path).unwrap();
    publish(&mut log, Entry { pixels_sha256, ..entry(9) }, &file, &folder.path().join("a.png")).unwrap();
    let requests = |query: &Query| -> Vec<String> {
        search(&path, query).unwrap().iter().map(|line| line["request_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(requests(&Query::Watermark(1001)), ["r-1"]);
    assert_eq!(requests(&Query::Watermark(7)), [""; 0]);
    assert_eq!(requests(&Query::image(&file)), ["r-9"]);
    assert_eq!(requests(&Query::image(&other)), ["r-9"]);
    assert_eq!(requests(&Query::image(b"no image")), [""; 0]);
}

/// A disk of which one operation fails, or all from there on.
struct Failing {
    bytes: Vec<u8>,
    done: usize,
    failing: usize,
    for_good: bool,
}

impl Failing {
    fn operation(&mut self) -> io::Result<()> {
        self.done += 1;
        let fails = self.done == self.failing || (self.for_good && self.done > self.failing);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Storage for Failing {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_from(&mut self, start: u64) -> io::Result<Vec<u8>> {
        Ok(self.bytes[start as usize..].to_vec())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.operation();
        // Half of it gets there.
        self.bytes.extend_from_slice(if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] });
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        self.operation()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.operation()?;
        self.bytes.truncate(length as usize);
        Ok(())
    }
}

/// What is on the disk can be read through a handle that the log doesn't own.
struct Shared(std::rc::Rc<std::cell::RefCell<Failing>>);

impl Storage for Shared {
    fn length(&mut self) -> io::Result<u64> {
        self.0.borrow_mut().length()
    }

    fn read_from(&mut self, start: u64) -> io::Result<Vec<u8>> {
        self.0.borrow_mut().read_from(start)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.borrow_mut().sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.borrow_mut().truncate(length)
    }
}

#[test]
fn whichever_write_fails_there_is_no_image_without_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for for_good in [false, true] {
        for failing in 1..12 {
            let disk = Failing { bytes: Vec::new(), done: 0, failing, for_good };
            let disk = std::rc::Rc::new(std::cell::RefCell::new(disk));
            let mut log = Log::with_storage("log", Shared(disk.clone())).unwrap();
            let (mut made, mut errors) = (0, 0);
            for number in 0..8 {
                let image = folder.path().join(format!("{for_good}-{failing}-{number}.png"));
                match publish(&mut log, entry(number), b"image", &image) {
                    Ok(_) => {
                        made += 1;
                        assert!(image.exists());
                    }
                    Err(error) => {
                        errors += 1;
                        assert!(error.to_string().contains("log"), "{error}");
                        assert!(!image.exists());
                    }
                }
            }
            assert!(errors > 0, "operation {failing} did not fail");
            let left = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
            assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")));
            // What is there is a whole log with a line for each image, once its end is mended.
            let bytes = disk.borrow().bytes.clone();
            let path = folder.path().join("log");
            fs::write(&path, bytes).unwrap();
            drop(Log::open(&path).unwrap());
            let report = verify(&path, None).unwrap();
            assert_eq!(report.faults, [], "{failing} {for_good}");
            let lines = lines(&path);
            let count = lines.iter().filter(|line| line.contains("\"made\"")).count();
            assert!(count >= made, "{count} lines for {made} images");
        }
    }
}

/// Not a test of its own: writes images until it is killed.
#[test]
#[ignore = "started by the test of killed processes"]
fn writes_until_killed() {
    let Some(folder) = std::env::var_os("CALOTYPE_AUDIT_CHILD") else { return };
    let folder = PathBuf::from(folder);
    let mut log = Log::open(folder.join("audit.jsonl")).unwrap();
    for number in 0.. {
        let seq = log.head().seq;
        let bytes = vec![number as u8; 20_000];
        publish(&mut log, entry(number), &bytes, &folder.join(format!("{seq}-{number}.bin"))).unwrap();
    }
}

/// `CALOTYPE_KILLS` sets how many.
#[test]
fn killed_processes_leave_no_image_without_its_line() {
    let kills = std::env::var("CALOTYPE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_killed", "--ignored", "--nocapture"])
            .env("CALOTYPE_AUDIT_CHILD", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + 7 * (round % 13)));
        child.kill().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert!(!said.contains("panicked"), "{said}");
    }
    drop(Log::open(&path).unwrap());
    let report = verify(&path, None).unwrap();
    assert_eq!(report.faults, []);
    let log = fs::read_to_string(&path).unwrap();
    let mut images = 0;
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        if file.extension().is_some_and(|ending| ending == "bin") {
            images += 1;
            let bytes = fs::read(&file).unwrap();
            assert!(bytes.len() == 20_000 && log.contains(&format!("\"file\":\"{name}\"")), "{name}");
            let Query::Image { file_sha256, .. } = Query::image(&bytes) else { unreachable!() };
            assert!(log.contains(&file_sha256));
        }
    }
    assert!(images > 0 && report.lines >= images);
}
