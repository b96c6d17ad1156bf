//! Progress, and ending jobs.

use std::{thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_image::decode;
use serde_json::{Value, json};

use crate::{
    common::{start, start_with_keys},
    made, warnings,
};

/// Where nothing is done it is said so, in the words that clients wait for.
#[test]
fn an_idle_server_is_ready() {
    let server = start();
    let progress = server.get("/sdapi/v1/progress?skip_current_image=true").json();
    let members: Vec<&String> = progress.as_object().unwrap().keys().collect();
    assert_eq!(members, ["current_image", "eta_relative", "progress", "state", "textinfo"]);
    assert_eq!(
        (&progress["progress"], &progress["state"]["job_count"], &progress["current_image"]),
        (&json!(0.0), &json!(0), &Value::Null)
    );
    let members: Vec<&String> = progress["state"].as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "interrupted",
            "job",
            "job_count",
            "job_no",
            "job_timestamp",
            "sampling_step",
            "sampling_steps",
            "skipped",
            "stopping_generation"
        ]
    );
    let task = server.post("/internal/progress", &json!({"id_task": "task(x)"})).json();
    assert_eq!((&task["active"], &task["queued"], &task["completed"]), (&json!(false), &json!(false), &json!(false)));
    assert_eq!(server.get("/internal/pending-tasks").json(), json!({"size": 0, "tasks": []}));
}

/// A job that takes long enough to be looked at.
fn long(task: Option<&str>) -> Value {
    json!({"prompt": "a fox", "steps": 150, "width": 512, "height": 512, "batch_size": 2, "force_task_id": task})
}

fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_key_has_its_own_progress_and_end() {
    let (server, [admin, alice, bob]) = start_with_keys(|_| {});
    let call =
        |key: &str, method: &str, path: &str, body: Option<Value>| server.as_key(key, method, path, body.as_ref());
    let progress = |key: &str, rest: &str| call(key, "GET", &format!("/sdapi/v1/progress{rest}"), None).json();
    thread::scope(|scope| {
        let first = scope.spawn(|| call(&alice, "POST", "/sdapi/v1/txt2img", Some(long(Some("task(a)")))));
        let running = until(|| {
            Some(progress(&alice, "")).filter(|progress| progress["state"]["sampling_step"].as_u64() > Some(1))
        });
        assert!(
            running["progress"].as_f64().unwrap() > 0.01 && running["eta_relative"].as_f64().unwrap() > 0.0,
            "{running}"
        );
        assert_eq!((&running["state"]["job_count"], &running["state"]["sampling_steps"]), (&json!(1), &json!(150)));
        let preview = until(|| progress(&alice, "")["current_image"].as_str().map(str::to_owned));
        assert!(decode(&STANDARD.decode(preview).unwrap(), &Default::default()).is_ok());
        assert_eq!(progress(&alice, "?skip_current_image=true")["current_image"], Value::Null);
        // Of the others there is nothing to be seen, and they end nothing.
        assert_eq!(
            (&progress(&bob, "")["progress"], &progress(&bob, "")["state"]["job_count"]),
            (&json!(0.0), &json!(0))
        );
        assert_eq!(call(&bob, "GET", "/sdapi/v1/progress?all=True", None).status, 403);
        assert!(progress(&admin, "?all=true")["progress"].as_f64().unwrap() > 0.0);
        assert_eq!(call(&bob, "POST", "/sdapi/v1/interrupt", None).json(), json!({}));
        // By its name.
        let task = |key: &str, id: &str, known: i64| {
            call(key, "POST", "/internal/progress", Some(json!({"id_task": id, "id_live_preview": known}))).json()
        };
        let told = task(&alice, "task(a)", -1);
        assert!(told["active"] == true && told["progress"].as_f64().unwrap() > 0.0, "{told}");
        assert!(told["live_preview"].as_str().unwrap().starts_with("data:image/jpeg;base64,"));
        assert_eq!(task(&bob, "task(a)", -1)["active"], false);
        // Bob's waits behind it.
        let second = scope.spawn(|| {
            call(
                &bob,
                "POST",
                "/sdapi/v1/txt2img",
                Some(json!({"prompt": "a fox", "steps": 1, "force_task_id": "task(b)"})),
            )
        });
        let waiting = until(|| Some(task(&bob, "task(b)", -1)).filter(|task| task["queued"] == true));
        assert_eq!(waiting["textinfo"], "In queue: 1/1");
        assert_eq!(progress(&bob, "")["state"]["job_count"], -1);
        assert_eq!(call(&bob, "GET", "/internal/pending-tasks", None).json(), json!({"size": 1, "tasks": ["task(b)"]}));
        assert_eq!(call(&alice, "GET", "/internal/pending-tasks", None).json()["size"], 0);
        // Alice ends hers, which is answered without an image.
        assert_eq!(call(&alice, "POST", "/sdapi/v1/interrupt", None).json(), json!({}));
        let (images, info) = made(&first.join().unwrap());
        assert_eq!(images.len(), 0);
        assert!(warnings(&info)[0].contains("interrupted"));
        assert_eq!(task(&alice, "task(a)", -1)["completed"], true);
        assert_eq!(made(&second.join().unwrap()).0.len(), 1);
        assert_eq!(task(&bob, "task(b)", -1)["completed"], true);
    });
}

/// Clients that go away want it stopped, but for those who have a name to come back by.
#[test]
fn a_client_that_goes_away_ends_its_job() {
    use std::io::Write;
    let server = start();
    let jobs = || server.get("/v1/jobs").json()["jobs"].clone();
    let send = |body: &Value| {
        let body = body.to_string();
        let mut stream = server.connect();
        let host = server.address;
        let head = format!(
            "POST /sdapi/v1/txt2img HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        stream
    };
    let state = |n: usize| until(|| jobs()[n]["state"].as_str().map(str::to_owned));
    let running = send(&long(None));
    until(|| Some(jobs()).filter(|jobs| jobs[0]["progress"]["step"].as_u64() > Some(1)));
    let queued = send(&long(None));
    until(|| (state(0) == "queued").then_some(()));
    drop(queued);
    until(|| (state(0) == "cancelled").then_some(()));
    assert_eq!(state(1), "running");
    drop(running);
    until(|| (state(1) == "cancelled").then_some(()));
    let named = send(&json!({"prompt": "a fox", "steps": 100, "force_task_id": "task(x)"}));
    until(|| Some(jobs()).filter(|jobs| jobs.as_array().unwrap().len() == 3));
    drop(named);
    until(|| (state(0) == "succeeded").then_some(()));
}
