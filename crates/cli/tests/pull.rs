//! `calotype models pull` from outside, with a hub on this machine.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    hub::{COMMIT, Fault, Server, bytes, sha256},
    models::Sizes,
};

/// A command that has the cache in `home`, and nothing else in its environment.
fn command(server: &Server, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calotype"));
    command.current_dir(home).args(args).env_clear().env("HF_HOME", home).env("HF_ENDPOINT", &server.address);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn calotype(server: &Server, home: &Path, args: &[&str]) -> Output {
    command(server, home, args).output().unwrap()
}

fn pull(server: &Server, home: &Path, more: &[&str]) -> Output {
    calotype(server, home, &[&["models", "pull", "org/name"], more].concat())
}

/// It worked, and this is what it printed.
fn done(output: &Output) -> &str {
    let said = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!((output.status.code(), crate::notes::without(said)), (Some(0), ""));
    std::str::from_utf8(&output.stdout).unwrap()
}

/// It failed with this status and these lines.
fn failed(output: &Output, status: i32, stderr: &str) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("", stderr));
    assert_eq!(output.status.code(), Some(status));
}

fn snapshot(home: &Path) -> PathBuf {
    home.join("hub/models--org--name/snapshots").join(COMMIT)
}

/// A hub with one large file that comes slowly: about a second in all.
fn slow() -> (Server, Vec<u8>) {
    let content = bytes(500_000, 0);
    let server = Server::start().large("a.safetensors", content.clone());
    server.fail("GET /stored", 1, Fault::Slow(10_000));
    (server, content)
}

