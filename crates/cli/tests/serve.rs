//! The server as a process: started, asked, told to end, killed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::client::{fox, send, serving_address};

struct Serving {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    /// Starts a server, and waits until it says where it is.
    fn start(data: &Path, options: &[&str]) -> Self {
        Self::start_logging(data, "error", options)
    }

    fn start_logging(data: &Path, level: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_calotype"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", level, "--data"])
            .arg(data)
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let address = loop {
            let line = lines.next().unwrap().unwrap();
            match serving_address(&line) {
                Some(address) => break address,
                None => log.lock().unwrap().push(line),
            }
        };
        // What else it says must not fill the pipe.
        let said = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                println!("server: {line}");
                said.lock().unwrap().push(line);
            }
        });
        Self { child, address, log }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> crate::client::Answer {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        send(self.address, method, path, &[("content-type", "application/json")], &body).unwrap()
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn calotype(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calotype")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn size(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn keys_are_made_listed_and_revoked_while_the_server_runs() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let new = |name: &str, options: &[&str]| {
        let made = calotype(&[&["keys", "new", name, "--data", data], options].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        assert!(text(&made.stderr).contains("this is shown once"));
        text(&made.stdout).trim().to_owned()
    };
    let alice = new("alice", &[]);
    let serving = Serving::start(folder.path(), &[]);
    let get = |key: &str| {
        send(serving.address, "GET", "/v1/jobs", &[("authorization", &format!("Bearer {key}"))], b"").unwrap().status
    };
    let reader = new("reader", &["--scope", "read,review", "--expires-in-days", "9"]);
    assert_eq!((get(&alice), get(&reader), get("calo_x")), (200, 200, 401));
    let listed = text(&calotype(&["keys", "list", "--data", data, "--json"]).stdout);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&listed[1]["name"], &listed[1]["scopes"]), (&json!("reader"), &json!(["read", "review"])));
    let revoked = calotype(&["keys", "revoke", listed[0]["id"].as_str().unwrap(), "--data", data]);
    assert!(revoked.status.success());
    assert_eq!((get(&alice), get(&reader)), (401, 200));
    assert!(text(&calotype(&["keys", "list", "--data", data]).stdout).contains("revoked"));
    let unknown = calotype(&["keys", "revoke", "k_x", "--data", data]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("there is no key"));
    let scope = calotype(&["keys", "new", "x", "--scope", "all", "--data", data]);
    assert!(text(&scope.stderr).contains("there is no scope"));
    serving.kill();
}

#[test]
fn what_can_not_be_served_is_one_line() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let config = folder.path().join("calotype.toml");
    let refused = |args: &[&str]| {
        let output = calotype(&[&["serve", "--data", data], args].concat());
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let open = refused(&["--listen", "0.0.0.0:0"]);
    assert!(open.contains("there is no key") && open.contains("hint: calotype keys new NAME"), "{open}");
    let serving = Serving::start(folder.path(), &[]);
    let taken = refused(&["--listen", "127.0.0.1:0"]);
    assert_eq!(taken.lines().count(), 1, "{taken}");
    serving.kill();
    assert!(refused(&["--models", "nowhere"]).contains("is no folder of models"));
    std::fs::write(&config, "listen = \"127.0.0.1:0\"\nmax_quued = 3\n").unwrap();
    let wrong = refused(&["--config", config.to_str().unwrap()]);
    assert!(wrong.contains("calotype.toml: line 2: unknown field `max_quued`"), "{wrong}");
    assert!(refused(&["--safety", "hard"]).contains("the policy \"hard\": expected off"));
    let away = calotype(&["health", "--url", "http://127.0.0.1:9"]);
    assert!(!away.status.success() && text(&away.stderr).starts_with("error: http://127.0.0.1:9: does not answer"));
}

#[cfg(unix)]
#[test]
fn prompts_are_in_the_log_where_they_may_be() {
    for log_prompts in [false, true] {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("calotype.toml");
        std::fs::write(&config, format!("log_prompts = {log_prompts}\n")).unwrap();
        let options = ["--config", config.to_str().unwrap(), "--log-json"];
        let mut serving = Serving::start_logging(&folder.path().join("data"), "debug", &options);
        let job = json!({"prompt": "a zebra behind a house", "steps": 1});
        let prefer = [("content-type", "application/json"), ("prefer", "wait=60")];
        let done = send(serving.address, "POST", "/v1/jobs", &prefer, job.to_string().as_bytes()).unwrap();
        assert_eq!(done.json()["state"], "succeeded");
        serving.signal("-TERM");
        assert!(serving.child.wait().unwrap().success());
        let log = serving.log.lock().unwrap();
        assert!(log.iter().any(|line| line.contains("\"request\":")), "{log:?}");
        assert_eq!(log.iter().any(|line| line.contains("zebra")), log_prompts, "{log:?}");
        let is_json = |line: &String| serde_json::from_str::<Value>(line).is_ok();
        assert!(log.iter().all(is_json), "{log:?}");
    }
}

