//! Who may do what: the matrix is made from the description of the API, so that no route is forgotten.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_server::{KeyStore, NewKey, Scope};
use serde_json::{Value, json};

use crate::common::{Events, Running, fox, start, start_with_keys};

/// Routes that need no key, and what scope the others need.
const SCOPES: &[(&str, &str, Option<Scope>)] = &[
    ("get", "/livez", None),
    ("get", "/readyz", None),
    ("get", "/startupz", None),
    ("get", "/v1/session", None),
    ("post", "/v1/session", None),
    ("delete", "/v1/session", None),
    ("get", "/v1/blobs/{id}/{n}", None),
    ("post", "/v1/jobs", Some(Scope::Generate)),
    ("get", "/v1/jobs", Some(Scope::Read)),
    ("post", "/v1/jobs/estimate", Some(Scope::Generate)),
    ("get", "/v1/jobs/{id}", Some(Scope::Read)),
    ("delete", "/v1/jobs/{id}", Some(Scope::Generate)),
    ("post", "/v1/jobs/{id}/retry", Some(Scope::Generate)),
    ("post", "/v1/jobs/{id}/move", Some(Scope::Generate)),
    ("get", "/v1/jobs/{id}/events", Some(Scope::Read)),
    ("get", "/v1/events", Some(Scope::Read)),
    ("get", "/v1/jobs/{id}/results/{n}", Some(Scope::Read)),
    ("get", "/v1/jobs/{id}/preview", Some(Scope::Read)),
    ("get", "/v1/jobs/{id}/inputs/{sha256}", Some(Scope::Read)),
    ("post", "/v1/blobs", Some(Scope::Generate)),
    ("post", "/v1/png-info", Some(Scope::Read)),
    ("get", "/v1/models", Some(Scope::Read)),
    ("get", "/v1/samplers", Some(Scope::Read)),
    ("get", "/v1/schedulers", Some(Scope::Read)),
    ("get", "/v1/upscalers", Some(Scope::Read)),
    ("get", "/v1/adapters", Some(Scope::Read)),
    ("get", "/v1/styles", Some(Scope::Read)),
    ("get", "/v1/review", Some(Scope::Review)),
    ("post", "/v1/review/{id}", Some(Scope::Review)),
    ("get", "/v1/review/{id}/{n}/blurred", Some(Scope::Review)),
    ("get", "/v1/review/{id}/{n}/original", Some(Scope::Review)),
    ("get", "/v1/audit", Some(Scope::Audit)),
    ("get", "/v1/keys", Some(Scope::Admin)),
    ("post", "/v1/keys", Some(Scope::Admin)),
    ("delete", "/v1/keys/{id}", Some(Scope::Admin)),
    ("get", "/sdapi/v1/progress", Some(Scope::Read)),
    ("get", "/sdapi/v1/options", Some(Scope::Read)),
    ("get", "/sdapi/v1/sd-models", Some(Scope::Read)),
    ("get", "/sdapi/v1/sd-vae", Some(Scope::Read)),
    ("get", "/sdapi/v1/loras", Some(Scope::Read)),
    ("get", "/sdapi/v1/hypernetworks", Some(Scope::Read)),
    ("get", "/sdapi/v1/embeddings", Some(Scope::Read)),
    ("get", "/sdapi/v1/samplers", Some(Scope::Read)),
    ("get", "/sdapi/v1/schedulers", Some(Scope::Read)),
    ("get", "/sdapi/v1/upscalers", Some(Scope::Read)),
    ("get", "/sdapi/v1/latent-upscale-modes", Some(Scope::Read)),
    ("get", "/sdapi/v1/prompt-styles", Some(Scope::Read)),
    ("get", "/sdapi/v1/memory", Some(Scope::Read)),
    ("get", "/sdapi/v1/cmd-flags", Some(Scope::Read)),
    ("get", "/sdapi/v1/scripts", Some(Scope::Read)),
    ("get", "/sdapi/v1/script-info", Some(Scope::Read)),
    ("get", "/sdapi/v1/extensions", Some(Scope::Read)),
    ("get", "/sdapi/v1/face-restorers", Some(Scope::Read)),
    ("get", "/sdapi/v1/realesrgan-models", Some(Scope::Read)),
    ("post", "/sdapi/v1/txt2img", Some(Scope::Generate)),
    ("post", "/sdapi/v1/img2img", Some(Scope::Generate)),
    ("post", "/sdapi/v1/interrupt", Some(Scope::Generate)),
    ("post", "/sdapi/v1/skip", Some(Scope::Generate)),
    ("post", "/sdapi/v1/options", Some(Scope::Generate)),
    ("post", "/sdapi/v1/refresh-checkpoints", Some(Scope::Generate)),
    ("post", "/sdapi/v1/refresh-vae", Some(Scope::Generate)),
    ("post", "/sdapi/v1/refresh-embeddings", Some(Scope::Generate)),
    ("post", "/sdapi/v1/refresh-loras", Some(Scope::Generate)),
    ("post", "/sdapi/v1/reload-checkpoint", Some(Scope::Generate)),
    ("post", "/sdapi/v1/extra-single-image", Some(Scope::Generate)),
    ("post", "/sdapi/v1/extra-batch-images", Some(Scope::Generate)),
    ("post", "/sdapi/v1/png-info", Some(Scope::Read)),
    ("post", "/sdapi/v1/unload-checkpoint", Some(Scope::Admin)),
    ("post", "/internal/progress", Some(Scope::Read)),
    ("get", "/internal/pending-tasks", Some(Scope::Read)),
    ("post", "/v1/images/generations", Some(Scope::Generate)),
    ("post", "/v1/images/edits", Some(Scope::Generate)),
    ("post", "/v1/images/variations", Some(Scope::Generate)),
    ("get", "/v1/models/{id}", Some(Scope::Read)),
];

