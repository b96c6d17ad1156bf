//! That a hostile file is refused and nothing else happens, shown and not argued: every file of the lists is read in a
//! process of its own in which Linux ends the process at the first system call that weights don't need.
//!
//! - In memory: no file can be opened, no process or thread be made, nothing connected to, nothing written.
//! - From disk: the same, but files can be opened for reading, no more at once than the one (or an index and its shards).
//!
//! In both no more than 64 MiB of memory may be taken above the start, and no more than a second of processor time by a
//! file. Each rule is broken once on purpose, to see that it holds.

#![allow(clippy::print_stdout, reason = "it is how the child tells what it does")]

use std::{
    env,
    fs::{self, File, OpenOptions},
    hint::black_box,
    net::{TcpStream, UdpSocket},
    os::{
        fd::AsRawFd,
        unix::{fs::FileExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use calotype_formats::{Checkpoint, SafeTensors, TorchFile};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use crate::{archives, names, pickles, safetensors};

/// What the child is to do, and where its files are.
const TASK: &str = "CALOTYPE_SANDBOX_TASK";
const FOLDER: &str = "CALOTYPE_SANDBOX_FOLDER";

/// Bytes that reading may take.
const MOST_MEMORY: u64 = 64 << 20;
/// Processor time that a file may take.
const MOST_SECONDS: f64 = 1.0;

/// Memory, locks and the end: what any Rust program does. Of files only those that are open, and `pwrite` only for
/// [`Meter`], whose files were opened before.
const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
];

/// What asks about a file.
const ASK: &[i64] = &[libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx];

/// From here on this process can do nothing that is not allowed.
fn confine(opening: bool) {
    let condition =
        |argument, operator, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).unwrap();
    let mut rules: Vec<(i64, Vec<SeccompRule>)> = ALLOWED.iter().map(|&call| (call, vec![])).collect();
    // To stdout and stderr.
    let output = |file| SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, file)]).unwrap();
    rules.push((libc::SYS_write, vec![output(1), output(2)]));
    if opening {
        rules.extend(ASK.iter().map(|&call| (call, vec![])));
        let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64;
        let reading = condition(2, SeccompCmpOp::MaskedEq(writing), libc::O_RDONLY as u64);
        rules.push((libc::SYS_openat, vec![SeccompRule::new(vec![reading]).unwrap()]));
    }
    let architecture = env::consts::ARCH.try_into().unwrap();
    let filter =
        SeccompFilter::new(rules.into_iter().collect(), SeccompAction::KillProcess, SeccompAction::Allow, architecture);
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter_all_threads(&program).expect("a kernel with seccomp filters");
}

/// No more than `count` files can be opened beside those that are.
fn limit_files(count: u64) {
    let next = File::open("/dev/null").unwrap().as_raw_fd() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(next + count), maximum }).unwrap();
}

/// What this process has taken, read from files that were opened before it was confined.
struct Meter {
    status: File,
    stat: File,
    /// What sets the peak back; not every kernel has it.
    clear: Option<File>,
    start: u64,
}

impl Meter {
    fn new() -> Self {
        let open = |name: &str| File::open(Path::new("/proc/self").join(name)).unwrap();
        let clear = OpenOptions::new().write(true).open("/proc/self/clear_refs").ok();
        let mut meter = Self { status: open("status"), stat: open("stat"), clear, start: 0 };
        meter.start = meter.memory("VmRSS:");
        meter
    }