#[cfg(unix)]
#[test]
fn sigterm_ends_it_in_good_order_and_a_second_one_at_once() {
    let folder = TempDir::new().unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let url = format!("http://{}", serving.address);
    assert!(calotype(&["health", "--url", &url]).status.success());
    let long = json!({"prompt": "a fox", "steps": 150, "width": 768, "height": 768});
    let job = serving.send("POST", "/v1/jobs", Some(&long)).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let begin = Instant::now();
    while serving.send("GET", &path, None).json()["progress"]["step"].as_u64() < Some(1) {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    serving.signal("-TERM");
    let told = Instant::now();
    while serving.send("GET", "/readyz", None).status == 200 {
        assert!(told.elapsed() < Duration::from_secs(2));
    }
    println!("not ready after {:?}", told.elapsed());
    assert_eq!(serving.send("GET", "/livez", None).status, 200);
    assert_eq!(serving.send("POST", "/v1/jobs", Some(&fox(1))).code(), "draining");
    let status = serving.child.wait().unwrap();
    assert!(status.success() && told.elapsed() < Duration::from_secs(40), "{status} {:?}", told.elapsed());

    // It is worked on again.
    let mut serving = Serving::start(folder.path(), &[]);
    let begin = Instant::now();
    while serving.send("GET", &path, None).json()["state"] != "running" {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(serving.send("GET", &path, None).json()["attempt"], 2);
    serving.send("DELETE", &path, None);

    // What is nearly done ends first, unless a second signal comes.
    let short = json!({"prompt": "a fox", "steps": 150, "width": 256, "height": 256});
    let job = serving.send("POST", "/v1/jobs", Some(&short)).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let is_nearly_done = |job: &Value| job["progress"]["eta_s"].as_f64().is_some_and(|eta| eta < 9.0);
    while !is_nearly_done(&serving.send("GET", &path, None).json()) {
        assert!(begin.elapsed() < Duration::from_secs(120));
    }
    serving.signal("-TERM");
    thread::sleep(Duration::from_millis(200));
    serving.signal("-TERM");
    let told = Instant::now();
    assert_eq!(serving.child.wait().unwrap().code(), Some(130));
    assert!(told.elapsed() < Duration::from_secs(2));
}

/// 50 clients, `CALOTYPE_SERVER_KILLS` kills; a few of both by default.
#[test]
fn nothing_that_was_accepted_is_lost_by_kills_under_load() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("calotype.toml");
    std::fs::write(&config, "data = \"data\"\nmax_queued = 100\ndisk_floor_mb = 0\n").unwrap();
    let data = folder.path().join("data");
    let options = ["--config", config.to_str().unwrap()];
    let kills = size("CALOTYPE_SERVER_KILLS", 5);
    let clients = size("CALOTYPE_SERVER_CLIENTS", 12);
    // Of each idempotency key the job that it became.
    let accepted: Mutex<BTreeMap<String, String>> = Mutex::default();
    let (mut slowest, mut tries) = (Duration::ZERO, 0);
    for kill in 0..kills {
        let begin = Instant::now();
        let serving = Serving::start(&data, &options);
        slowest = slowest.max(begin.elapsed());
        let (address, stop) = (serving.address, AtomicBool::new(false));
        thread::scope(|scope| {
            for client in 0..clients {
                let (accepted, stop) = (&accepted, &stop);
                scope.spawn(move || {
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let key = format!("{kill}-{client}-{n}");
                        let body = json!({"prompt": "a fox", "steps": 1, "seed": kill * 1000 + n}).to_string();
                        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
                        let Ok(answer) = send(address, "POST", "/v1/jobs", &headers, body.as_bytes()) else { continue };
                        match answer.status {
                            202 => {
                                let id = answer.json()["id"].as_str().unwrap().to_owned();
                                accepted.lock().unwrap().insert(key, id);
                            }
                            429 => thread::sleep(Duration::from_millis(20)),
                            other => panic!("{other}: {}", answer.text()),
                        }
                    }
                });
            }
            thread::sleep(Duration::from_millis(100 + kill * 37 % 500));
            serving.kill();
            stop.store(true, Ordering::Relaxed);
        });
        tries += 1;
    }
    let serving = Serving::start(&data, &options);
    let accepted = accepted.into_inner().unwrap();
    assert!(!accepted.is_empty());
    let mut by_seed: BTreeMap<u64, String> = BTreeMap::new();
    let (mut done, mut failed) = (0, 0);
    for (key, id) in &accepted {
        let path = format!("/v1/jobs/{id}");
        let begin = Instant::now();
        let job = loop {
            let job = serving.send("GET", &path, None);
            assert_eq!(job.status, 200, "{key} {id} is lost");
            let job = job.json();
            if ["succeeded", "failed"].contains(&job["state"].as_str().unwrap()) {
                break job;
            }
            assert!(begin.elapsed() < Duration::from_secs(300), "{job}");
            thread::sleep(Duration::from_millis(5));
        };
        if job["state"] == "failed" {
            // Three processes that were killed with it in their hands: it may have been the cause.
            assert_eq!(job["error"]["code"], "crashed_repeatedly", "{job}");
            failed += 1;
            continue;
        }
        let results = job["results"].as_array().unwrap();
        assert_eq!(results.len(), 1, "{job}");
        let file = serving.send("GET", results[0]["url"].as_str().unwrap(), None).body;
        let sha256: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(results[0]["sha256"], sha256.as_str());
        // The same request is the same image, in whatever process it was made; images of 64 x 64 have no random mark.
        let seed = job["request"]["seed"].as_u64().unwrap();
        assert_eq!(*by_seed.entry(seed).or_insert_with(|| sha256.clone()), sha256, "seed {seed}");
        done += 1;
    }
    println!(
        "{tries} kills, {} accepted, {done} done, {failed} given up, lost 0; ready after {slowest:?} at most",
        accepted.len()
    );
    // Sent again, each is the job that it was.
    for (key, id) in accepted.iter().take(20) {
        let parts: Vec<u64> = key.split('-').map(|part| part.parse().unwrap()).collect();
        let body = json!({"prompt": "a fox", "steps": 1, "seed": parts[0] * 1000 + parts[2]}).to_string();
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let again = send(serving.address, "POST", "/v1/jobs", &headers, body.as_bytes()).unwrap();
        assert_eq!(again.json()["id"], id.as_str());
    }
    serving.kill();
}
