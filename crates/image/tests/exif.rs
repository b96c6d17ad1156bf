//! The comments of JPEG and WebP files, as A1111 (by piexif) and others write them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;

use calotype_image::{RgbImage, encode_png, read_user_comment};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

const TEXT: &str = "a cat, 猫 🐙\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512";

/// The bytes of numbers in a byte order.
fn number(big: bool, value: u32, bytes: usize) -> Vec<u8> {
    let all = value.to_be_bytes();
    let mut own = all[4 - bytes..].to_vec();
    if !big {
        own.reverse();
    }
    own
}

/// An EXIF block with one directory, in it the EXIF directory, and in that the comment.
fn block(big: bool, code: &[u8], text: &[u8]) -> Vec<u8> {
    let entry = |tag, kind, count: usize, value| {
        [number(big, tag, 2), number(big, kind, 2), number(big, count as u32, 4), number(big, value, 4)].concat()
    };
    let directory = |entry: Vec<u8>| [number(big, 1, 2), entry, vec![0; 4]].concat();
    let start = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    let (first, second) = (entry(0x8769, 4, 1, 26), entry(0x9286, 7, code.len() + text.len(), 44));
    [start, number(big, 8, 4), directory(first), directory(second), code.to_vec(), text.to_vec()].concat()
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

fn jpeg(exif: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 75);
    encoder.add_app_segment(1, [&b"Exif\0\0"[..], &exif].concat()).unwrap();
    encoder.encode(&[9; 12], 2, 2, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}

fn webp(exif: Vec<u8>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = WebPEncoder::new_lossless(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&[9; 12], 2, 2, ExtendedColorType::Rgb8).unwrap();
    bytes.into_inner()
}

#[test]
fn comments_are_read_in_every_encoding() {
    let ascii = "Steps: 1";
    for big in [true, false] {
        // piexif writes big-endian text into either block.
        let all: [(&[u8], Vec<u8>, &str); 9] = [
            (b"UNICODE\0", utf16(TEXT, true), TEXT),
            (b"UNICODE\0", utf16(TEXT, false), TEXT),
            (b"UNICODE\0", utf16(&format!("\u{feff}{TEXT}"), false), TEXT),
            (b"ASCII\0\0\0", ascii.as_bytes().to_vec(), ascii),
            (&[0; 8], TEXT.as_bytes().to_vec(), TEXT),
            // Against the standard.
            (b"Unicode\0", TEXT.as_bytes().to_vec(), TEXT),
            (b"", TEXT.as_bytes().to_vec(), TEXT),
            (b"", utf16(TEXT, false), TEXT),
            (b"", b"Steps".to_vec(), "Steps"),
        ];
        for (code, bytes, text) in all {
            let exif = block(big, code, &bytes);
            for file in [jpeg(exif.clone()), webp(exif)] {
                assert_eq!(read_user_comment(&file).unwrap().as_deref(), Some(text));
            }
        }
    }
}

#[test]
fn files_without_a_comment_have_none() {
    let plain = encode_png(&RgbImage::filled(2, 2, [1; 3]), &[]).unwrap();
    assert_eq!(read_user_comment(&plain).unwrap(), None);
    for exif in [vec![], b"MM\0*".to_vec(), block(true, b"UNICODE\0", b""), block(false, b"ASCII\0\0\0", b"\0\0 ")] {
        assert_eq!(read_user_comment(&jpeg(exif)).unwrap(), None);
    }
    assert!(read_user_comment(b"GIF89a").is_err());
}

#[test]
fn damaged_blocks_are_no_panic() {
    let whole = block(true, b"UNICODE\0", &utf16(TEXT, true));
    for length in 0..whole.len() {
        assert_eq!(read_user_comment(&jpeg(whole[..length].to_vec())).unwrap(), None, "{length}");
    }
    for at in 0..60 {
        for byte in [0, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            // Whatever it makes of it.
            let _ = read_user_comment(&jpeg(damaged)).unwrap();
        }
    }
}
