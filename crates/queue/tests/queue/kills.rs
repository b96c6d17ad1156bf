//! Processes that are killed. A kill loses nothing of what the system has been given, so this says nothing of the disk: `storage` does.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use calotype_queue::{
    Embedded, EmbeddedOptions, JobId, List, NewJob, Outcome, Queue, ResultFile, Results, State, Worker,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Random, size};

/// Where a child process has its queue: a variable of [`child`]'s environment.
const FOLDER: &str = "CALOTYPE_TEST_QUEUE";

fn open(folder: &Path) -> (Embedded, Results) {
    let options = EmbeddedOptions { max_queued: u64::MAX, ..EmbeddedOptions::default() };
    (Embedded::open(&folder.join("queue.redb"), options).unwrap(), Results::open(&folder.join("results")).unwrap())
}

/// Not a test of its own: the process that is started and killed. Says what it was answered.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (queue, results) = open(&folder);
    let say = |what: &str, id: JobId| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what} {id}").unwrap();
        out.flush().unwrap();
    };
    thread::scope(|scope| {
        for client in 0..8 {
            let (queue, say) = (&queue, &say);
            scope.spawn(move || {
                for n in 0.. {
                    let job = NewJob::new(format!("{client}"), json!({"client": client, "n": n}));
                    say("accepted", queue.submit(job).unwrap().job.id);
                }
            });
        }
        for worker in 0..2 {
            let (queue, results, say) = (&queue, &results, &say);
            scope.spawn(move || {
                loop {
                    let Some(job) = queue.claim(&Worker::new(format!("{worker}"))).unwrap() else { continue };
                    queue.start(job.lease()).unwrap();
                    let bytes = job.request.to_string();
                    let sha256 = results.put(bytes.as_bytes()).unwrap();
                    let media_type = "text/plain".to_owned();
                    let file = ResultFile { sha256, bytes: bytes.len() as u64, media_type, about: Value::Null };
                    queue.finish(job.lease(), Outcome::Succeeded(vec![file])).unwrap();
                    say("done", job.id);
                }
            });
        }
    });
}

#[test]
fn nothing_that_was_answered_is_lost_by_a_kill() {
    let folder = TempDir::new().unwrap();
    let (mut accepted, mut done) = (BTreeSet::new(), BTreeSet::new());
    let mut random = Random(std::process::id().into());
    for _ in 0..size("CALOTYPE_QUEUE_KILLS", 10) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::child", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
        thread::sleep(Duration::from_millis(20 + random.below(150)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.join().unwrap() {
            // The test's own lines, and one that was cut off, are none of ours.
            let Some((what, id)) = line.split_once(' ') else { continue };
            let Ok(id) = id.parse::<JobId>() else { continue };
            match what {
                "accepted" => assert!(accepted.insert(id)),
                "done" => assert!(done.insert(id), "{id} was done twice"),
                _ => {}
            }
        }
    }
    let (queue, results) = open(folder.path());
    for id in &accepted {
        assert!(queue.get(*id).unwrap().is_some(), "{id} is lost");
    }
    for id in &done {
        let job = queue.get(*id).unwrap().unwrap();
        assert_eq!((job.state, job.results.len()), (State::Succeeded, 1));
    }
    let all = queue.list(&List { limit: usize::MAX, ..List::default() }).unwrap();
    // Nobody has a job now, and what has a result has the whole file, that of its own request.
    for job in &all {
        assert!(!job.state.is_with_worker(), "{job:?}");
        for result in &job.results {
            assert_eq!(results.get(&result.sha256).unwrap(), job.request.to_string().as_bytes());
        }
    }
    // A file without a job is what a worker had just written.
    let orphans = results.all().unwrap().into_iter().filter(|sha256| !queue.has_result(sha256).unwrap()).count();
    println!("{} accepted, {} done, {} jobs, {orphans} files of no job", accepted.len(), done.len(), all.len());
    assert!(!accepted.is_empty());
}
