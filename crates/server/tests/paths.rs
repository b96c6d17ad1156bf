//! Names of strangers never become paths: thousands of spellings in every member that is a name, and in every address.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::io::Write;

use serde_json::{Value, json};

use crate::common::{fox, start};

/// Ways to write a file that is not to be opened.
fn payloads() -> Vec<String> {
    let ups = [
        "..",
        "%2e%2e",
        "%252e%252e",
        "..%00",
        ".\u{2024}",
        "\u{ff0e}\u{ff0e}",
        "....//",
        "..;",
        "\\..",
        "%c0%ae%c0%ae",
        "~",
        "file:",
    ];
    let separators = ["/", "\\", "%2f", "%5c", "%252f", "//", "/./", "\u{2215}", "\u{ff0f}"];
    let files = [
        "etc/passwd",
        "proc/self/environ",
        "keys.json",
        "secret",
        "queue.redb",
        "windows/win.ini",
        "C:\\boot.ini",
        "\\\\host\\share",
        "CON",
        "nul",
    ];
    let mut all = Vec::new();
    for up in ups {
        for separator in separators {
            for file in files {
                for depth in [1, 4] {
                    all.push(format!("{}{file}", format!("{up}{separator}").repeat(depth)));
                }
            }
        }
    }
    all.extend([
        String::new(),
        "/".to_owned(),
        ".".to_owned(),
        "\0".to_owned(),
        "a\0b".to_owned(),
        "x".repeat(4096),
        "/etc/passwd".to_owned(),
    ]);
    all
}

#[test]
fn names_are_not_paths() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = crate::common::config(folder.path());
    config.http.requests_per_minute = u32::MAX;
    let server = crate::common::start_with(config);
    let data = folder.path().display().to_string();
    let mut tried = 0;
    for payload in payloads() {
        let with = |name: &str, value: Value| {
            let mut body = fox(1);
            body[name] = value;
            server.post("/v1/jobs", &body)
        };
        let answers = [
            with("model", json!(payload)),
            with("vae", json!(payload)),
            with("sampler", json!(payload)),
            with("init", json!({"picture": {"blob": payload}})),
            with("init", json!({"picture": {"result": payload}})),
            with("adapters", json!([{"kind": "embedding", "name": "x", "file": payload}])),
        ];
        for (at, answer) in answers.iter().enumerate() {
            tried += 1;
            // An empty name is none of these.
            assert!(matches!(answer.status, 404 | 422), "{at} {payload:?}: {} {}", answer.status, answer.text());
            let said = answer.text();
            assert!(!said.contains(&data) && !said.contains("root:") && !said.contains("os error"), "{said}");
        }
    }
    assert!(tried >= 5000, "{tried}");
    assert_eq!(server.get("/v1/jobs").json()["jobs"], json!([]));
}

#[test]
fn addresses_are_not_paths() {
    let server = start();
    for payload in payloads() {
        let escaped: String = payload.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let plain = payload.chars().all(|c| c.is_ascii_graphic());
        let spellings = [Some(escaped), plain.then(|| payload.clone())];
        for text in spellings.into_iter().flatten().filter(|text| !text.is_empty() && text.len() < 4096) {
            for prefix in ["/", "/web/", "/v1/jobs/", "/v1/blobs/", "/v1/review/"] {
                let mut stream = server.connect();
                let head =
                    format!("GET {prefix}{text} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address);
                stream.write_all(head.as_bytes()).unwrap();
                let Ok(answer) = crate::common::read(&mut stream) else { continue };
                let is_page = prefix == "/" && answer.status == 200 && answer.text().starts_with("<!doctype html>");
                assert!(is_page || matches!(answer.status, 400 | 404 | 405 | 422), "{prefix}{text}: {}", answer.status);
                assert!(!answer.text().contains("root:x"), "{prefix}{text}");
            }
        }
    }
}
