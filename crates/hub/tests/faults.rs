//! Pulls that go wrong on the way: cut and slow connections, wrong bytes, servers that fail or are busy, another process.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::{fs, ops::ControlFlow, path::PathBuf, time::Duration};

use calotype_hub::{Event, Selection, Silent, Watch};
use common::{
    Fault, Server,
    setting::{Setting, hub, plan, pull},
    sha256,
};
use tempfile::TempDir;

#[test]
fn a_cut_connection_goes_on_where_it_was() {
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 1, Fault::Cut(150_000));
    setting.storage.fail("GET /stored", 1, Fault::Cut(100_000));
    setting.right(&["-", "bytes=150000-", "bytes=250000-"]);
}

#[test]
fn a_connection_that_is_always_cut_is_given_up_and_later_goes_on() {
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 6, Fault::Cut(10_000));
    let error = setting.wrong();
    assert!(
        error.contains("the connection was cut") && error.ends_with("6 times in a row; the same command goes on later"),
        "{error}"
    );
    assert_eq!(fs::read(setting.incomplete()).unwrap(), setting.content[..60_000]);
    let before = ["-", "bytes=10000-", "bytes=20000-", "bytes=30000-", "bytes=40000-", "bytes=50000-"];
    setting.right(&[&before[..], &["bytes=60000-"]].concat());
}

#[test]
fn a_slow_server_is_asked_again() {
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 1, Fault::Stall(Duration::from_secs(5)));
    setting.right(&["-", "bytes=200000-"]);
    let setting = Setting::new();
    setting.hub.fail("GET /api", 6, Fault::Stall(Duration::from_secs(5)));
    assert!(setting.wrong().contains("it says nothing for longer than HF_HUB_DOWNLOAD_TIMEOUT"));
}

#[test]
fn wrong_bytes_are_deleted_and_downloaded_once_more() {
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 1, Fault::Wrong);
    setting.right(&["-", "-"]);
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 2, Fault::Wrong);
    let error = setting.wrong();
    let beginning = "a.safetensors: SHA-256 is ";
    let end = format!(
        "but the hub says {}…, twice: the file is deleted; try again later, or tell the model's authors",
        &sha256(&setting.content)[..12]
    );
    assert!(error.starts_with(beginning) && error.ends_with(&end), "{error}");
    assert!(!setting.incomplete().exists());
    assert_eq!(setting.hub.requests("HEAD").len(), 1);
}

#[test]
fn wrong_bytes_of_a_small_file_too() {
    let server = Server::start().file("a.safetensors", "hello");
    let home = TempDir::new().unwrap();
    server.fail("GET /org/name/resolve", 2, Fault::Wrong);
    let error = pull(&hub(&server, home.path(), &[]), "org/name").unwrap_err().to_string();
    assert!(error.starts_with("a.safetensors: git's SHA-1 is "), "{error}");
    let path = pull(&hub(&server, home.path(), &[]), "org/name").unwrap();
    assert_eq!(fs::read(path).unwrap(), b"hello");
}

#[test]
fn what_an_earlier_download_left_is_checked() {
    let setting = Setting::new();
    fs::create_dir_all(setting.blob().parent().unwrap()).unwrap();
    // Right bytes: the rest is asked for.
    fs::write(setting.incomplete(), &setting.content[..1000]).unwrap();
    setting.right(&["bytes=1000-"]);
    // All bytes: nothing is.
    let setting = Setting::new();
    fs::create_dir_all(setting.blob().parent().unwrap()).unwrap();
    fs::write(setting.incomplete(), &setting.content).unwrap();
    setting.right(&[]);
    // Other bytes: all of it again. Too many: too.
    for (left, ranges) in
        [(vec![7; 1000], vec!["bytes=1000-", "-"]), (vec![7; 400_001], vec!["-"]), (vec![7; 400_000], vec!["-"])]
    {
        let setting = Setting::new();
        fs::create_dir_all(setting.blob().parent().unwrap()).unwrap();
        fs::write(setting.incomplete(), left).unwrap();
        setting.right(&ranges);
    }
}

#[test]
fn servers_without_parts() {
    for fault in [Fault::NoRange, Fault::WrongRange] {
        let setting = Setting::new();
        setting.storage.fail("GET /stored", 1, Fault::Cut(1000));
        setting.storage.fail("GET /stored", 1, fault.clone());
        let again: &[&str] =
            if matches!(fault, Fault::NoRange) { &["-", "bytes=1000-"] } else { &["-", "bytes=1000-", "-"] };
        setting.right(again);
    }
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 1, Fault::Cut(1000));
    setting.storage.fail("GET /stored", 1, Fault::Status(416, vec![]));
    setting.right(&["-", "bytes=1000-", "-"]);
}

#[test]
fn a_length_that_is_not_true() {
    for (lie, ranges) in [(5, 2), (-5, 2)] {
        let setting = Setting::new();
        setting.storage.fail("GET /stored", 2, Fault::Lie(lie));
        let error = setting.wrong();
        assert!(error.contains(&format!("offers {} bytes, but the hub says 400000, twice", 400_000 + lie)), "{error}");
        assert_eq!(setting.storage.ranges("GET /stored").len(), ranges);
        setting.right(&["-", "-", "-"]);
    }
}

#[test]
fn chunks_without_a_length() {
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 1, Fault::Chunked);
    setting.right(&["-"]);
    for more in [1, 1_000_000] {
        let setting = Setting::new();
        setting.storage.fail("GET /stored", 2, Fault::ChunkedAndMore(more));
        let error = setting.wrong();
        assert!(error.contains("sends more than the 400000 bytes that the hub says, twice"), "{error}");
    }
}

