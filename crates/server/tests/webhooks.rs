//! Others are told of jobs, signed, and again if they do not answer.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    io::{BufReader, Read, Write},
    net::TcpListener,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::common::{config, fox, start_with};

/// Takes a message, and answers it with a status.
fn take(listener: &TcpListener, status: u16) -> (Vec<(String, String)>, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    assert_eq!(line, "POST /told HTTP/1.1\r\n");
    let mut headers = Vec::new();
    loop {
        line.clear();
        std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    (headers, body)
}

#[test]
fn a_job_that_is_over_is_told_until_somebody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let key = [7; 24];
    let folder = tempfile::TempDir::new().unwrap();
    let mut with = config(folder.path());
    with.webhooks.hosts = vec![host.clone()];
    with.webhooks.secret = format!("whsec_{}", STANDARD.encode(key));
    with.webhooks.allow_local = true;
    let mut server = start_with(with.clone());
    for (url, problem) in
        [("https://evil.example/", "is not among those"), ("file:///etc/passwd", "expected an address")]
    {
        let refused = server.post("/v1/jobs", &json!({"prompt": "x", "webhook": url}));
        assert_eq!((refused.status, refused.json()["param"].as_str()), (422, Some("webhook")));
        assert!(refused.text().contains(problem), "{}", refused.text());
    }
    let mut body = fox(1);
    body["webhook"] = json!(format!("http://{host}/told"));
    let job = server.post("/v1/jobs", &body).json();
    take(&listener, 500);
    // What is not told yet outlives the process.
    server.until(&job, |job| job["state"] == "succeeded");
    server.stop();
    let _server = start_with(with);
    let (headers, body) = take(&listener, 204);
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).unwrap().1.as_str();
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&told["type"], &told["data"]["id"]), (&json!("job.succeeded"), &job["id"]));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&body);
    assert_eq!(header("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
}

#[test]
fn without_hosts_nobody_is_told() {
    let server = crate::common::start();
    let refused = server.post("/v1/jobs", &json!({"prompt": "x", "webhook": "https://example.com/"}));
    assert!(refused.status == 422 && refused.text().contains("tells nobody"));
    let folder = tempfile::TempDir::new().unwrap();
    let mut with = config(folder.path());
    with.webhooks.hosts = vec!["example.com".to_owned()];
    let error = calotype_server::Server::open(with).err().unwrap().to_string();
    assert!(error.contains("expected whsec_"), "{error}");
}
