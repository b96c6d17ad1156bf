//! How much a server bears: `cargo run --release -p calotype-server --features builtin --example load`.
//!
//! Prints requests a second of cheap routes, the time of refusals at ten times of what the queue takes, the time from a job's arrival to
//! its first step, and images an hour beside those of the same engine without HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "this is an example, and what it prints is what it is for"
)]

#[path = "../tests/common/client.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod client;

use std::{
    net::SocketAddr,
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use calotype::{Event, Model, Pipeline, PipelineOptions, Request, fastest_precision};
use calotype_server::{Config, Server};
use client::{Events, send};
use serde_json::json;

const CLIENTS: usize = 16;

fn main() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = Config { data: folder.path().to_owned(), disk_floor_mb: 0, max_queued: 20, ..Config::default() };
    config.listen.set_port(0);
    config.http.requests_per_minute = u32::MAX;
    let server = Server::open(config).unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let serving = thread::spawn(move || {
        server.run_until(async move {
            let wait = move || stopped.recv().is_ok();
            drop(tokio::task::spawn_blocking(wait).await);
        })
    });
    cheap_routes(address);
    refusals(address);
    first_step(address);
    images_an_hour(address);
    drop(stop);
    serving.join().unwrap();
}

/// Each request on a connection of its own.
fn cheap_routes(address: SocketAddr) {
    for path in ["/livez", "/v1/samplers", "/v1/jobs"] {
        let times = from_all(Duration::from_secs(3), || send(address, "GET", path, &[], b"").unwrap().status == 200);
        println!(
            "{path}: {:.0} requests a second, p50 {:.1} ms, p99 {:.1} ms",
            times.len() as f64 / 3.0,
            of(&times, 0.5),
            of(&times, 0.99)
        );
    }
}

/// What comes beyond the queue's limit.
fn refusals(address: SocketAddr) {
    let body = json!({"prompt": "a fox", "steps": 20}).to_string();
    let headers = [("content-type", "application/json")];
    let times = from_all(Duration::from_secs(10), || {
        send(address, "POST", "/v1/jobs", &headers, body.as_bytes()).unwrap().status == 429
    });
    println!(
        "refusals by {CLIENTS} clients at once: {} in 10 s, p50 {:.1} ms, p99 {:.1} ms",
        times.len(),
        of(&times, 0.5),
        of(&times, 0.99)
    );
    let list = send(address, "GET", "/v1/jobs?limit=500", &[], b"").unwrap().json();
    for job in list["jobs"].as_array().unwrap() {
        drop(send(address, "DELETE", &format!("/v1/jobs/{}", job["id"].as_str().unwrap()), &[], b""));
    }
    thread::sleep(Duration::from_secs(1));
}

/// From the request to the event of the first step, on a server that does nothing.
fn first_step(address: SocketAddr) {
    let headers = [("content-type", "application/json")];
    let mut times = Vec::new();
    for seed in 0..30 {
        let mut events = Events::open(address, "/v1/events", &[]);
        let body = json!({"prompt": "a fox", "steps": 8, "seed": seed}).to_string();
        let begin = Instant::now();
        send(address, "POST", "/v1/jobs", &headers, body.as_bytes()).unwrap();
        events.find(|event| event.data["state"] == "leased").unwrap();
        let claimed = Instant::now();
        events.find(|event| event.data["progress"]["step"].as_u64() >= Some(1)).unwrap();
        times.push((claimed - begin, claimed.elapsed()));
        events.find(|event| event.data["state"] == "succeeded").unwrap();
    }
    let (arrival, step): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    println!("from the request to the claim: p50 {:.1} ms, p99 {:.1} ms", of(&arrival, 0.5), of(&arrival, 0.99));
    println!(
        "from the claim to the end of the first step: p50 {:.1} ms, p99 {:.1} ms",
        of(&step, 0.5),
        of(&step, 0.99)
    );
    let pipeline = pipeline();
    let straight = |seed| {
        let request = Request { num_inference_steps: 8, seed, ..Request::new("a fox") };
        let begin = Instant::now();
        let mut run = pipeline.generate(request).unwrap();
        run.by_ref().map(Result::unwrap).find(|event| matches!(event, Event::Step(_))).unwrap();
        begin.elapsed()
    };
    let straight: Vec<Duration> = (0..30).map(straight).collect();
    println!("of which a pipeline by itself takes p50 {:.1} ms, p99 {:.1} ms", of(&straight, 0.5), of(&straight, 0.99));
}

/// A pipeline that keeps everything in memory.
fn pipeline() -> Pipeline {
    let options =
        PipelineOptions { precision: fastest_precision().unwrap(), keep: calotype::Keep::All, ..Default::default() };
    Pipeline::load(Model::built_in().unwrap(), options).unwrap()
}

/// Images of 256 x 256 in 20 steps, through the server and straight from a pipeline that keeps everything in memory, in turns.
fn images_an_hour(address: SocketAddr) {
    const IMAGES: u64 = 10;
    let pipeline = pipeline();
    let request =
        |seed| Request { num_inference_steps: 20, width: Some(256), height: Some(256), seed, ..Request::new("a fox") };
    let (mut served, mut straight) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let begin = Instant::now();
        for seed in 0..IMAGES {
            let mut run = pipeline.generate(request(round * IMAGES + seed)).unwrap();
            run.by_ref().for_each(|event| drop::<Event>(event.unwrap()));
            drop(run.finish().unwrap().images[0].to_png().unwrap());
        }
        straight.push(begin.elapsed());
        let begin = Instant::now();
        let headers = [("content-type", "application/json"), ("prefer", "wait=100")];
        // As a client that has the next job ready sends it.
        thread::scope(|scope| {
            for seed in 0..IMAGES {
                scope.spawn(move || {
                    let body = json!({"prompt": "a fox", "steps": 20, "width": 256, "height": 256, "seed": round * IMAGES + seed});
                    let answer = send(address, "POST", "/v1/jobs", &headers, body.to_string().as_bytes()).unwrap();
                    assert_eq!(answer.json()["state"], "succeeded");
                });
            }
        });
        served.push(begin.elapsed());
    }
    let an_hour = |times: &[Duration]| IMAGES as f64 * 3600.0 / (of(times, 0.5) / 1e3);
    let (served, straight) = (an_hour(&served), an_hour(&straight));
    println!(
        "images an hour: {served:.0} through the server, {straight:.0} straight: {:.3} of it (with watermark and audit log)",
        served / straight
    );
}

/// The times of what `ask` says is to be counted, by many clients for so long.
fn from_all(for_so_long: Duration, ask: impl Fn() -> bool + Sync) -> Vec<Duration> {
    let (times, end) = (Mutex::new(Vec::new()), Instant::now() + for_so_long);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while Instant::now() < end {
                    let begin = Instant::now();
                    if ask() {
                        times.lock().unwrap().push(begin.elapsed());
                    }
                }
            });
        }
    });
    times.into_inner().unwrap()
}

/// The quantile of times, in milliseconds.
fn of(times: &[Duration], quantile: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = ((sorted.len() as f64 - 1.0) * quantile).round().max(0.0) as usize;
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