#[test]
fn failing_servers_are_asked_again_a_few_times() {
    for status in [408, 429, 500, 502, 503, 504] {
        let setting = Setting::new();
        setting.hub.fail("GET /api", 1, Fault::Status(status, vec![]));
        setting.hub.fail("HEAD", 2, Fault::Status(status, vec![]));
        setting.hub.fail("GET /org", 1, Fault::Status(status, vec![]));
        setting.storage.fail("GET /stored", 1, Fault::Status(status, vec![]));
        setting.right(&["-", "-"]);
    }
    let setting = Setting::new();
    setting.hub.fail("GET /api", 100, Fault::Status(500, vec![]));
    let error = setting.wrong();
    assert!(error.ends_with(": it fails with 500, 6 times in a row; the same command goes on later"), "{error}");
    assert_eq!(setting.hub.requests("").len(), 6);
    // A signed address that is too old: a new one.
    let setting = Setting::new();
    setting.storage.fail("GET /stored", 1, Fault::Status(403, vec![]));
    setting.right(&["-", "-"]);
    assert_eq!(setting.hub.requests("GET /org").len(), 2);
}

/// Notes how long it is told to wait.
#[derive(Default)]
struct Waits(Vec<Duration>);

impl Watch for Waits {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        if let Event::Retrying { wait, problem } = event {
            assert!(problem.contains("too many requests (429)"), "{problem}");
            self.0.push(wait);
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn too_many_requests_wait_as_long_as_the_server_says() {
    let setting = Setting::new();
    setting.hub.fail("GET /api", 1, Fault::Status(429, vec![("Retry-After", "1".to_owned())]));
    let mut waits = Waits::default();
    let begin = std::time::Instant::now();
    setting.client().model(&"org/name".parse().unwrap(), &mut waits).unwrap();
    assert!(
        begin.elapsed() >= Duration::from_secs(1) && waits.0[0] > Duration::from_millis(900),
        "{waits:?}",
        waits = waits.0
    );
    // As the hub says it without that header.
    let mut waits = Waits::default();
    setting.hub.fail("GET /api", 1, Fault::Status(429, vec![("RateLimit", "\"api\";r=0;t=1".to_owned())]));
    setting.client().model(&"org/name".parse().unwrap(), &mut waits).unwrap();
    assert!(waits.0[0] > Duration::from_millis(900));
    // As a date, by the server's clock.
    let mut waits = Waits::default();
    let dates = [("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Retry-After", "Sun, 06 Nov 1994 08:49:38 GMT")];
    setting.hub.fail("GET /api", 1, Fault::Status(429, dates.map(|(name, date)| (name, date.to_owned())).to_vec()));
    setting.client().model(&"org/name".parse().unwrap(), &mut waits).unwrap();
    assert!(waits.0[0] > Duration::from_millis(900) && waits.0[0] <= Duration::from_secs(1));
    setting.hub.fail("GET /api", 1, Fault::Status(429, vec![("Retry-After", "86400".to_owned())]));
    assert!(setting.wrong().ends_with("too many requests (429), and asks to come back in 86400 s: try again then"));
}

#[test]
fn no_server_is_one_line() {
    let setting = Setting::new();
    let mut server = setting.hub.clone();
    server.address = "http://127.0.0.1:1".to_owned();
    let error = pull(&hub(&server, setting.home.path(), &[]), "org/name").unwrap_err().to_string();
    assert!(error.starts_with("127.0.0.1:1: ") && error.contains("6 times in a row"), "{error}");
}

/// Stops once a file has so many bytes.
struct StopAt(u64);

impl Watch for StopAt {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Downloading { done, .. } if done >= self.0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn a_stopped_download_goes_on_later() {
    let setting = Setting::new();
    let client = setting.client();
    let plan = plan(&client, "org/name", &Selection::default(), &mut Silent).unwrap();
    let error = client.download(&plan, &mut StopAt(100_000)).unwrap_err();
    assert_eq!(error.to_string(), "stopped; what is downloaded is kept, and the same command goes on from there");
    let there = fs::metadata(setting.incomplete()).unwrap().len();
    assert!((100_000..400_000).contains(&there), "{there}");
    assert_eq!(client.cache().find(&"org/name".parse().unwrap()), None);
    setting.right(&["-", &format!("bytes={there}-")]);
}

#[test]
fn a_locked_blob_is_waited_for() {
    let setting = Setting::new();
    let locks = setting.home.path().join("hub/.locks/models--org--name");
    fs::create_dir_all(&locks).unwrap();
    let lock = fs::File::create(locks.join(format!("{}.lock", sha256(&setting.content)))).unwrap();
    lock.lock().unwrap();
    struct Unlock(Option<fs::File>, PathBuf, Vec<u8>);
    impl Watch for Unlock {
        fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
            if event == (Event::Locked { path: "a.safetensors" }) && self.0.is_some() {
                // The other process is done.
                fs::write(&self.1, &self.2).unwrap();
                self.0 = None;
            }
            ControlFlow::Continue(())
        }
    }
    let client = setting.client();
    let plan = plan(&client, "org/name", &Selection::default(), &mut Silent).unwrap();
    fs::create_dir_all(setting.blob().parent().unwrap()).unwrap();
    let mut watch = Unlock(Some(lock), setting.blob(), setting.content.clone());
    client.download(&plan, &mut watch).unwrap();
    assert!(watch.0.is_none());
    setting.right(&[]);
}
