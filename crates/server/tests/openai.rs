//! OpenAI's image API, as its clients use it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    io::{BufReader, Write},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype::metadata;
use calotype_image::{RgbImage, decode, encode_png};
use serde_json::{Value, json};

use crate::common::{Answer, Events, Running, start, start_with_keys};

const GENERATIONS: &str = "/v1/images/generations";

fn data(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].as_array().unwrap().clone()
}

fn file(datum: &Value) -> Vec<u8> {
    STANDARD.decode(datum["b64_json"].as_str().unwrap()).unwrap()
}

/// A form with these parts; files have names that end with `.png`.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, part) in parts {
        let is_file = name.starts_with("image") || *name == "mask";
        let file = if is_file { "; filename=\"a.png\"\r\nContent-Type: image/png" } else { "" };
        let head = format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), part, b"\r\n"].concat());
    }
    body.extend(b"--b0undary--\r\n");
    body
}

fn send_form(server: &Running, path: &str, parts: &[(&str, &[u8])]) -> Answer {
    server.send("POST", path, &[("content-type", "multipart/form-data; boundary=b0undary")], &form(parts))
}

fn picture() -> Vec<u8> {
    encode_png(&RgbImage::filled(64, 64, [10, 200, 30]), &[]).unwrap()
}

/// Transparent in the left half, as OpenAI's clients say what is to be edited; opaque everywhere.
fn masks() -> [Vec<u8>; 2] {
    [0, 255].map(|alpha| {
        let rgba = |at: u32| if at % 64 < 32 { [0, 0, 0, alpha] } else { [0, 0, 0, 255] };
        let raw: Vec<u8> = (0..64 * 64).flat_map(rgba).collect();
        rgba_png(64, 64, &raw)
    })
}

/// A PNG with alpha, without compression.
fn rgba_png(width: u32, height: u32, raw: &[u8]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    };
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let length = u32::try_from(data.len()).unwrap();
        [&length.to_be_bytes()[..], &body, &crc(&body).to_be_bytes()].concat()
    };
    let rows: Vec<u8> = raw.chunks(width as usize * 4).flat_map(|row| [&[0], row].concat()).collect();
    let (a, b) = rows.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65521;
        (a, (b + a) % 65521)
    });
    let length = u16::try_from(rows.len()).unwrap();
    let zlib =
        [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &rows, &(b << 16 | a).to_be_bytes()]
            .concat();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &zlib), chunk(b"IEND", b"")].concat()
}

#[test]
fn images_are_generated() {
    let server = start();
    let answer = server.post(
        GENERATIONS,
        &json!({"prompt": "a fox", "model": "built-in", "n": 2, "size": "64x64", "response_format": "b64_json", "user": "u-1",
            "seed": 7, "steps": 3, "cfg_scale": 4.0, "negative_prompt": "dog", "sampler": "euler_a", "scheduler": "karras", "style": "vivid"}),
    );
    let images = data(&answer);
    let body = answer.json();
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(
        (&body["size"], &body["output_format"], &body["quality"], &body["background"]),
        (&json!("64x64"), &json!("png"), &json!("auto"), &json!("opaque"))
    );
    assert_eq!((&images[0]["seed"], &images[1]["seed"]), (&json!(7), &json!(8)));
    let request = metadata::read(&file(&images[1])).unwrap().metadata.request;
    assert_eq!(
        (request.num_inference_steps, request.guidance_scale, request.negative_prompt.as_str()),
        (3, 4.0, "dog")
    );
    assert_eq!(
        (request.sampler.to_string(), request.schedule.to_string()),
        ("euler_a".to_owned(), "karras".to_owned())
    );
    assert!(answer.header("x-calotype-warning").unwrap().starts_with("style"));
    assert!(!answer.text().contains("u-1"));
    // As files of every kind, and as links.
    for (format, begins) in [("png", &b"\x89PNG"[..]), ("jpeg", &[0xff, 0xd8]), ("webp", b"RIFF")] {
        let body = json!({"prompt": "a fox", "steps": 1, "output_format": format, "output_compression": 50, "background": "auto", "moderation": "auto"});
        assert!(file(&data(&server.post(GENERATIONS, &body))[0]).starts_with(begins), "{format}");
    }
    let links = data(
        &server.post(GENERATIONS, &json!({"prompt": "a fox", "steps": 1, "response_format": "url", "size": "auto"})),
    );
    let url = links[0]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", server.address)).unwrap();
    assert!(server.get(path).body.starts_with(b"\x89PNG"));
    assert_eq!(server.get(&path.replace("sig=", "sig=x")).status, 404);
    assert_eq!(server.get(&path.replacen("exp=1", "exp=2", 1)).status, 404);
    // A quality is so many steps, if these are not said.
    for (body, steps) in [
        (json!({"quality": "low"}), 20),
        (json!({"quality": "low", "steps": 2}), 2),
        (json!({"quality": "medium", "num_inference_steps": 2}), 2),
        (json!({"quality": "hd"}), 75),
        (json!({}), 50),
    ] {
        let mut whole = json!({"prompt": "a fox"});
        body.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
        let request = metadata::read(&file(&data(&server.post(GENERATIONS, &whole))[0])).unwrap().metadata.request;
        assert_eq!(request.num_inference_steps, steps, "{body}");
    }
}

