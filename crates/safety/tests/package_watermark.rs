//! The schemes of `invisible-watermark`, held to the package (`reference/watermark.py`).

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fmt::Write;

use calotype_image::RgbImage;
use calotype_safety::watermark::package::{self, Scheme};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn picture(width: u32, height: u32, kind: &str) -> RgbImage {
    let value = |x: u32, y: u32, c: u32| match kind {
        "grey" => 90,
        "waves" => {
            let wave = (x * x / 97 + y * (c + 2)) % 256;
            2 * if wave > 127 { 255 - wave } else { wave } as u8
        }
        _ => {
            let (x, y) = (u64::from(x / 3), u64::from(y / 3));
            ((x * 7919 + y * 104_729 + u64::from(c) * 31 + x * y * 17) % 251) as u8
        }
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    RgbImage::new(width, height, places.flat_map(|(x, y)| [0, 1, 2].map(|c| value(x, y, c))).collect()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn bytes_and_readings_are_the_packages() {
    let goldens: Value = serde_json::from_str(include_str!("goldens/watermark.json")).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let side = |name: &str| case[name].as_u64().unwrap() as u32;
        let text = case["text"].as_str().unwrap();
        let scheme = if case["scheme"] == "dwtDct" { Scheme::DwtDct } else { Scheme::DwtDctSvd };
        let plain = picture(side("width"), side("height"), case["kind"].as_str().unwrap());
        let marked = package::write(&plain, text.as_bytes(), scheme).unwrap();
        assert_eq!(hex(&Sha256::digest(marked.data())), case["sha256"].as_str().unwrap(), "{case}");
        let read = package::read(&marked, text.len(), scheme).unwrap();
        assert_eq!(hex(&read), case["read"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn what_can_not_be_marked_is_refused() {
    let small = picture(255, 256, "waves");
    assert!(package::write(&small, b"ab", Scheme::DwtDct).is_err());
    assert!(package::read(&small, 2, Scheme::DwtDctSvd).is_err());
    let large = picture(256, 256, "waves");
    assert!(package::write(&large, b"", Scheme::DwtDct).is_err());
    assert!(package::read(&large, package::LONGEST_TEXT + 1, Scheme::DwtDct).is_err());
    // A picture without a single block has no bits.
    assert_eq!(package::read(&picture(65536, 2, "grey"), 2, Scheme::DwtDctSvd).unwrap(), [0, 0]);
    package::write(&picture(3, 65536, "grey"), b"ab", Scheme::DwtDct).unwrap();
}
