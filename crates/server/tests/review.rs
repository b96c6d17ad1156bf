//! Images that a policy holds, blurs and blocks, on their way through the server.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;

use calotype_server::{KeyStore, NewKey, Scope};
use serde_json::{Value, json};

use crate::{
    classifier::classifier,
    common::{Running, fox, start_with_keys},
};

/// A server whose policy does `action` with every image; the secrets of alice, and of a reviewer.
fn start(action: &str) -> (Running, String, String) {
    let models = tempfile::TempDir::new().unwrap();
    classifier(&models.path().join("vit"), 5.0);
    let policy = models.path().join("policy.toml");
    let text = format!(
        "[[classifier]]\nid = \"vit\"\nkind = \"vit\"\npath = \"vit\"\n[[score]]\nclassifier = \"vit\"\nscore = \"nsfw\"\nblock = 0.9\naction = \"{action}\"\n"
    );
    fs::write(&policy, text).unwrap();
    let rules = models.path().join("rules.toml");
    fs::write(&rules, "[[deny]]\nid = \"weapons\"\nword = \"grenade\"\n").unwrap();
    let (server, [_, alice, _]) = start_with_keys(|config| {
        config.safety.policy = Some(policy.display().to_string());
        config.safety.rules = Some(rules);
    });
    let store = KeyStore::open(server.folder.as_ref().unwrap().path()).unwrap();
    let scopes = vec![Scope::Review, Scope::Audit];
    let reviewer = store.new_key(NewKey { name: "reviewer".to_owned(), scopes, ..NewKey::default() }).unwrap().1;
    (server, alice, reviewer)
}

/// Sends a job and waits until it is over or held.
fn done(server: &Running, key: &str) -> Value {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("prefer", "wait=120")];
    server.send("POST", "/v1/jobs", &headers, fox(2).to_string().as_bytes()).json()
}

fn path(job: &Value, rest: &str) -> String {
    format!("/v1/jobs/{}{rest}", job["id"].as_str().unwrap())
}

fn audit(server: &Running, reviewer: &str) -> Vec<String> {
    let lines = server.as_key(reviewer, "GET", "/v1/audit", None).json();
    lines["lines"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn held_images_wait_for_a_person() {
    let (server, alice, reviewer) = start("hold");
    let [first, second] = [done(&server, &alice), done(&server, &alice)];
    assert_eq!((&first["state"], &first["results"]), (&json!("held"), &json!([])));
    assert!(first["held"]["reason"]["images"][0]["verdict"]["action"] == "hold", "{first}");
    assert_eq!(server.as_key(&alice, "GET", &path(&first, "/results/0"), None).status, 404);
    assert_eq!(server.as_key(&alice, "GET", "/v1/review", None).status, 403);

    let held = server.as_key(&reviewer, "GET", "/v1/review", None).json()["held"].clone();
    assert_eq!(
        (held.as_array().unwrap().len(), &held[0]["job"], &held[0]["prompt"]),
        (2, &first["id"], &json!("a fox"))
    );
    let blurred = server.as_key(&reviewer, "GET", held[0]["blurred"].as_str().unwrap(), None);
    assert_eq!((blurred.status, blurred.header("content-type")), (200, Some("image/jpeg")));
    let original = server.as_key(&reviewer, "GET", held[0]["original"].as_str().unwrap(), None);
    assert_eq!((original.status, original.header("content-type")), (200, Some("image/png")));

    let decide = |job: &Value, decision: &str, key: &str| {
        let path = format!("/v1/review/{}", job["id"].as_str().unwrap());
        server.as_key(key, "POST", &path, Some(&json!({"decision": decision, "reason": "looked at"})))
    };
    assert_eq!(decide(&first, "release", &alice).status, 403);
    assert_eq!(decide(&first, "perhaps", &reviewer).status, 422);
    assert_eq!(decide(&first, "release", &reviewer).json()["state"], "succeeded");
    assert_eq!(decide(&second, "reject", &reviewer).json()["state"], "rejected");
    assert_eq!(decide(&first, "reject", &reviewer).code(), "wrong_state");
    assert_eq!(server.as_key(&alice, "GET", &path(&first, "/results/0"), None).body, original.body);
    assert_eq!(server.as_key(&alice, "GET", &path(&second, "/results/0"), None).status, 404);
    assert_eq!(server.as_key(&reviewer, "GET", held[0]["original"].as_str().unwrap(), None).status, 404);
    assert_eq!(server.as_key(&reviewer, "GET", "/v1/review", None).json()["held"], json!([]));
    assert_eq!(audit(&server, &reviewer), ["rejected", "released", "held", "held"]);
    // Nothing of what was rejected is left.
    let folder = server.folder.as_ref().unwrap().path();
    let files = |name: &str| walk(&folder.join(name));
    assert_eq!((files("held"), files("results")), (0, 1));
}

fn walk(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
}

#[test]
fn what_is_blocked_is_nowhere_and_what_is_blurred_is_blurred() {
    let (server, alice, reviewer) = start("block");
    let job = done(&server, &alice);
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("image_blocked")));
    assert_eq!(walk(&server.folder.as_ref().unwrap().path().join("results")), 0);
    assert_eq!(audit(&server, &reviewer), ["refused"]);

    let (server, alice, _) = start("blur");
    let job = done(&server, &alice);
    assert_eq!((&job["state"], &job["results"][0]["verdict"]), (&json!("succeeded"), &json!("blur")));
    let file = server.as_key(&alice, "GET", &path(&job, "/results/0"), None).body;
    let image = calotype_image::decode(&file, &calotype_image::Limits::default()).unwrap();
    // A blurred image has no edges.
    let steps = image.data().chunks_exact(3).zip(image.data()[3..].chunks_exact(3));
    let largest = steps.enumerate().filter(|(at, _)| (at + 1) % 64 != 0).map(|(_, (a, b))| a[0].abs_diff(b[0])).max();
    assert!(largest < Some(60), "{largest:?}");
}

#[test]
fn words_and_images_to_start_from_are_refused() {
    let (server, alice, reviewer) = start("block");
    let refused =
        server.as_key(&alice, "POST", "/v1/jobs", Some(&json!({"prompt": "a gre(nade:1.1)", "prompt_style": "a1111"})));
    assert_eq!((refused.status, refused.code()), (403, "prompt_refused".to_owned()));
    assert!(!refused.text().contains("grenade"));
    let png = calotype_image::encode_png(&calotype::RgbImage::filled(64, 64, [9, 90, 200]), &[]).unwrap();
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &png);
    let mut body = fox(2);
    body["init"] = json!({"picture": {"data": data}});
    let job = server.as_key(&alice, "POST", "/v1/jobs", Some(&body)).json();
    let begin = std::time::Instant::now();
    let failed = loop {
        let job = server.as_key(&alice, "GET", &path(&job, ""), None).json();
        if job["state"] == "failed" {
            break job;
        }
        assert!(begin.elapsed().as_secs() < 60, "{job}");
    };
    assert_eq!(failed["error"]["code"], "image_refused");
    assert_eq!(audit(&server, &reviewer), ["refused", "refused"]);
}
