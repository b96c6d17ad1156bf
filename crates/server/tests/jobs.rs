//! Our own API: jobs from the request to the image.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype::metadata;
use serde_json::{Value, json};

use crate::common::{Events, fox, start, start_with_keys};

#[test]
fn a_job_becomes_an_image() {
    let server = start();
    let accepted = server.post("/v1/jobs", &fox(4));
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let job = accepted.json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(accepted.header("location"), Some(path.as_str()));
    let done = server.until(&job, |job| job["state"] == "succeeded");
    assert_eq!((&done["request"]["seed"], &done["request"]["num_inference_steps"]), (&json!(7), &json!(4)));
    assert_eq!((done["results"][0]["width"].as_u64(), done["results"][0]["seed"].as_u64()), (Some(64), Some(7)));
    let url = done["results"][0]["url"].as_str().unwrap();
    let image = server.get(url);
    assert_eq!((image.status, image.header("content-type")), (200, Some("image/png")));
    assert!(image.header("cache-control").unwrap().contains("immutable"));
    assert_eq!(metadata::read(&image.body).unwrap().metadata.request.seed, 7);
    let download = server.get(&format!("{url}?download=1"));
    assert_eq!(download.header("content-disposition"), Some("attachment; filename=\"calotype-7.png\""));
    assert_eq!(server.get(&format!("{path}/results/1")).code(), "not_found");
    assert_eq!(server.get(&format!("{path}/preview")).code(), "not_found");

    // What the job says of its request makes the same job.
    let again = server.done(&done["request"]);
    assert_eq!(again["request"], done["request"]);
    let list = server.get("/v1/jobs?limit=1").json();
    assert_eq!(list["jobs"][0]["id"], again["id"]);
    let next = list["next"].as_u64().unwrap();
    let older = server.get(&format!("/v1/jobs?limit=1&before={next}")).json();
    assert_eq!(older["jobs"][0]["id"], done["id"]);
    assert_eq!(server.get("/v1/jobs?state=failed").json(), json!({"jobs": [], "next": null}));
}

#[test]
fn other_names_and_formats_are_understood() {
    let server = start();
    let body = json!({"prompt": "a fox", "num_inference_steps": 2, "cfg_scale": 3.5, "sampler_name": "euler_a", "scheduler": "karras",
        "n": 2, "seed": -1, "output_format": "jpeg", "quality": 80, "negative_prompt": null});
    let job = server.done(&body);
    let request = &job["request"];
    assert_eq!(
        (&request["guidance_scale"], &request["sampler"], &request["schedule"]),
        (&json!(3.5), &json!("euler_a"), &json!("karras"))
    );
    assert_eq!(job["results"].as_array().unwrap().len(), 2);
    assert_eq!(job["results"][0]["media_type"], "image/jpeg");
    assert!(server.get(job["results"][1]["url"].as_str().unwrap()).body.starts_with(&[0xff, 0xd8]));
    // A random seed is told, and is another each time.
    assert_ne!(server.done(&json!({"prompt": "x", "steps": 1}))["request"]["seed"], request["seed"]);
}