/// A method, a route, and what scope it needs.
fn routes() -> Vec<(String, String, Option<Scope>)> {
    let description: Value = serde_json::to_value(calotype_server::openapi()).unwrap();
    let rows: BTreeMap<(String, String), Option<Scope>> =
        SCOPES.iter().map(|(method, route, scope)| (((*method).to_owned(), (*route).to_owned()), *scope)).collect();
    let mut routes = Vec::new();
    for (route, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let row = rows.get(&(method.clone(), route.clone()));
            let scope = row.unwrap_or_else(|| panic!("{method} {route} is not in SCOPES: say who may use it"));
            routes.push((method.clone(), route.clone(), *scope));
        }
    }
    assert_eq!(routes.len(), SCOPES.len(), "SCOPES has routes that there are not");
    routes
}

fn filled(route: &str) -> String {
    route.replace("{id}", "0123456789abcdef0123456789abcdef").replace("{n}", "0").replace("{sha256}", &"a".repeat(64))
}

#[test]
fn every_route_asks_who_it_is() {
    let (server, [admin, alice, _]) = start_with_keys(|config| config.http.wrong_keys_per_minute = u32::MAX);
    let store = KeyStore::open(server.folder.as_ref().unwrap().path()).unwrap();
    let key = |scopes: &[Scope], days: Option<u64>| {
        let new = NewKey { name: "k".to_owned(), scopes: scopes.to_vec(), expires_in_days: days, ..NewKey::default() };
        store.new_key(new).unwrap()
    };
    let (_, ended) = key(&Scope::ALL, Some(0));
    let (revoked, revoked_secret) = key(&Scope::ALL, None);
    store.revoke(&revoked.id).unwrap();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let wrong: Vec<Option<String>> = vec![
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer garbage".to_owned()),
        Some(format!("Bearer {}", alice.to_uppercase())),
        Some(format!("Bearer {ended}")),
        Some(format!("Bearer {revoked_secret}")),
        Some(format!("Digest {alice}")),
        Some("Basic !!!".to_owned()),
        Some(basic("alice")),
        Some(basic("alice:wrong")),
        Some(basic(&format!("{alice}:"))),
    ];
    for (method, route, scope) in routes() {
        let path = filled(&route);
        let send = |path: &str, headers: &[(&str, &str)]| {
            let headers = [headers, &[("content-type", "application/json")]].concat();
            let body: &[u8] = if method == "post" { b"{}" } else { b"" };
            server.send(&method.to_uppercase(), path, &headers, body)
        };
        let Some(scope) = scope else { continue };
        for header in &wrong {
            let headers: Vec<_> = header.iter().map(|value| ("authorization", value.as_str())).collect();
            let answer = send(&path, &headers);
            assert_eq!(answer.status, 401, "{method} {route} {header:?}");
            assert!(answer.header("www-authenticate").is_some());
        }
        let bearer = format!("Bearer {alice}");
        assert_eq!(send(&path, &[("authorization", &bearer), ("authorization", &bearer)]).status, 400, "{route}");
        for query in [format!("{path}?key={alice}"), format!("{path}?authorization=Bearer%20{alice}")] {
            assert_eq!(send(&query, &[]).status, 401, "{query}");
        }
        assert_eq!(send(&path, &[("x-original-url", "/livez"), ("x-rewrite-url", "/livez")]).status, 401, "{route}");
        assert_eq!(
            send(&path, &[("cookie", "calotype=k_1.9999999999999.AAAA")]).status,
            if method == "get" { 401 } else { 403 }
        );
        for odd in
            [format!("/{path}"), format!("{path}/"), path.replacen("/v1", "/V1", 1), path.replacen("/v1", "/%76%31", 1)]
        {
            assert!(matches!(send(&odd, &[]).status, 401 | 404), "{odd}");
        }
        for odd in ["HEAD", "OPTIONS", "TRACE", "PATCH"] {
            let answer = server.send(odd, &path, &[], b"");
            assert!(matches!(answer.status, 401 | 404 | 405), "{odd} {path}: {}", answer.status);
        }
        // A key for everything else is not for this.
        let others: Vec<Scope> =
            Scope::ALL.into_iter().filter(|other| *other != scope && *other != Scope::Admin).collect();
        let (_, other) = key(&others, None);
        let other = format!("Bearer {other}");
        assert_eq!(send(&path, &[("authorization", &other)]).status, 403, "{method} {route}");
        if route != "/v1/events" {
            for good in [format!("Bearer {admin}"), format!("bearer  {admin}"), basic(&format!("anybody:{admin}"))] {
                let answer = send(&path, &[("authorization", &good)]);
                assert!(!matches!(answer.status, 401 | 403 | 500..), "{method} {route} {good}: {}", answer.text());
            }
        }
    }
}

