//! Hostile pictures: an error or a picture, never a panic, and large ones are refused before memory is taken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use calotype_image::{Error, Limits, RgbImage, decode, encode_png, read_png_text};
use image::{ExtendedColorType, ImageEncoder};
use miniz_oxide::deflate::compress_to_vec_zlib;
use proptest::prelude::*;

const LIMITS: Limits = Limits { max_pixels: 1 << 16, max_bytes: 1 << 20 };

fn samples() -> [Vec<u8>; 2] {
    let data = (0..24 * 16 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let picture = RgbImage::new(24, 16, data).unwrap();
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 75).encode(picture.data(), 24, 16, jpeg_encoder::ColorType::Rgb).unwrap();
    [encode_png(&picture, &[("parameters", "Steps: 20"), ("other", "\u{1F419}")]).unwrap(), jpeg]
}

/// Reads bytes in every way there is; only a panic fails.
fn read(bytes: &[u8]) {
    if let Ok(picture) = decode(bytes, &LIMITS) {
        assert_eq!(picture.data().len(), picture.width() as usize * picture.height() as usize * 3);
        assert!(picture.data().len() as u64 <= LIMITS.max_pixels * 3);
    }
    let _ = read_png_text(bytes);
}

fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(kind);
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&crc32fast::hash(&bytes[4..]).to_be_bytes());
    bytes
}

/// A PNG file that says it is 8-bit RGB of this size.
fn png_of_size(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [
        b"\x89PNG\r\n\x1a\n",
        png_chunk(b"IHDR", &header).as_slice(),
        &png_chunk(b"IDAT", pixels),
        &png_chunk(b"IEND", b""),
    ]
    .concat()
}

#[test]
fn a_webp_cut_or_changed_anywhere_does_not_panic() {
    let data: Vec<u8> = (0..24 * 16 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let mut webp = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut webp)
        .write_image(&data, 24, 16, ExtendedColorType::Rgb8)
        .unwrap();
    assert_eq!(decode(&webp, &LIMITS).unwrap().data(), data);
    for at in 0..webp.len() {
        read(&webp[..at]);
        for bit in [0x01, 0x80, 0xff] {
            let mut changed = webp.clone();
            changed[at] ^= bit;
            read(&changed);
        }
    }
}

#[test]
fn a_picture_cut_anywhere_is_an_error() {
    let [png, jpeg] = samples();
    for length in 0..png.len() - 16 {
        assert!(decode(&png[..length], &LIMITS).is_err(), "{length} bytes of PNG");
        assert!(read_png_text(&png[..length]).map_or(length < 8, |texts| texts.len() <= 2));
    }
    for length in 0..jpeg.len() {
        read(&jpeg[..length]);
    }
}

#[test]
fn a_picture_with_any_byte_changed_does_not_panic() {
    for sample in samples() {
        for at in 0..sample.len() {
            for change in [1, 0x80, 0xff] {
                let mut bytes = sample.clone();
                bytes[at] ^= change;
                read(&bytes);
            }
        }
    }
}

/// What fuzzing found: two frames, one with finer colours than brightness, at which the decoder before this one panicked.
#[test]
fn finds_are_read_or_refused() {
    read(include_bytes!("finds/two_frames.jpg"));
    // The same in a TIFF, whose decoder would take the other one.
    let error = decode(include_bytes!("finds/two_frames.tif"), &LIMITS).unwrap_err().to_string();
    assert_eq!(error, "a TIFF of a kind that is not read (it is compressed as JPEG); convert it to PNG");
}

#[test]
fn bombs_are_refused_at_once() {
    let started = Instant::now();
    for (width, height) in [(65_535, 65_535), (0x7fff_ffff, 0x7fff_ffff), (0x7fff_ffff, 1), (0, 5), (8193, 8192)] {
        let error = decode(&png_of_size(width, height, &[]), &Limits::default()).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let error = decode(&png_of_size(65_535, 65_535, &[]), &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: 4_294_836_225, .. }), "{error}");
    // A JPEG whose header says 65,535 by 65,535.
    let [_, mut jpeg] = samples();
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    assert!(matches!(decode(&jpeg, &Limits::default()), Err(Error::TooLarge { .. })));
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

#[test]
fn compressed_extras_do_not_grow_past_the_limit() {
    let bomb = compress_to_vec_zlib(&vec![0; 64 << 20], 6);
    for kind in [b"zTXt", b"iCCP"] {
        let [mut png, _] = samples();
        png.splice(33..33, png_chunk(kind, &[b"k\0\0", bomb.as_slice()].concat()));
        let started = Instant::now();
        read(&png);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    // More pixels packed than the header says.
    read(&png_of_size(2, 2, &bomb));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn random_bytes(start in 0..3usize, tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 3] = [b"", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"\xff\xd8\xff"];
        read(&[starts[start], &tail].concat());
    }

    #[test]
    fn random_chunks(kinds in prop::collection::vec((0..8usize, prop::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        let mut bytes = png_of_size(3, 2, &compress_to_vec_zlib(&[0; 20], 6));
        for (kind, data) in kinds {
            let kind = [b"tEXt", b"zTXt", b"iTXt", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"eXIf"][kind];
            bytes.splice(33..33, png_chunk(kind, &data));
        }
        read(&bytes);
    }

    #[test]
    fn texts_come_back(text in ".*", keyword in "[!-~]{1,79}") {
        let bytes = encode_png(&RgbImage::filled(1, 1, [0; 3]), &[(&keyword, &text)]).unwrap();
        prop_assert_eq!(read_png_text(&bytes).unwrap(), vec![(keyword, text.replace('\0', "\u{fffd}"))]);
    }
}