#[test]
fn what_is_wrong_is_named() {
    let server = start();
    let problem = |body: Value| {
        let answer = server.post("/v1/jobs", &body);
        (answer.status, answer.code(), answer.json()["param"].as_str().map(str::to_owned))
    };
    let with = |name: &str, value: Value| {
        let mut body = fox(2);
        body[name] = value;
        problem(body)
    };
    let invalid = |param: &str| (422, "invalid_request".to_owned(), Some(param.to_owned()));
    let range = |param: &str| (422, "out_of_range".to_owned(), Some(param.to_owned()));
    assert_eq!(problem(json!({})), invalid("prompt"));
    assert_eq!(with("stepz", json!(1)), invalid("stepz"));
    assert_eq!(with("num_inference_steps", json!(3)), invalid("steps"));
    assert_eq!(with("width", json!(-64)), invalid("width"));
    assert_eq!(with("width", json!(65)), range("width"));
    assert_eq!(with("width", json!(1_u64 << 40)), range("width"));
    assert_eq!(with("seed", json!(-2)), invalid("seed"));
    assert_eq!(with("sampler", json!("x")), invalid("sampler"));
    assert_eq!(with("quality", json!(0)), invalid("quality"));
    assert_eq!(with("output_format", json!("gif")), invalid("output_format"));
    assert_eq!(with("priority", json!(1001)), invalid("priority"));
    assert_eq!(with("n", json!(9)), range("batch_size"));
    assert_eq!(with("model", json!("../x")), (404, "model_not_found".to_owned(), Some("model".to_owned())));
    assert_eq!(with("init", json!({"picture": {"file": "/etc/passwd"}})), invalid("init.picture"));
    assert_eq!(with("init", json!({"picture": {"data": "http://localhost/x.png"}})), invalid("init.picture"));
    assert_eq!(with("init", json!({"picture": {"blob": "../../etc/passwd"}})).0, 404);
    assert_eq!(with("init", json!({"picture": {"result": "x/0"}})).0, 404);
    let headers = [("content-type", "application/json")];
    for (body, status) in [
        ("{", 400),
        ("[]", 422),
        ("{\"prompt\": \"\\ud800\"}", 400),
        ("{} {}", 400),
        ("", 400),
        ("{\"prompt\": \"x\", \"width\": 1e999}", 400),
    ] {
        assert_eq!(server.send("POST", "/v1/jobs", &headers, body.as_bytes()).status, status, "{body}");
    }
    let deep = format!("{{\"prompt\":{}", "[".repeat(100_000));
    assert_eq!(server.send("POST", "/v1/jobs", &headers, deep.as_bytes()).status, 400);
    assert_eq!(server.send("POST", "/v1/jobs", &[("content-type", "text/plain")], b"{}").status, 415);
    assert_eq!(server.get("/v1/jobs/x").status, 404);
    assert_eq!(server.get("/v1/jobs?limit=0").status, 422);
    assert_eq!(server.get("/v1/jobs?unknown=1").status, 422);
    assert_eq!(server.get("/nothing").status, 404);
    assert_eq!(server.send("PUT", "/v1/jobs", &[], b"").status, 405);
    assert_eq!(server.get("/v1/jobs").json()["jobs"], json!([]));
}

#[test]
fn sending_twice_with_a_key_is_sending_once() {
    let server = start();
    let send = |key: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        server.send("POST", "/v1/jobs", &headers, body.to_string().as_bytes())
    };
    let ids: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(|| send("k", &fox(2)).json()["id"].clone())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let other = send("k", &fox(3));
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused".to_owned()));
    assert_ne!(send("l", &fox(2)).json()["id"], ids[0]);
    assert_eq!(send("", &fox(2)).status, 422);
}

#[test]
fn jobs_are_cancelled_moved_retried_and_forgotten() {
    let server = start();
    let long = server.post("/v1/jobs", &json!({"prompt": "a fox", "steps": 150, "width": 256, "height": 256})).json();
    let [first, second] = [1, 2].map(|steps| server.post("/v1/jobs", &fox(steps)).json());
    let path = |job: &Value, rest: &str| format!("/v1/jobs/{}{rest}", job["id"].as_str().unwrap());
    server.until(&long, |job| job["progress"]["step"].as_u64() > Some(0) && job["progress"]["preview"].is_string());
    let preview = server.get(&path(&long, "/preview?v=1"));
    assert_eq!(preview.header("content-type"), Some("image/jpeg"));
    assert_eq!(server.get(&path(&second, "")).json()["position"], 2);
    let moved = server.post(&path(&second, "/move"), &json!({"priority": 5}));
    assert_eq!((moved.status, &moved.json()["position"]), (200, &json!(1)));

    let cancelled = server.send("DELETE", &path(&long, ""), &[], b"");
    assert_eq!(cancelled.status, 200);
    server.until(&long, |job| job["state"] == "cancelled");
    let done = server.until(&first, |job| job["state"] == "succeeded");
    let before = server.until(&second, |job| job["state"] == "succeeded");
    assert!(before["since"].as_u64() <= done["since"].as_u64());
    // One that is over stays as it is.
    assert_eq!(server.send("DELETE", &path(&first, ""), &[], b"").json()["state"], "succeeded");
    assert_eq!(server.post(&path(&first, "/move"), &json!({"priority": 5})).code(), "wrong_state");
    assert_eq!(server.post(&path(&first, "/retry"), &json!({})).code(), "wrong_state");
    assert_eq!(server.post(&path(&long, "/retry"), &json!({})).status, 202);
    server.send("DELETE", &path(&long, ""), &[], b"");
    server.until(&long, |job| job["state"] == "cancelled");

    let url = done["results"][0]["url"].as_str().unwrap();
    assert_eq!(server.send("DELETE", &path(&first, "?forget=true"), &[], b"").status, 200);
    assert_eq!((server.get(&path(&first, "")).status, server.get(url).status), (404, 404));
}