#[test]
fn the_jobs_of_other_keys_are_not_there() {
    let (server, [admin, alice, bob]) = start_with_keys(|_| {});
    let headers = |secret: &str| {
        [
            ("authorization".to_owned(), format!("Bearer {secret}")),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("prefer".to_owned(), "wait=60".to_owned()),
        ]
    };
    let owned = headers(&alice);
    let owned: Vec<(&str, &str)> = owned.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let job = server.send("POST", "/v1/jobs", &owned, fox(1).to_string().as_bytes()).json();
    let id = job["id"].as_str().unwrap();
    for (method, rest) in [
        ("GET", ""),
        ("DELETE", ""),
        ("DELETE", "?forget=true"),
        ("GET", "/results/0"),
        ("GET", "/events"),
        ("GET", "/preview"),
    ] {
        let answer = server.as_key(&bob, method, &format!("/v1/jobs/{id}{rest}"), None);
        assert_eq!((answer.status, answer.code()), (404, "not_found".to_owned()), "{method} {rest}");
    }
    let result = format!("{id}/0");
    let body = json!({"prompt": "x", "steps": 1, "init": {"picture": {"result": result}}});
    assert_eq!(server.as_key(&bob, "POST", "/v1/jobs", Some(&body)).status, 404);
    assert_eq!(server.as_key(&bob, "GET", "/v1/jobs", None).json()["jobs"], json!([]));
    assert_eq!(server.as_key(&bob, "GET", "/v1/jobs?all=true", None).status, 403);
    assert_eq!(server.as_key(&admin, "GET", "/v1/jobs?all=true", None).json()["jobs"][0]["id"], job["id"]);
    assert_eq!(server.as_key(&admin, "GET", &format!("/v1/jobs/{id}"), None).status, 200);
}

