//! Whether a server grows: `cargo run --release -p calotype-server --features builtin --example soak -- target/release/calotype [SECONDS]`.
//!
//! Starts the program as a server, asks it for an hour, or so long, for everything that its clients ask for, also what is refused, cancelled or
//! broken off, and looks at its memory and its open files. Both must stay as they are after the first tenth. Linux only: it reads `/proc`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "this is an example, and what it prints is what it is for"
)]

#[path = "../tests/common/client.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod client;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use calotype_image::{RgbImage, encode_png};
use client::{Answer, Events, connect, send, serving_address};
use serde_json::{Value, json};

/// How often something is asked for, and how often the server is looked at.
const PAUSE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_secs(10);
/// What a server that does not grow may still take: 16 MB of its queue's file are kept in memory as it fills, and the allocator keeps
/// some of what is freed.
const SLACK_MB: f64 = 32.0;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let program = args.next().unwrap_or_else(|| "target/release/calotype".to_owned());
    let duration = Duration::from_secs(args.next().map_or(3600, |text| text.parse().unwrap()));
    let data = tempfile::TempDir::new().unwrap();
    let mut child = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"])
        .arg(data.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut child = Serving(child);
    let first = lines.next().unwrap().unwrap();
    let address = serving_address(&first).unwrap();
    thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("server: {line}")));
    let looks = soak(address, &child.0, duration);
    let told = Command::new("kill").arg(child.0.id().to_string()).status().unwrap();
    let ended = child.0.wait().unwrap();
    assert!(told.success() && ended.success(), "the server ended with {ended}");
    verdict(&looks)
}

/// The server, which ends with this program whatever happens.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

/// Resident memory in MB, open files, and what was asked for until then.
#[derive(Clone, Copy)]
struct Look {
    seconds: f64,
    memory: f64,
    files: usize,
    turns: usize,
}

fn soak(address: SocketAddr, child: &Child, duration: Duration) -> Vec<Look> {
    let begin = Instant::now();
    let (mut looks, mut turns): (Vec<Look>, usize) = (Vec::new(), 0);
    while begin.elapsed() < duration {
        turn(address, turns);
        turns += 1;
        if looks.len() as f64 * LOOK.as_secs_f64() <= begin.elapsed().as_secs_f64() {
            let look = look(child, begin.elapsed().as_secs_f64(), turns);
            if looks.len().is_multiple_of(30) {
                let Look { seconds, memory, files, turns } = look;
                println!("{seconds:6.0} s  {turns:6} requests  {memory:7.1} MB  {files:3} files");
            }
            looks.push(look);
        }
        thread::sleep(PAUSE);
    }
    looks
}

fn look(child: &Child, seconds: f64, turns: usize) -> Look {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = memory.trim().trim_end_matches("kB").trim().parse().unwrap();
    let files = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    Look { seconds, memory: kib / 1024.0, files, turns }
}

/// What one client does.
fn turn(address: SocketAddr, number: usize) {
    let post = |path: &str, body: &Value, more: &[(&str, &str)]| -> Answer {
        let headers = [&[("content-type", "application/json")], more].concat();
        send(address, "POST", path, &headers, body.to_string().as_bytes()).unwrap()
    };
    let get = |path: &str| send(address, "GET", path, &[], b"").unwrap();
    let job =
        json!({"prompt": format!("a fox, number {number}"), "steps": 2, "width": 64, "height": 64, "seed": number});
    let wait = [("prefer", "wait=60")];
    match number % 12 {
        0 => {
            let done = post("/v1/jobs", &job, &wait).json();
            assert_eq!(get(done["results"][0]["url"].as_str().unwrap()).status, 200);
        }
        1 => {
            let id = post("/v1/jobs", &json!({"prompt": "a cat", "steps": 150}), &[]).json()["id"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(send(address, "DELETE", &format!("/v1/jobs/{id}"), &[], b"").unwrap().status, 200);
        }
        2 => assert_eq!(post("/sdapi/v1/txt2img", &job, &[]).status, 200),
        3 => {
            let body = json!({"prompt": "a dog", "size": "64x64", "steps": 2, "n": 2});
            assert_eq!(post("/v1/images/generations", &body, &[]).status, 200);
        }
        4 => {
            let shade = (number % 251) as u8;
            let png = encode_png(&RgbImage::filled(64, 64, [shade, 90, 200]), &[]).unwrap();
            let blob = send(address, "POST", "/v1/blobs", &[("content-type", "image/png")], &png).unwrap().json();
            let mut body = job;
            body["init"] = json!({"picture": {"blob": blob["blob"]}, "strength": 0.6});
            assert_eq!(post("/v1/jobs", &body, &wait).json()["state"], "succeeded");
        }
        5 => {
            // A listener that goes away in the middle.
            let mut events = Events::open(address, "/v1/events", &[]);
            post("/v1/jobs", &job, &wait);
            assert!(events.next().is_some());
        }
        6 => {
            assert_eq!(post("/v1/jobs", &json!({"prompt": "a fox", "steps": 0}), &[]).status, 422);
            assert_eq!(post("/v1/jobs", &json!({"prompt": 7}), &[]).status, 422);
            assert_eq!(get("/v1/jobs/j_none").status, 404);
        }
        7 => ["/v1/jobs?limit=50", "/metrics", "/openapi.json", "/", "/sdapi/v1/progress", "/v1/models", "/readyz"]
            .iter()
            .for_each(|path| assert_eq!(get(path).status, 200, "{path}")),
        8 => {
            let key = number.to_string();
            let twice = [0, 1].map(|_| post("/v1/jobs", &job, &[("idempotency-key", &key)]).json()["id"].clone());
            assert_eq!(twice[0], twice[1]);
        }
        9 => {
            // A body that breaks off.
            let mut stream = connect(address).unwrap();
            let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"pro";
            stream.write_all(head.as_bytes()).unwrap();
        }
        10 => {
            let jobs = get("/v1/jobs?state=succeeded&limit=1").json();
            let id = jobs["jobs"][0]["id"].as_str().unwrap();
            drop(send(address, "DELETE", &format!("/v1/jobs/{id}"), &[], b"").unwrap());
        }
        _ => {
            // Who does not wait for the answer.
            let mut stream = connect(address).unwrap();
            let body = job.to_string();
            let head = format!(
                "POST /sdapi/v1/txt2img HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
        }
    }
}

/// Compares the second tenth of the time with the last.
fn verdict(looks: &[Look]) -> ExitCode {
    let tenth = looks.len() / 10;
    if tenth == 0 {
        println!("too short to tell: give at least {} seconds", 10 * LOOK.as_secs());
        return ExitCode::FAILURE;
    }
    let median = |part: &[Look], of: fn(&Look) -> f64| {
        let mut values: Vec<f64> = part.iter().map(of).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (early, late) =
        (looks.iter().copied().skip(tenth).take(tenth).collect::<Vec<_>>(), &looks[looks.len() - tenth..]);
    let memory = [median(&early, |look| look.memory), median(late, |look| look.memory)];
    let files = [median(&early, |look| look.files as f64), median(late, |look| look.files as f64)];
    println!(
        "memory {:.1} MB after a tenth of the time, {:.1} MB at the end; open files {} and {}",
        memory[0], memory[1], files[0], files[1]
    );
    let grows = memory[1] > memory[0] + SLACK_MB || files[1] > files[0] + 2.0;
    println!("{}", if grows { "it grows" } else { "it does not grow" });
    if grows { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