#[test]
fn images_to_start_from_come_in_four_ways() {
    let server = start();
    let png = calotype_image::encode_png(&calotype::RgbImage::filled(64, 64, [9, 90, 200]), &[]).unwrap();
    let blob = server.send("POST", "/v1/blobs", &[("content-type", "image/png")], &png);
    assert_eq!(blob.status, 201, "{}", blob.text());
    let blob = blob.json();
    assert_eq!((&blob["width"], &blob["media_type"]), (&json!(64), &json!("image/png")));
    let with = |picture: Value| {
        let mut body = fox(3);
        body["init"] = json!({"picture": picture, "strength": 0.5});
        body
    };
    let by_blob = server.done(&with(json!({"blob": blob["blob"]})));
    assert_eq!(by_blob["request"]["init"]["picture"], json!({"blob": blob["blob"]}));
    let input = format!("/v1/jobs/{}/inputs/{}", by_blob["id"].as_str().unwrap(), blob["blob"].as_str().unwrap());
    assert_eq!(server.get(&input).body, png);
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &png);
    for data in [base64.clone(), format!("data:image/png;base64,{base64}")] {
        assert_eq!(server.done(&with(json!({"data": data})))["request"], by_blob["request"]);
    }
    let result = format!("{}/0", by_blob["id"].as_str().unwrap());
    assert_eq!(server.done(&with(json!({"result": result})))["state"], "succeeded");

    let mut form = Vec::new();
    let request = with(json!({"part": "photo"})).to_string();
    for (name, value) in [("request", request.as_bytes()), ("photo", &png)] {
        form.extend(format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n").bytes());
        form.extend(value);
        form.extend(b"\r\n");
    }
    form.extend(b"--B--\r\n");
    let headers = [("content-type", "multipart/form-data; boundary=B"), ("prefer", "wait=120")];
    let answer = server.send("POST", "/v1/jobs", &headers, &form);
    assert_eq!((answer.status, &answer.json()["request"]), (200, &by_blob["request"]));
    assert_eq!(server.send("POST", "/v1/jobs", &headers, &form[..form.len() - 9]).status, 400);
    assert_eq!(server.send("POST", "/v1/blobs", &[], b"no image").status, 422);

    let settings = server.get(by_blob["results"][0]["url"].as_str().unwrap()).body;
    let read = server.send("POST", "/v1/png-info", &[], &settings).json();
    assert_eq!((&read["program"], &read["request"]["seed"]), (&json!("Calotype"), &json!(7)));
    assert!(read["parameters"].as_str().unwrap().starts_with("a fox\nSteps: 3"));
    assert!(server.send("POST", "/v1/png-info", &[], &png).json()["request"].is_null());
}

#[test]
fn events_are_told_and_told_again() {
    let server = start();
    let mut events = server.events("/v1/events", &[]);
    let job = server.post("/v1/jobs", &json!({"prompt": "a fox", "steps": 60, "width": 128, "height": 128})).json();
    let mut told = Vec::new();
    for event in &mut events {
        assert!(event.data["job"] == job["id"] || event.name == "bye", "{event:?}");
        let is_last = event.data["state"] == "succeeded";
        told.push(event);
        if is_last {
            break;
        }
    }
    let states: Vec<&str> = told.iter().filter_map(|event| event.data["state"].as_str()).collect();
    assert_eq!(states, ["queued", "leased", "running", "checking", "succeeded"]);
    assert!(
        told.iter().any(|event| event.name == "progress" && event.data["progress"]["fraction"].as_f64() > Some(0.0))
    );
    // From any place on: no event is missing, and none twice.
    let ids: Vec<u64> = told.iter().filter_map(|event| event.id).collect();
    for (at, id) in ids.iter().enumerate().take(ids.len() - 1) {
        let last = id.to_string();
        let again = server.events("/v1/events", &[("last-event-id", &last)]);
        let again: Vec<u64> = again.take(ids.len() - 1 - at).filter_map(|event| event.id).collect();
        assert_eq!(again, ids[at + 1..]);
    }
    // That of one job begins with all of it, and ends with it.
    let of_job = server.events(&format!("/v1/jobs/{}/events", job["id"].as_str().unwrap()), &[]);
    assert_eq!(of_job.filter_map(|event| event.id).collect::<Vec<_>>(), ids);
}

