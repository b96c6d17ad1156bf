//! A server in this process on a port of its own, and a client that sends exactly what it is told.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use calotype_server::{Config, KeyStore, NewKey, Scope, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server, which ends when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
    pub(crate) folder: Option<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

/// The config of tests: any port, room on the disk whatever there is.
pub(crate) fn config(data: &Path) -> Config {
    let mut config = Config { data: data.to_owned(), disk_floor_mb: 0, drain_seconds: 20, ..Config::default() };
    config.listen.set_port(0);
    config
}

pub(crate) fn start() -> Running {
    let folder = TempDir::new().unwrap();
    let mut server = start_with(config(folder.path()));
    server.folder = Some(folder);
    server
}

pub(crate) fn start_with(config: Config) -> Running {
    let server = Server::open(config).unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        server.run_until(async move {
            // The sender is dropped to end it.
            let wait = move || stopped.recv().is_ok();
            drop(tokio::task::spawn_blocking(wait).await);
        })
    });
    Running { address, stop: Some(stop), thread: Some(thread), folder: None }
}

/// A server with keys: an administrator's, and alice's and bob's with the usual scopes. Their secrets.
pub(crate) fn start_with_keys(change: impl FnOnce(&mut Config)) -> (Running, [String; 3]) {
    let folder = TempDir::new().unwrap();
    let store = KeyStore::open(folder.path()).unwrap();
    let key = |name: &str, scopes: &[Scope]| {
        store.new_key(NewKey { name: name.to_owned(), scopes: scopes.to_vec(), ..NewKey::default() }).unwrap().1
    };
    let secrets = [key("admin", &[Scope::Admin]), key("alice", &[]), key("bob", &[])];
    let mut config = config(folder.path());
    change(&mut config);
    let mut server = start_with(config);
    server.folder = Some(folder);
    (server, secrets)
}

impl Running {
    pub(crate) fn stop(&mut self) -> bool {
        self.stop.take();
        self.thread.take().is_none_or(|thread| thread.join().unwrap())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream
    }

    /// Sends these bytes, and reads one answer.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read(&mut stream)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        if !body.is_empty() || !matches!(method, "GET" | "HEAD" | "DELETE") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        if method == "HEAD" {
            let mut stream = self.connect();
            stream.write_all(head.as_bytes()).unwrap();
            let (status, headers) = read_head(&mut BufReader::new(stream));
            return Answer { status, headers, body: Vec::new() };
        }
        self.raw(&[head.as_bytes(), body].concat())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// With a key.
    pub(crate) fn as_key(&self, secret: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {secret}");
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.send(method, path, &[("authorization", &bearer), ("content-type", "application/json")], &body)
    }

    /// A job that is done.
    pub(crate) fn done(&self, body: &Value) -> Value {
        let headers = [("content-type", "application/json"), ("prefer", "wait=120")];
        let answer = self.send("POST", "/v1/jobs", &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until a job is as it should be.
    pub(crate) fn until(&self, job: &Value, is_it: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        let begin = Instant::now();
        loop {
            let job = self.get(&path).json();
            if is_it(&job) {
                return job;
            }
            assert!(begin.elapsed() < Duration::from_secs(120), "{job}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A job of the model of this repository that takes so many steps.
pub(crate) fn fox(steps: usize) -> Value {
    json!({"prompt": "a fox", "steps": steps, "seed": 7})
}

/// Reads one answer from a connection.
pub(crate) fn read(stream: &mut TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader);
    let header =
        |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        reader.read_exact(&mut body).unwrap();
    } else if header("transfer-encoding").is_some() {
        while let Some(chunk) = read_chunk(&mut reader) {
            body.extend(chunk);
        }
    }
    Answer { status, headers, body }
}

/// The status and the headers.
pub(crate) fn read_head(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return (status, headers),
        }
    }
}

/// The next chunk of a body, if there is one.
pub(crate) fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let length = usize::from_str_radix(line.trim(), 16).ok()?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    (length > 0).then_some(chunk)
}

/// A stream of events.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
    text: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<u64>,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn open(server: &Running, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = server.connect();
        let mut head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n", server.address);
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader);
        assert_eq!(status, 200);
        assert!(
            headers.iter().any(|(name, value)| name == "content-type" && value == "text/event-stream"),
            "{headers:?}"
        );
        Self { reader, text: String::new() }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let event = field("event").map(|name| Event {
                    name: name.to_owned(),
                    id: field("id").map(|id| id.parse().unwrap()),
                    data: serde_json::from_str(field("data").unwrap_or("null")).unwrap(),
                });
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = read_chunk(&mut self.reader)?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