/// Waits until some of the file is on the disk.
fn wait_for_some(home: &Path, content: &[u8]) {
    let file = home.join(format!("hub/models--org--name/blobs/{}.incomplete", sha256(content)));
    let begin = Instant::now();
    while !fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing comes");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends before its test does, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pulled_model_makes_pictures() {
    let home = TempDir::new().unwrap();
    let home = home.path();
    Sizes::default().write(&home.join("name"));
    let mut server = Server::start();
    for file in walk(&home.join("name")) {
        let content = fs::read(&file).unwrap();
        let path = file.strip_prefix(home.join("name")).unwrap().to_str().unwrap().to_owned();
        server = if path.ends_with("safetensors") { server.large(&path, content) } else { server.file(&path, content) };
    }
    assert_eq!(done(&pull(&server, home, &["--accept-license"])), format!("{}\n", snapshot(home).display()));
    // Accepted once, and nothing to ask: from now on also without a network.
    assert_eq!(done(&pull(&server, home, &["--quiet"])), "");
    let offline = |args: &[&str]| command(&server, home, args).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let asked = server.requests("").len();
    assert_eq!(done(&offline(&["models", "pull", "org/name"])), format!("{}\n", snapshot(home).display()));
    let picture = |model, file| {
        done(&offline(&["txt2img", "a tree", "--model", model, "--steps", "1", "--output", file, "--quiet"]));
        fs::read(home.join(file)).unwrap()
    };
    // With everything that its file says of it.
    assert!(picture("org/name", "a.png") == picture("name", "b.png"));
    assert!(done(&offline(&["models", "inspect", "org/name"])).contains("a diffusers model"));
    assert_eq!(server.requests("").len(), asked);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_model_that_was_not_pulled() {
    let home = TempDir::new().unwrap();
    let server = Server::start();
    let message = "error: org/name: there is no such file or folder, and no such model was pulled from the hub\n\
                   hint: calotype models pull org/name\n";
    failed(&calotype(&server, home.path(), &["txt2img", "x", "--model", "org/name"]), 2, message);
    failed(&calotype(&server, home.path(), &["models", "inspect", "org/name"]), 2, message);
    assert_eq!(server.requests("").len(), 0, "it never downloads by itself");
}

#[test]
fn the_licence_is_accepted_first() {
    let home = TempDir::new().unwrap();
    let server = Server::start().large("a.safetensors", bytes(100, 0));
    let message = format!(
        "error: org/name has the licence creativeml-openrail-m ({}/org/name), and nobody is there to ask: \
         add --accept-license to accept it\n",
        server.address
    );
    failed(&pull(&server, home.path(), &[]), 2, &message);
    assert_eq!(server.requests("GET /org").len(), 0);
    assert!(!home.path().join("hub").exists());
}

#[test]
fn json_says_what_was_done() {
    let home = TempDir::new().unwrap();
    let server = crate::hub::folder();
    let pull = || -> Value {
        serde_json::from_str(done(&pull(&server, home.path(), &["--json", "--accept-license"]))).unwrap()
    };
    let first = pull();
    assert_eq!(first["path"], snapshot(home.path()).to_str().unwrap());
    assert_eq!((first["id"].as_str(), first["revision"].as_str()), (Some("org/name"), Some("main")));
    assert_eq!(
        (first["commit"].as_str(), first["license"]["name"].as_str()),
        (Some(COMMIT), Some("creativeml-openrail-m"))
    );
    let files = first["files"].as_array().unwrap();
    assert_eq!(files.len(), 10);
    let sizes: u64 = files.iter().map(|file| file["size"].as_u64().unwrap()).sum();
    assert_eq!(first["downloaded"], sizes);
    let second = pull();
    assert_eq!(second["downloaded"], 0);
    assert!(second["files"].as_array().unwrap().iter().all(|file| file["cached"] == true));
}

#[test]
fn what_can_go_wrong_is_one_line() {
    let home = TempDir::new().unwrap();
    let home = home.path();
    let server = Server::start().large("a.safetensors", bytes(100, 0)).large("b.safetensors", bytes(10, 0));
    let wrong = "error: a/b/c: not the name of a model on the hub: expected org/name, of letters, digits, -, _ and .\n";
    failed(&calotype(&server, home, &["models", "pull", "a/b/c"]), 2, wrong);
    let several =
        "error: org/name: several models in one place: choose with --include one of a.safetensors, b.safetensors\n";
    failed(&pull(&server, home, &[]), 2, several);
    let endpoint =
        command(&server, home, &["models", "pull", "org/name"]).env("HF_ENDPOINT", "http://hub.example").output();
    let message = "error: HF_ENDPOINT: only a hub on this machine is asked without TLS: begin it with https://\n";
    failed(&endpoint.unwrap(), 2, message);
    let offline = command(&server, home, &["models", "pull", "org/name"]).env("HF_HUB_OFFLINE", "1").output();
    let message = "error: org/name: HF_HUB_OFFLINE is set, so the hub is not asked: unset it to download\n";
    failed(&offline.unwrap(), 1, message);
    server.fail("GET /api", 1, Fault::Status(403, vec![("X-Error-Code", "GatedRepo".to_owned())]));
    let gated = command(&server, home, &["models", "pull", "org/name"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    let address = &server.address;
    let message = format!(
        "error: org/name is gated: accept its conditions on {address}/org/name with the account that HF_TOKEN is of, \
         and give the token leave to read gated models\n"
    );
    failed(&gated, 1, &message);
    server.fail("GET /stored", 2, Fault::Wrong);
    let corrupt = pull(&server, home, &["--include", "a*", "--accept-license"]);
    assert!(String::from_utf8(corrupt.stderr).unwrap().starts_with("error: a.safetensors: SHA-256 is "));
    assert_eq!((corrupt.status.code(), corrupt.stdout.len()), (Some(1), 0));
    assert_eq!(
        done(&pull(&server, home, &["--include", "a*"])),
        format!("{}\n", snapshot(home).join("a.safetensors").display())
    );
}

#[test]
fn a_killed_pull_goes_on() {
    let home = TempDir::new().unwrap();
    let (server, content) = slow();
    let args = ["models", "pull", "org/name", "--accept-license"];
    let mut child = Running(command(&server, home.path(), &args).spawn().unwrap());
    wait_for_some(home.path(), &content);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    done(&pull(&server, home.path(), &[]));
    assert_eq!(fs::read(snapshot(home.path()).join("a.safetensors")).unwrap(), content);
    let ranges = server.ranges("GET /stored");
    assert_eq!((ranges.len(), ranges[0].as_str()), (2, "-"));
    assert!(ranges[1].starts_with("bytes=") && ranges[1] != "bytes=0-", "{ranges:?}");
}

#[test]
fn two_pulls_at_once_download_once() {
    let home = TempDir::new().unwrap();
    let (server, content) = slow();
    let args = ["models", "pull", "org/name", "--accept-license"];
    let children: Vec<Child> = (0..3).map(|_| command(&server, home.path(), &args).spawn().unwrap()).collect();
    for child in children {
        done(&child.wait_with_output().unwrap());
    }
    assert_eq!(server.ranges("GET /stored"), ["-"]);
    assert_eq!(fs::read(snapshot(home.path()).join("a.safetensors")).unwrap(), content);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_at_once_and_keeps_what_there_is() {
    let home = TempDir::new().unwrap();
    let (server, content) = slow();
    let args = ["models", "pull", "org/name", "--accept-license"];
    let mut child = Running(command(&server, home.path(), &args).spawn().unwrap());
    wait_for_some(home.path(), &content);
    let begin = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    assert!(begin.elapsed() < Duration::from_secs(1));
    let mut said = String::new();
    std::io::Read::read_to_string(child.0.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(
        said,
        "interrupted: stopped by Ctrl-C; what is downloaded is kept, and the same command goes on from there\n"
    );
    done(&pull(&server, home.path(), &[]));
    assert!(server.ranges("GET /stored")[1].starts_with("bytes="));
}