#[test]
fn a_server_ends_in_good_order_and_goes_on_where_it_was() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = crate::common::config(folder.path());
    config.drain_seconds = 2;
    let mut server = crate::common::start_with(config.clone());
    let done = server.done(&fox(2));
    let long = server
        .post("/v1/jobs", &json!({"prompt": "a fox", "steps": 150, "width": 512, "height": 512, "seed": 1}))
        .json();
    let waits = server.post("/v1/jobs", &fox(1)).json();
    server.until(&long, |job| job["progress"]["step"].as_u64() > Some(0));
    let streams: Vec<Events> = (0..20).map(|_| server.events("/v1/events", &[])).collect();
    let begin = std::time::Instant::now();
    assert!(server.stop());
    assert!(begin.elapsed().as_secs() < 8, "{:?}", begin.elapsed());
    for mut stream in streams {
        assert!(stream.any(|event| event.name == "bye"));
    }

    let server = crate::common::start_with(config);
    assert_eq!(server.get(done["results"][0]["url"].as_str().unwrap()).status, 200);
    let again = server.until(&long, |job| job["state"] == "running");
    assert_eq!(again["request"]["seed"], 1);
    server.send("DELETE", &format!("/v1/jobs/{}", long["id"].as_str().unwrap()), &[], b"");
    server.until(&waits, |job| job["state"] == "succeeded");
}

#[test]
fn the_queue_and_keys_have_limits() {
    let (server, [_, alice, bob]) = start_with_keys(|config| {
        config.max_queued = 3;
        config.http.requests_per_minute = 8;
    });
    let long = json!({"prompt": "a fox", "steps": 150, "width": 256, "height": 256});
    let answers: Vec<_> = (0..6).map(|_| server.as_key(&alice, "POST", "/v1/jobs", Some(&long))).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.code(), "queue_full");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    (0..3).for_each(|_| drop(server.as_key(&alice, "POST", "/v1/jobs", Some(&long))));
    let last = server.as_key(&alice, "POST", "/v1/jobs", Some(&long));
    assert_eq!((last.status, last.code()), (429, "rate_limit_exceeded".to_owned()));
    // Another key has a rate of its own.
    assert_eq!(server.as_key(&bob, "POST", "/v1/jobs/estimate", Some(&long)).status, 200);
    for answer in answers.iter().filter(|answer| answer.status == 202) {
        let path = format!("/v1/jobs/{}", answer.json()["id"].as_str().unwrap());
        assert_eq!(server.as_key(&alice, "DELETE", &path, None).status, 200);
    }
}

#[test]
fn lists_say_what_there_is() {
    let server = start();
    let models = server.get("/v1/models").json();
    assert_eq!(
        (&models["models"][0]["id"], &models["object"], &models["data"][0]["object"]),
        (&json!("built-in"), &json!("list"), &json!("model"))
    );
    assert_eq!(models["models"][0]["size"], json!([64, 64]));
    let has = |path: &str, list: &str, id: &str| {
        server.get(path).json()[list].as_array().unwrap().iter().any(|entry| entry["id"] == id)
    };
    assert!(has("/v1/samplers", "samplers", "euler_a") && has("/v1/schedulers", "schedulers", "karras"));
    assert!(has("/v1/upscalers", "upscalers", "lanczos"));
    assert_eq!(server.get("/v1/adapters").json(), json!({"adapters": []}));
    assert_eq!(server.get("/v1/styles").json(), json!({"styles": []}));
    let estimate = server.post("/v1/jobs/estimate", &fox(3)).json();
    assert_eq!((&estimate["tokens"], &estimate["chunks"], &estimate["size"]), (&json!(2), &json!(1), &json!([64, 64])));
    for path in ["/livez", "/readyz", "/startupz", "/metrics", "/openapi.json", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert!(server.get("/metrics").text().contains("calotype_build_info"));
    assert_eq!(server.get("/v1/audit").json()["lines"], json!([]));
    server.done(&fox(1));
    let audit = server.get("/v1/audit").json();
    assert_eq!(
        (audit["lines"][0]["kind"].as_str(), audit["lines"][0]["key_id"].as_str()),
        (Some("made"), Some("local"))
    );
}
