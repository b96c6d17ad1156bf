//! A hub on this machine: it speaks the protocol over plain HTTP, counts what is asked, and fails as it is told to.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "helpers of several test programs")]

pub mod setting;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "1234567890abcdef1234567890abcdef12345678";
pub const OTHER_COMMIT: &str = "fedcba0987654321fedcba0987654321fedcba09";

pub const INDEX: &[u8] = br#"{"_class_name": "StableDiffusionPipeline"}"#;

/// What goes wrong with one answer.
#[derive(Clone)]
pub enum Fault {
    /// This status, with these headers, and nothing else.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// One byte of the body differs.
    Wrong,
    /// `Content-Length` is so many bytes more than the truth.
    Lie(i64),
    /// Chunks instead of a length.
    Chunked,
    /// Chunks, and so many bytes too many.
    ChunkedAndMore(usize),
    /// Half of the body, then nothing for so long.
    Stall(Duration),
    /// So many bytes of the body every 20 ms.
    Slow(usize),
    /// The whole file, whatever part was asked for.
    NoRange,
    /// The part that was asked for, but said to begin elsewhere.
    WrongRange,
    /// This body, as JSON.
    Body(Vec<u8>),
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

struct File {
    content: Vec<u8>,
    /// In large-file storage, with a redirect to the other server and a SHA-256.
    large: bool,
}

struct State {
    files: BTreeMap<String, File>,
    card: Value,
    commit: String,
    /// Where large files are.
    storage: String,
    /// Requests that begin so fail so, as often as said.
    faults: Vec<(String, usize, Fault)>,
    requests: Vec<Request>,
}

/// A server, which ends with the process.
#[derive(Clone)]
pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// A hub with one model, `org/name`, that has no files yet, and that stores large files itself.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            files: BTreeMap::new(),
            card: json!({"license": "creativeml-openrail-m"}),
            commit: COMMIT.to_owned(),
            storage: address.clone(),
            faults: Vec::new(),
            requests: Vec::new(),
        };
        let server = Self { address, state: Arc::new(Mutex::new(state)) };
        let shared = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let server = shared.clone();
                // A client that hangs up is a part of the tests.
                thread::spawn(move || stream.and_then(|stream| server.serve(stream)));
            }
        });
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A small file.
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.state().files.insert(path.to_owned(), File { content: content.into(), large: false });
        self
    }

    /// A file in large-file storage.
    pub fn large(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.state().files.insert(path.to_owned(), File { content: content.into(), large: true });
        self
    }

    /// What the model's card says.
    pub fn card(self, card: Value) -> Self {
        self.state().card = card;
        self
    }

    /// The commit that every revision is from now on.
    pub fn commit(&self, commit: &str) {
        self.state().commit = commit.to_owned();
    }

    /// Large files come from another server, which has the same files.
    pub fn stored_at(self, other: &Server) -> Self {
        {
            let (mut own, mut other_state) = (self.state(), other.state());
            own.storage.clone_from(&other.address);
            other_state.files.extend(
                own.files
                    .iter()
                    .map(|(path, file)| (path.clone(), File { content: file.content.clone(), large: file.large })),
            );
        }
        self
    }

    /// The next `times` requests that begin so, as `GET /stored/a`, fail.
    pub fn fail(&self, request: &str, times: usize, fault: Fault) {
        self.state().faults.push((request.to_owned(), times, fault));
    }

    /// All requests so far that begin so.
    pub fn requests(&self, beginning: &str) -> Vec<Request> {
        let state = self.state();
        let begins = |request: &&Request| format!("{} {}", request.method, request.path).starts_with(beginning);
        state.requests.iter().filter(begins).cloned().collect()
    }

    /// The parts of a file that were asked for so far; `-` for the whole.
    pub fn ranges(&self, beginning: &str) -> Vec<String> {
        let range = |request: Request| request.header("range").unwrap_or("-").to_owned();
        self.requests(beginning).into_iter().map(range).collect()
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let request = Request { method, path, headers };
        let (reply, fault) = {
            let mut state = self.state();
            state.requests.push(request.clone());
            let asked = format!("{} {}", request.method, request.path);
            let fault = state
                .faults
                .iter_mut()
                .find(|(beginning, times, _)| *times > 0 && asked.starts_with(beginning.as_str()));
            let fault = fault.map(|(_, times, fault)| {
                *times -= 1;
                fault.clone()
            });
            (state.reply(&request, fault.as_ref()), fault)
        };
        reply.send(stream, request.method == "HEAD", fault)
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn empty(status: u16, headers: Vec<(&'static str, String)>) -> Self {
        Self { status, headers, body: Vec::new() }
    }

    fn send(mut self, mut stream: TcpStream, head_only: bool, fault: Option<Fault>) -> std::io::Result<()> {
        let mut length = self.body.len() as i64;
        match &fault {
            Some(Fault::Wrong) => {
                if let Some(byte) = self.body.last_mut() {
                    *byte ^= 1;
                }
            }
            Some(Fault::Lie(more)) => length += more,
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} Reason\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let chunked = matches!(fault, Some(Fault::Chunked | Fault::ChunkedAndMore(_)));
        let framing =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {length}") };
        stream.write_all(format!("{head}{framing}\r\n\r\n").as_bytes())?;
        if head_only {
            return Ok(());
        }
        if let Some(Fault::ChunkedAndMore(more)) = fault {
            self.body.extend(vec![0; more]);
        }
        match fault {
            Some(Fault::Cut(after)) => stream.write_all(&self.body[..after.min(self.body.len())])?,
            Some(Fault::Stall(time)) => {
                stream.write_all(&self.body[..self.body.len() / 2])?;
                thread::sleep(time);
            }
            Some(Fault::Slow(bytes)) => {
                for piece in self.body.chunks(bytes) {
                    stream.write_all(piece)?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            _ if chunked => {
                for piece in self.body.chunks(1000) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    stream.write_all(piece)?;
                    stream.write_all(b"\r\n")?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
            _ => stream.write_all(&self.body)?,
        }
        stream.flush()
    }
}

impl State {
    fn reply(&self, request: &Request, fault: Option<&Fault>) -> Reply {
        match fault {
            Some(Fault::Status(status, headers)) => return Reply::empty(*status, headers.clone()),
            Some(Fault::Body(body)) => return Reply { status: 200, headers: Vec::new(), body: body.clone() },
            _ => {}
        }
        let path = request.path.split('?').next().unwrap();
        let not_found = |code: &str| Reply::empty(404, vec![("X-Error-Code", code.to_owned())]);
        if let Some(revision) = path.strip_prefix("/api/models/org/name/revision/") {
            if revision == "nowhere" {
                return not_found("RevisionNotFound");
            }
            return Reply { status: 200, headers: Vec::new(), body: self.info().to_string().into_bytes() };
        }
        if let Some(path) = path.strip_prefix(&format!("/org/name/resolve/{}/", self.commit)) {
            return self
                .files
                .get(&unescape(path))
                .map_or_else(|| not_found("EntryNotFound"), |file| self.resolve(path, file, request, fault));
        }
        if let Some(path) = path.strip_prefix("/stored/") {
            return self
                .files
                .get(&unescape(path))
                .map_or_else(|| not_found(""), |file| content(&file.content, request, fault));
        }
        // huggingface_hub resolves branches too.
        if let Some(path) = path.strip_prefix("/org/name/resolve/main/") {
            return self
                .files
                .get(&unescape(path))
                .map_or_else(|| not_found("EntryNotFound"), |file| self.resolve(path, file, request, fault));
        }
        Reply::empty(401, vec![("X-Error-Code", "RepoNotFound".to_owned())])
    }

    fn info(&self) -> Value {
        let siblings: Vec<Value> =
            self.files.iter().map(|(path, file)| json!({"rfilename": path, "size": file.content.len()})).collect();
        json!({"id": "org/name", "modelId": "org/name", "sha": self.commit, "private": false, "gated": false, "disabled": false,
            "tags": ["diffusers"], "downloads": 0, "likes": 0, "siblings": siblings, "cardData": self.card})
    }

    fn resolve(&self, escaped: &str, file: &File, request: &Request, fault: Option<&Fault>) -> Reply {
        let commit = ("X-Repo-Commit", self.commit.clone());
        if !file.large {
            let etag = ("ETag", format!("\"{}\"", git_sha1(&file.content)));
            let mut reply = content(&file.content, request, fault);
            reply.headers.extend([commit, etag]);
            return reply;
        }
        let headers = vec![
            commit,
            ("ETag", "\"another\"".to_owned()),
            ("X-Linked-Etag", format!("\"{}\"", sha256(&file.content))),
            ("X-Linked-Size", file.content.len().to_string()),
            ("Location", format!("{}/stored/{escaped}?signature=secret", self.storage)),
        ];
        Reply::empty(302, headers)
    }
}

/// A file, or the part of it that is asked for.
fn content(content: &[u8], request: &Request, fault: Option<&Fault>) -> Reply {
    let from = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        Some(from) if !matches!(fault, Some(Fault::NoRange)) => {
            if from >= content.len() {
                return Reply::empty(416, vec![("Content-Range", format!("bytes */{}", content.len()))]);
            }
            let said = if matches!(fault, Some(Fault::WrongRange)) { from + 1 } else { from };
            let range = format!("bytes {said}-{}/{}", content.len() - 1, content.len());
            Reply { status: 206, headers: vec![("Content-Range", range)], body: content[from..].to_vec() }
        }
        _ => Reply { status: 200, headers: Vec::new(), body: content.to_vec() },
    }
}

fn unescape(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).ok(),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap()
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub fn git_sha1(content: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes that differ from each other.
pub fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|i| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[usize::from(seed) % 3]).collect()
}

/// A diffusers folder with files that only look like a model.
pub fn folder() -> Server {
    Server::start()
        .file("README.md", "# A model")
        .file("model_index.json", INDEX)
        .file("scheduler/scheduler_config.json", "{}")
        .file("tokenizer/vocab.json", "{}")
        .file("tokenizer/merges.txt", "")
        .file("text_encoder/config.json", "{}")
        .large("text_encoder/model.safetensors", bytes(3_000, 0))
        .file("unet/config.json", "{}")
        .large("unet/diffusion_pytorch_model.safetensors", bytes(400_000, 1))
        .large("unet/diffusion_pytorch_model.bin", bytes(10, 1))
        .file("vae/config.json", "{ }")
        .large("vae/diffusion_pytorch_model.safetensors", bytes(2_000, 2))
}
