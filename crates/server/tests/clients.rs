//! Requests of real clients, as they were recorded, are met.
//!
//! Those of `webuiapi` and of OpenAI's clients and the AI SDK are what these programs sent; those of Open WebUI, SillyTavern and Dify were
//! written by their sources. `.ci/clients` drives the programs themselves.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_image::decode;
use serde_json::Value;

use crate::common::{Answer, start};

const REQUESTS: &str = include_str!("fixtures/requests.jsonl");

fn body(request: &Value) -> Vec<u8> {
    match (&request["json"], &request["text"], &request["base64"]) {
        (Value::Null, Value::Null, Value::Null) => Vec::new(),
        (Value::Null, Value::Null, base64) => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
        (Value::Null, text, _) => text.as_str().unwrap().as_bytes().to_vec(),
        (json, ..) => json.to_string().into_bytes(),
    }
}

fn is_image(base64: &Value) -> bool {
    decode(&STANDARD.decode(base64.as_str().unwrap_or_default()).unwrap(), &Default::default()).is_ok()
}

/// What clients take an answer apart by.
fn check(what: &str, path: &str, answer: &Answer) {
    if answer.header("content-type") == Some("text/event-stream") {
        let text = answer.text();
        assert!(text.contains("completed") && !text.contains("\"error\""), "{what}: {text}");
        return;
    }
    let json = answer.json();
    match path {
        _ if path.starts_with("/v1/images/") => {
            let data = json["data"].as_array().unwrap();
            assert!(!data.is_empty() && data.iter().all(|datum| is_image(&datum["b64_json"])), "{what}");
        }
        "/sdapi/v1/txt2img" | "/sdapi/v1/img2img" => {
            assert!(json["images"].as_array().unwrap().iter().all(is_image), "{what}");
            let info: Value = serde_json::from_str(json["info"].as_str().unwrap()).unwrap();
            assert!(info["seed"].is_u64() && json["parameters"].is_object(), "{what}");
        }
        "/sdapi/v1/extra-single-image" => assert!(is_image(&json["image"]), "{what}"),
        "/sdapi/v1/extra-batch-images" => assert!(json["images"].as_array().unwrap().iter().all(is_image), "{what}"),
        _ => {}
    }
}

#[test]
fn requests_of_real_clients_are_met() {
    let server = start();
    let mut count = 0;
    for line in REQUESTS.lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| request[name].as_str().unwrap();
        let what = format!("{}: {}", text("client"), text("what"));
        let headers: Vec<(&str, &str)> = request["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let answer = server.send(text("method"), text("path"), &headers, &body(&request));
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        check(&what, text("path"), &answer);
        count += 1;
    }
    assert!(count > 50);
}