#[test]
fn errors_are_as_clients_type_them() {
    let server = start();
    let error = |body: Value| {
        let answer = server.post(GENERATIONS, &body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{body}");
        let error = answer.json()["error"].clone();
        assert!(!error["message"].as_str().unwrap().is_empty());
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (answer.status, text("type"), text("code"), text("param"))
    };
    let invalid =
        |code: &str, param: &str| (400, "invalid_request_error".to_owned(), code.to_owned(), param.to_owned());
    for (body, expected) in [
        (json!({}), invalid("missing_required_parameter", "prompt")),
        (json!({"prompt": "x", "n": 0}), invalid("invalid_request", "n")),
        (json!({"prompt": "x", "n": 11}), invalid("invalid_request", "n")),
        (json!({"prompt": "x", "n": "two"}), invalid("invalid_request", "n")),
        (json!({"prompt": "x", "size": "large"}), invalid("invalid_value", "size")),
        (json!({"prompt": "x", "size": "65x64"}), invalid("out_of_range", "width")),
        (json!({"prompt": "x", "size": "100000x100000"}), invalid("out_of_range", "width")),
        (json!({"prompt": "x", "output_format": "gif"}), invalid("invalid_value", "output_format")),
        (json!({"prompt": "x", "output_format": "svg"}), invalid("invalid_value", "output_format")),
        (json!({"prompt": "x", "output_compression": 101}), invalid("invalid_request", "output_compression")),
        (json!({"prompt": "x", "background": "transparent"}), invalid("unsupported_parameter", "background")),
        (json!({"prompt": "x", "quality": "best"}), invalid("invalid_value", "quality")),
        (json!({"prompt": "x", "response_format": "path"}), invalid("invalid_value", "response_format")),
        (json!({"prompt": "x", "frame_count": 4}), invalid("unsupported_parameter", "frame_count")),
        (json!({"prompt": "x", "stream": true, "n": 2}), invalid("invalid_request", "n")),
        (json!({"prompt": "x", "stream": true, "partial_images": 4}), invalid("invalid_request", "partial_images")),
        (json!({"prompt": "x", "steps": 100_000}), invalid("out_of_range", "num_inference_steps")),
        (json!({"prompt": "x", "unheard_of": 1}), invalid("invalid_request", "unheard_of")),
        (json!({"prompt": "x", "webhook": "http://169.254.169.254/"}), invalid("invalid_request", "webhook")),
        (
            json!({"prompt": "x", "model": "dall-e-3"}),
            (404, "invalid_request_error".to_owned(), "model_not_found".to_owned(), "model".to_owned()),
        ),
    ] {
        assert_eq!(error(body.clone()), expected, "{body}");
    }
    let get = |path: &str| server.get(path);
    assert_eq!(
        get("/v1/models/built-in").json(),
        json!({"id": "built-in", "object": "model", "created": 0, "owned_by": "calotype"})
    );
    let none = get("/v1/models/dall-e-3");
    assert_eq!((none.status, none.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert_eq!(get("/v1/models").json()["data"][0]["id"], "built-in");
    let (server, [_, alice, _]) = start_with_keys(|config| {
        config.openai_any_model = true;
        config.http.requests_per_minute = 1;
    });
    let nobody = server.post(GENERATIONS, &json!({"prompt": "x"}));
    assert_eq!((nobody.status, nobody.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    let any =
        server.as_key(&alice, "POST", GENERATIONS, Some(&json!({"prompt": "x", "steps": 1, "model": "dall-e-3"})));
    assert_eq!(any.status, 200);
    // What a retry can mend is sent again.
    let often = server.as_key(&alice, "POST", GENERATIONS, Some(&json!({"prompt": "x", "steps": 1})));
    assert_eq!((often.status, often.json()["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert!(often.header("retry-after").is_some() && often.header("x-should-retry").is_none());
}

#[test]
fn refusals_are_moderation() {
    let folder = tempfile::TempDir::new().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, "[[deny]]\nid = \"no-wolves\"\nword = \"wolf\"\n").unwrap();
    let mut config = crate::common::config(&folder.path().join("data"));
    config.safety.rules = Some(rules);
    let server = crate::common::start_with(config);
    let refused = server.post(GENERATIONS, &json!({"prompt": "a wolf"}));
    let error = refused.json()["error"].clone();
    assert_eq!(
        (refused.status, &error["type"], &error["code"]),
        (400, &json!("image_generation_user_error"), &json!("moderation_blocked")),
        "{error}"
    );
    assert!(error["message"].as_str().unwrap().contains("safety_violations=["));
    assert_eq!(server.post("/sdapi/v1/txt2img", &json!({"prompt": "a wolf"})).status, 403);
}

#[test]
fn images_are_edited_and_varied() {
    let server = start();
    let (picture, [half, opaque]) = (picture(), masks());
    let edit = |parts: &[(&str, &[u8])]| send_form(&server, "/v1/images/edits", parts);
    let base: [(&str, &[u8]); 4] = [("prompt", b"a fox"), ("steps", b"4"), ("seed", b"3"), ("n", b"1")];
    let with = |more: &[(&'static str, &[u8])]| {
        let parts: Vec<(&str, &[u8])> = base.iter().copied().chain(more.iter().copied()).collect();
        edit(&parts)
    };
    let request = |answer: &Answer| metadata::read(&file(&data(answer)[0])).unwrap().metadata.request;
    let whole = request(&with(&[("image", &picture)]));
    assert_eq!((whole.init.as_ref().unwrap().strength, whole.seed, whole.num_inference_steps), (0.8, 3, 4));
    assert!(whole.init.unwrap().inpaint.is_none());
    assert_eq!(request(&with(&[("image[]", &picture), ("strength", b"0.5")])).init.unwrap().strength, 0.5);
    assert_eq!(request(&with(&[("image", &picture), ("input_fidelity", b"high")])).init.unwrap().strength, 0.6);
    // What is transparent in the mask is made anew, the rest stays.
    let answer = with(&[("image", &picture), ("mask", &half), ("size", b"auto")]);
    assert!(request(&answer).init.unwrap().inpaint.unwrap().invert_mask);
    let image = decode(&file(&data(&answer)[0]), &Default::default()).unwrap();
    let far = |x: u32| {
        image.pixel(x, 32).unwrap().iter().zip([10u8, 200, 30]).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>()
    };
    let [left, right] = [0..24, 44..64].map(|xs: std::ops::Range<u32>| xs.map(far).sum::<u32>());
    assert!(right < left / 4, "{left} {right}");
    // An image with a hole is its own mask.
    assert!(request(&with(&[("image", &half)])).init.unwrap().inpaint.is_some());
    for (parts, status, param) in [
        (vec![("image", &picture[..]), ("mask", &opaque[..])], 400, "mask"),
        (vec![("image[]", &picture), ("image[]", &picture)], 400, "image"),
        (vec![], 400, "image"),
        (vec![("image", b"no image")], 400, "init.picture"),
        (vec![("image", &picture), ("mask", b"no image")], 400, "mask"),
    ] {
        let answer = with(&parts);
        assert_eq!(
            (answer.status, answer.json()["error"]["param"].as_str()),
            (status, Some(param)),
            "{}",
            answer.text()
        );
    }
    assert_eq!(edit(&[("image", &picture)]).json()["error"]["param"], "prompt");
    assert_eq!(server.post("/v1/images/edits", &json!({})).status, 415);
    let varied = send_form(
        &server,
        "/v1/images/variations",
        &[("image", &picture), ("n", b"2"), ("steps", b"2"), ("response_format", b"b64_json")],
    );
    assert_eq!(data(&varied).len(), 2);
    assert_eq!(request(&varied).init.unwrap().strength, 0.6);
}

/// The events of a request that streams.
fn events(server: &Running, path: &str, kind: &str, body: &[u8]) -> Events {
    let mut stream = server.connect();
    let host = server.address;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    Events::read(BufReader::new(stream))
}

#[test]
fn an_image_streams_with_partial_images() {
    let server = start();
    let body = json!({"prompt": "a fox", "steps": 30, "size": "256x256", "stream": true, "partial_images": 2, "output_format": "jpeg", "seed": 9});
    let all: Vec<_> = events(&server, GENERATIONS, "application/json", body.to_string().as_bytes()).collect();
    let (last, partial) = all.split_last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.data["type"]),
        ("image_generation.completed", &json!("image_generation.completed"))
    );
    assert_eq!((&last.data["usage"]["total_tokens"], &last.data["seed"]), (&json!(0), &json!(9)));
    assert!(metadata::read(&file(&last.data)).is_ok());
    assert_eq!(partial.len(), 2);
    for (index, event) in partial.iter().enumerate() {
        assert_eq!(
            (event.name.as_str(), &event.data["partial_image_index"]),
            ("image_generation.partial_image", &json!(index))
        );
        for (name, value) in
            [("size", "256x256"), ("output_format", "jpeg"), ("quality", "auto"), ("background", "opaque")]
        {
            assert_eq!(event.data[name], value);
        }
        assert!(event.data["created_at"].is_u64());
        let image = decode(&file(&event.data), &Default::default()).unwrap();
        assert_eq!([image.width(), image.height()], [256, 256]);
    }
    // One that is done before a preview is made has fewer, and an edit has events of its own.
    let parts: [(&str, &[u8]); 5] =
        [("prompt", b"a fox"), ("image", &picture()), ("steps", b"2"), ("stream", b"true"), ("partial_images", b"0")];
    let all: Vec<_> =
        events(&server, "/v1/images/edits", "multipart/form-data; boundary=b0undary", &form(&parts)).collect();
    assert_eq!(all.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["image_edit.completed"]);
}

fn until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A job that takes long enough to be looked at.
fn long() -> Value {
    json!({"prompt": "a fox", "steps": 150, "size": "512x512"})
}

#[test]
fn a_stream_that_nobody_reads_ends_its_job() {
    let server = start();
    let jobs = || server.get("/v1/jobs").json()["jobs"].clone();
    let mut body = long();
    body["stream"] = json!(true);
    let reader = events(&server, GENERATIONS, "application/json", body.to_string().as_bytes());
    until(|| jobs()[0]["progress"]["step"].as_u64() > Some(1));
    drop(reader);
    until(|| jobs()[0]["state"] == "cancelled");
    // One that ends by another hand is an error in the stream, which clients raise.
    let mut reader = events(&server, GENERATIONS, "application/json", body.to_string().as_bytes());
    until(|| jobs()[0]["state"] == "running");
    assert_eq!(server.send("DELETE", &format!("/v1/jobs/{}", jobs()[0]["id"].as_str().unwrap()), &[], b"").status, 200);
    let event = reader.next().unwrap();
    assert_eq!((event.name.as_str(), &event.data["error"]["code"]), ("error", &json!("cancelled")));
    assert_eq!(reader.next(), None);
}

/// The client's own retries are one job, and one image.
#[test]
fn retries_are_one_job() {
    let server = start();
    let jobs = || server.get("/v1/jobs").json()["jobs"].as_array().unwrap().clone();
    let mut body = json!({"prompt": "a fox", "steps": 20, "size": "256x256"}).to_string();
    let send = |body: &str, retry: &str| {
        let mut stream = server.connect();
        let host = server.address;
        let head = format!(
            "POST {GENERATIONS} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nx-stainless-retry-count: {retry}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        stream
    };
    let first = send(&body, "0");
    until(|| jobs().len() == 1 && jobs()[0]["state"] == "running");
    drop(first);
    let mut second = send(&body, "1");
    let mut third = send(&body, "2");
    let answers = [crate::common::read(&mut second).unwrap(), crate::common::read(&mut third).unwrap()]
        .map(|answer| data(&answer));
    assert_eq!((answers[0].len(), &answers[0]), (1, &answers[1]));
    assert_eq!(jobs().len(), 1);
    // What is sent for the first time is another, and so is another body.
    let mut again = send(&body, "0");
    assert_eq!(crate::common::read(&mut again).unwrap().status, 200);
    assert_eq!(jobs().len(), 2);
    body.insert(body.len() - 1, ' ');
    let mut other = send(&body, "1");
    assert_eq!(crate::common::read(&mut other).unwrap().status, 200);
    assert_eq!(jobs().len(), 3);
    // With a key of its own it is one for a day.
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let answers = [(), ()].map(|()| data(&server.send("POST", GENERATIONS, &headers, body.as_bytes())));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(jobs().len(), 4);
    assert_eq!(server.send("POST", GENERATIONS, &headers, b"{\"prompt\": \"x\"}").status, 400);
}
