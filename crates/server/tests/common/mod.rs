//! A server in this process on a port of its own.

#![allow(dead_code, unused_imports, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod client;

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use calotype_server::{Config, KeyStore, NewKey, Scope, Server};
use serde_json::Value;
use tempfile::TempDir;

#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use client::{Answer, Events, connect, fox, read, send};

/// A server, which ends when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
    pub(crate) folder: Option<TempDir>,
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
        connect(self.address).unwrap()
    }

    /// Sends these bytes, and reads one answer.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read(&mut stream).unwrap()
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.address, method, path, headers, body).unwrap()
    }

    pub(crate) fn events(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        Events::open(self.address, path, headers)
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