#[test]
fn a_browser_logs_in_and_only_its_own_page_writes() {
    let (server, [_, alice, _]) = start_with_keys(|_| {});
    assert_eq!(server.get("/v1/session").json()["key"], Value::Null);
    let wrong = server.post("/v1/session", &json!({"key": "calo_wrong"}));
    assert_eq!(wrong.status, 401);
    let login = server.post("/v1/session", &json!({"key": alice}));
    let cookie = login.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(&alice[5..]),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let own = format!("http://{}", server.address);
    let send = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let headers = [headers, &[("cookie", cookie), ("content-type", "application/json")]].concat();
        let body = if method == "POST" { fox(1).to_string() } else { String::new() };
        server.send(method, path, &headers, body.as_bytes())
    };
    assert_eq!(send("GET", "/v1/session", &[]).json()["key"]["name"], "alice");
    assert_eq!(send("GET", "/v1/jobs", &[]).status, 200);
    assert_eq!(send("POST", "/v1/jobs", &[("origin", &own)]).status, 202);
    assert_eq!(send("POST", "/v1/jobs", &[("sec-fetch-site", "same-origin")]).status, 202);
    for headers in [
        vec![],
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("origin", "http://127.0.0.1:1")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(send("POST", "/v1/jobs", &headers).status, 403, "{headers:?}");
    }
    // A changed cookie is none.
    for changed in [format!("{cookie}x"), cookie.replacen('.', ".1", 1), cookie.replacen("k_", "k_0", 1)] {
        assert_eq!(server.send("GET", "/v1/jobs", &[("cookie", &changed)], b"").status, 401, "{changed}");
    }
    let out = server.send("DELETE", "/v1/session", &[("cookie", cookie), ("origin", &own)], b"");
    assert!(out.status == 204 && out.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[test]
fn a_server_without_a_login_is_for_this_machine_alone() {
    let server = start();
    let raw = |host: &str| {
        server.raw(format!("GET /v1/jobs HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
    };
    let port = server.address.port();
    for host in ["localhost", &format!("localhost:{port}"), &format!("127.0.0.1:{port}"), &format!("[::1]:{port}")] {
        assert_eq!(raw(host).status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "", "[::2]"] {
        assert_eq!(raw(host).status, 421, "{host}");
    }
    // Some clients send a login where none is asked for.
    for value in ["", "Basic ", "Basic !!!", "Bearer x"] {
        assert_eq!(server.send("GET", "/v1/jobs", &[("authorization", value)], b"").status, 200, "{value}");
    }
    let foreign = server.send(
        "POST",
        "/v1/jobs",
        &[("origin", "https://evil.example"), ("content-type", "application/json")],
        fox(1).to_string().as_bytes(),
    );
    assert_eq!(foreign.code(), "foreign_origin");
    let answer = server.get("/v1/jobs");
    assert!(answer.header("access-control-allow-origin").is_none());
    assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let mut open = crate::common::config(server.folder.as_ref().unwrap().path().join("open").as_path());
    open.listen = "0.0.0.0:0".parse().unwrap();
    let refused = calotype_server::Server::open(open).err().unwrap();
    assert!(refused.to_string().contains("there is no key: make one with calotype keys new"), "{refused}");
}

#[test]
fn administrators_make_and_revoke_keys() {
    let (server, [admin, alice, _]) = start_with_keys(|_| {});
    let made = server.as_key(
        &admin,
        "POST",
        "/v1/keys",
        Some(&json!({"name": "kiosk", "scopes": ["generate"], "quotas": {"images_per_day": 1}})),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let secret = made["key"].as_str().unwrap();
    assert_eq!(server.as_key(secret, "POST", "/v1/jobs", Some(&fox(1))).status, 202);
    let over = server.as_key(secret, "POST", "/v1/jobs", Some(&fox(1)));
    assert_eq!((over.status, over.code()), (429, "quota_images".to_owned()));
    assert_eq!(server.as_key(secret, "GET", "/v1/jobs", None).status, 403);
    let list = server.as_key(&admin, "GET", "/v1/keys", None);
    assert_eq!(list.json()["keys"].as_array().unwrap().len(), 4);
    assert!(!list.text().contains("sha256") && !list.text().contains(&secret[5..]));
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(server.as_key(&admin, "DELETE", &path, None).status, 200);
    assert_eq!(server.as_key(secret, "POST", "/v1/jobs", Some(&fox(1))).status, 401);
    assert_eq!(server.as_key(&admin, "DELETE", "/v1/keys/k_none", None).status, 404);
    assert_eq!(server.as_key(&alice, "GET", "/v1/keys", None).status, 403);
    assert_eq!(server.as_key(&admin, "POST", "/v1/keys", Some(&json!({"name": ""}))).status, 422);

    // A stream that is open ends with its key.
    let mut events = Events::open(server.address, "/v1/events", &[("authorization", &format!("Bearer {alice}"))]);
    let keys = list.json()["keys"].clone();
    let of_alice = keys.as_array().unwrap().iter().find(|key| key["name"] == "alice").unwrap();
    let path = format!("/v1/keys/{}", of_alice["id"].as_str().unwrap());
    assert_eq!(server.as_key(&admin, "DELETE", &path, None).status, 200);
    assert_eq!(events.next().unwrap().name, "bye");
    assert!(events.next().is_none() && server.as_key(&alice, "GET", "/v1/jobs", None).status == 401);
}

/// Guessing keys is slowed down, whoever is right gets in.
#[test]
fn wrong_keys_are_counted() {
    let (server, [_, alice, _]) = start_with_keys(|config| config.http.wrong_keys_per_minute = 3);
    let statuses: Vec<u16> = (0..5).map(|_| server.as_key("calo_wrong", "GET", "/v1/jobs", None).status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert_eq!(server.as_key(&alice, "GET", "/v1/jobs", None).status, 200);
}

#[test]
fn slow_chopped_and_large_requests_end() {
    use std::io::{Read, Write};
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = crate::common::config(folder.path());
    config.http.header_seconds = 1;
    config.http.body_seconds = 1;
    config.http.max_body_mb = 1;
    let server: Running = crate::common::start_with(config);
    let host = server.address;
    // A head that never ends.
    let mut slow = server.connect();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: ").unwrap();
    let begin = std::time::Instant::now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(begin.elapsed().as_secs() < 10);
    // A body that never ends.
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    let answer = server.raw(head.as_bytes());
    assert_eq!(answer.code(), "body_timeout");
    // One that is too long, said and unsaid.
    let large = vec![b' '; (1 << 20) + 1];
    let headers = [("content-type", "application/json")];
    assert_eq!(server.send("POST", "/v1/jobs", &headers, &large).code(), "body_too_large");
    // One byte at a time.
    let body = fox(1).to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    for byte in body.bytes() {
        stream.write_all(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(crate::common::read(&mut stream).unwrap().status, 202);
    // What is no HTTP, or says two things.
    for bad in [
        "NONSENSE\r\n\r\n".to_owned(),
        format!("POST /v1/jobs HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{{}}{{}}"),
        format!("GET /v1/jobs HTTP/1.1\r\nhost: {host}\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)),
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(bad.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.get("/livez").status, 200);
}