    /// A line of the status, in bytes.
    fn memory(&self, field: &str) -> u64 {
        let mut text = [0; 4096];
        let length = self.status.read_at(&mut text, 0).unwrap();
        let text = std::str::from_utf8(&text[..length]).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    fn seconds(&self) -> f64 {
        let mut text = [0; 1024];
        let length = self.stat.read_at(&mut text, 0).unwrap();
        crate::common::processor_seconds_of(std::str::from_utf8(&text[..length]).unwrap())
    }

    /// Whether `task` keeps the limits.
    fn measure(&self, task: impl FnOnce()) -> Result<(), String> {
        if let Some(clear) = &self.clear {
            clear.write_at(b"5", 0).unwrap();
        }
        let before = self.seconds();
        task();
        let (memory, seconds) = (self.memory("VmHWM:").saturating_sub(self.start), self.seconds() - before);
        match (memory > MOST_MEMORY, seconds > MOST_SECONDS) {
            (true, _) => Err(format!("took {} KiB", memory >> 10)),
            (_, true) => Err(format!("took {seconds} seconds")),
            _ => Ok(()),
        }
    }
}

/// The files of a folder, by name.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Reads what is at each path, confined: `read` says whether it was taken.
fn refuse_all(paths: Vec<PathBuf>, meter: &Meter, mut read: impl FnMut(&Path) -> bool) {
    for path in &paths {
        println!("{}", path.display());
        meter.measure(|| assert!(!read(path), "{} was taken", path.display())).unwrap();
    }
    println!("{} refused", paths.len());
}

/// The child: not a test, but what the tests start.
#[test]
#[ignore = "started by the others"]
fn child() {
    let Ok(task) = env::var(TASK) else { return };
    let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
    let meter = Meter::new();
    match task.as_str() {
        "memory" => {
            let paths = entries(&folder.join("files"));
            let mut files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).rev().collect();
            let meter = Meter::new();
            confine(false);
            refuse_all(paths, &meter, |_| {
                let file = files.pop().unwrap();
                SafeTensors::from_bytes(file.clone()).is_ok()
                    || TorchFile::from_bytes(file).is_ok_and(|file| Checkpoint::try_from(file).is_ok())
            });
        }
        "disk" => {
            let paths = entries(&folder.join("files"));
            limit_files(1);
            confine(true);
            refuse_all(paths, &meter, |path| Checkpoint::open(path, "").is_ok());
        }
        "indices" => {
            let paths = entries(&folder.join("indices"));
            limit_files(3);
            confine(true);
            refuse_all(paths, &meter, |path| Checkpoint::open(&path.join("model"), "weights").is_ok());
        }
        "limits" => {
            limit_files(1);
            confine(true);
            // A second file, much memory, much time.
            let file = File::open("/dev/null").unwrap();
            assert!(File::open("/dev/null").is_err());
            drop(file);
            assert_eq!(meter.measure(|| drop(black_box(vec![1_u8; 40 << 20]))), Ok(()));
            assert!(meter.measure(|| drop(black_box(vec![1_u8; 70 << 20]))).unwrap_err().ends_with("KiB"));
            let spin = || {
                let start = meter.seconds();
                while meter.seconds() - start < 1.1 {}
            };
            assert!(meter.measure(spin).unwrap_err().ends_with("seconds"));
        }
        forbidden => {
            // What the disk's rules forbid, and what only those of memory do.
            confine(forbidden.starts_with("disk"));
            break_rule(forbidden.split(' ').nth(1).unwrap(), &folder);
            println!("{forbidden} was let through");
        }
    }
    // Without what the test's harness would do.
    std::process::exit(0);
}

/// Does what no reader may.
fn break_rule(rule: &str, folder: &Path) {
    match rule {
        "open" => drop(File::open("/dev/null")),
        "create" => drop(File::create(folder.join("created"))),
        "append" => drop(OpenOptions::new().append(true).open(folder.join("kept"))),
        "remove" => drop(fs::remove_file(folder.join("kept"))),
        "run" => drop(Command::new("/bin/true").spawn()),
        "thread" => drop(thread::Builder::new().spawn(|| ())),
        "connect" => drop(TcpStream::connect_timeout(&([127, 0, 0, 1], 9).into(), Duration::from_millis(1))),
        "socket" => drop(UdpSocket::bind("127.0.0.1:0")),
        other => panic!("no rule {other}"),
    }
}

/// Does a task in a process of its own.
fn start(task: &str, folder: &Path) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["sandbox::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(TASK, task).env(FOLDER, folder).env("RUST_BACKTRACE", "0").output().unwrap()
}

/// That a task is done, and how many files it refused.
fn refused(task: &str, folder: &Path) -> usize {
    let output = start(task, folder);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(
        output.status.success(),
        "{task}: {:?} at {last:?}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines().find_map(|line| line.strip_suffix(" refused")?.parse().ok()).unwrap_or(0)
}

#[test]
fn every_hostile_file_is_refused_and_nothing_else_happens() {
    let folder = tempfile::tempdir().unwrap();
    let files = [safetensors::files(), names::files(), pickles::files(), archives::files()].concat();
    fs::create_dir(folder.path().join("files")).unwrap();
    for (n, (name, bytes)) in files.iter().enumerate() {
        fs::write(folder.path().join(format!("files/{n:04} {name}")), bytes).unwrap();
    }
    safetensors::write_indices(&folder.path().join("indices"));
    assert!(files.len() > 4000);
    assert_eq!(refused("memory", folder.path()), files.len());
    assert_eq!(refused("disk", folder.path()), files.len());
    assert_eq!(refused("indices", folder.path()), entries(&folder.path().join("indices")).len());
}

#[test]
fn what_is_forbidden_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kept"), "kept").unwrap();
    for task in [
        "memory open",
        "memory create",
        "memory append",
        "memory remove",
        "memory run",
        "memory thread",
        "memory connect",
        "memory socket",
        "disk create",
        "disk append",
        "disk remove",
        "disk run",
        "disk thread",
        "disk connect",
        "disk socket",
    ] {
        let output = start(task, folder.path());
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{task}: {}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(start("disk open", folder.path()).status.success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read(folder.path().join("kept")).unwrap(), b"kept");
}

#[test]
fn what_takes_too_much_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    refused("limits", folder.path());
    assert!(start.elapsed() > Duration::from_secs(1));
}
