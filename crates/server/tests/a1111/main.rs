//! A1111's API, route by route, as its clients use it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../common/mod.rs"]
mod common;
mod images;
mod progress;
mod settings;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use calotype_image::{RgbImage, encode_png};
use common::{Answer, Running};
use serde_json::Value;

/// A small picture as base64.
fn picture(colour: [u8; 3]) -> String {
    STANDARD.encode(encode_png(&RgbImage::filled(64, 64, colour), &[]).unwrap())
}

/// White in the left half.
fn mask() -> String {
    let mut mask = RgbImage::filled(64, 64, [0; 3]);
    (0..64).flat_map(|y| (0..32).map(move |x| (x, y))).for_each(|(x, y)| mask.set_pixel(x, y, [255; 3]));
    format!("data:image/png;base64,{}", STANDARD.encode(encode_png(&mask, &[]).unwrap()))
}

fn txt2img(server: &Running, body: Value) -> Answer {
    server.post("/sdapi/v1/txt2img", &body)
}

/// The files of an answer, and its info.
fn made(answer: &Answer) -> (Vec<Vec<u8>>, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let images =
        body["images"].as_array().unwrap().iter().map(|image| STANDARD.decode(image.as_str().unwrap()).unwrap());
    (images.collect(), serde_json::from_str(body["info"].as_str().unwrap()).unwrap())
}

/// All but what every image of the model of this repository gets: it is too small for a watermark.
fn warnings(info: &Value) -> Vec<String> {
    let all = info["calotype_warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned());
    all.filter(|warning| !warning.contains("have no watermark")).collect()
}
