//! What [`calotype_image::decode`] makes of the kinds of pictures there are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use calotype_image::{Error, Limits, RgbImage, decode, decode_rgba, encode_png, open};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// A PNG file of 2 by 1 pixels from raw samples.
fn png(color: png::ColorType, depth: png::BitDepth, palette: &[u8], samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette);
    }
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    bytes
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let [width, height] = [picture.width(), picture.height()].map(|side| side as u16);
    jpeg_encoder::Encoder::new(&mut bytes, 95)
        .encode(picture.data(), width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    bytes
}

#[test]
fn every_kind_of_png_becomes_rgb() {
    use png::{BitDepth, ColorType};
    type Case = (ColorType, BitDepth, &'static [u8], &'static [u8], [u8; 6]);
    let cases: [Case; 7] = [
        (ColorType::Rgb, BitDepth::Eight, &[], &[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        (ColorType::Grayscale, BitDepth::Eight, &[], &[7, 200], [7, 7, 7, 200, 200, 200]),
        (ColorType::Grayscale, BitDepth::One, &[], &[0b0100_0000], [0, 0, 0, 255, 255, 255]),
        (ColorType::Grayscale, BitDepth::Sixteen, &[], &[0x80, 0x80, 0xff, 0xff], [128, 128, 128, 255, 255, 255]),
        (ColorType::GrayscaleAlpha, BitDepth::Eight, &[], &[9, 255, 9, 0], [9, 9, 9, 255, 255, 255]),
        (ColorType::Rgba, BitDepth::Eight, &[], &[0, 100, 200, 51, 5, 6, 7, 255], [204, 224, 244, 5, 6, 7]),
        (ColorType::Indexed, BitDepth::Eight, &[1, 1, 1, 8, 9, 10], &[1, 0], [8, 9, 10, 1, 1, 1]),
    ];
    for (color, depth, palette, samples, expected) in cases {
        let picture = decode(&png(color, depth, palette, samples), &Limits::default()).unwrap();
        assert_eq!(picture.data(), expected, "{color:?} {depth:?}");
    }
    let rgba = decode_rgba(&png(ColorType::Rgba, BitDepth::Eight, &[], &[1, 2, 3, 4, 5, 6, 7, 8]), &Limits::default());
    assert_eq!(rgba.unwrap().data(), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn jpeg_is_told_by_content() {
    let picture = RgbImage::filled(20, 12, [200, 60, 30]);
    let back = decode(&jpeg(&picture), &Limits::default()).unwrap();
    assert_eq!((back.width(), back.height()), (20, 12));
    assert!(calotype_image::psnr(&picture, &back).unwrap() > 40.0);
}

/// Inks 40, 120, 200, 30 of 255, which Pillow wrote and reads as this colour.
#[test]
fn inks_become_colours() {
    let picture = decode(include_bytes!("cmyk.jpg"), &Limits::default()).unwrap();
    assert_eq!((picture.width(), picture.height()), (8, 8));
    assert!(picture.data().chunks_exact(3).all(|pixel| pixel == [190, 119, 49]), "{:?}", picture.pixel(0, 0));
}

#[test]
fn exif_orientation_is_applied() {
    // Orientation 6: the camera was turned, the upper left corner of what is stored belongs at the upper right.
    let mut picture = RgbImage::filled(32, 16, [255; 3]);
    picture.paste(&RgbImage::filled(8, 8, [0; 3]), 0, 0);
    let tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut segment = vec![0xff, 0xe1, 0, (2 + 6 + tiff.len()) as u8];
    segment.extend_from_slice(b"Exif\0\0");
    segment.extend_from_slice(tiff);
    let mut bytes = jpeg(&picture);
    bytes.splice(2..2, segment);
    let turned = decode(&bytes, &Limits::default()).unwrap();
    assert_eq!((turned.width(), turned.height()), (16, 32));
    assert!(turned.pixel(14, 1).unwrap()[0] < 30 && turned.pixel(1, 1).unwrap()[0] > 225);
}

#[test]
fn webp_has_alpha_and_orientation() {
    let mut pixels = [9, 8, 7, 255].repeat(12 * 5);
    pixels[..4].copy_from_slice(&[0, 100, 200, 51]);
    let encode = |exif: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut bytes);
        if !exif.is_empty() {
            encoder.set_exif_metadata(exif.to_vec()).unwrap();
        }
        encoder.write_image(&pixels, 12, 5, ExtendedColorType::Rgba8).unwrap();
        bytes
    };
    let bytes = encode(b"");
    assert_eq!(decode_rgba(&bytes, &Limits::default()).unwrap().data(), pixels);
    assert_eq!(decode(&bytes, &Limits::default()).unwrap().pixel(0, 0), Some([204, 224, 244]));
    let error = decode(&bytes, &Limits { max_pixels: 59, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: 60, limit: 59, .. }), "{error}");
    let turned = encode(b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    let turned = decode(&turned, &Limits::default()).unwrap();
    assert_eq!((turned.width(), turned.height()), (5, 12));
    assert_eq!(turned.pixel(4, 0), Some([204, 224, 244]));
}

#[test]
fn limits_are_kept() {
    let bytes = encode_png(&RgbImage::filled(100, 50, [1; 3]), &[]).unwrap();
    let limits = |max_pixels, max_bytes| Limits { max_pixels, max_bytes };
    assert!(decode(&bytes, &limits(5000, 1 << 20)).is_ok());
    let error = decode(&bytes, &limits(4999, 1 << 20)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { found: 5000, limit: 4999, .. }), "{error}");
    assert!(matches!(decode(&bytes, &limits(5000, 14_999)).unwrap_err(), Error::TooLarge { unit: "bytes", .. }));
    assert!(matches!(decode(&bytes, &limits(5000, 20)).unwrap_err(), Error::TooLarge { unit: "bytes", .. }));
}

#[test]
fn errors_of_files_are_one_line_with_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cat.png");
    let whole = encode_png(&RgbImage::filled(9, 9, [1; 3]), &[]).unwrap();
    let contents: [&[u8]; 5] = [b"", b"hello", b"GIF89a", &whole[..20], &whole[..whole.len() - 20]];
    for bytes in contents {
        std::fs::write(&path, bytes).unwrap();
        let message = open(&path, &Limits::default()).unwrap_err().to_string();
        assert!(message.contains("cat.png: ") && !message.contains('\n'), "{message}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(open(&path, &Limits::default()).unwrap(), RgbImage::filled(9, 9, [1; 3]));
    let message = open(&path, &Limits { max_bytes: 30, ..Limits::default() }).unwrap_err().to_string();
    assert!(message.contains("cat.png: ") && message.contains("30"), "{message}");
    let message = open(folder.path().join("dog.png"), &Limits::default()).unwrap_err().to_string();
    assert!(message.contains("dog.png: cannot be read"), "{message}");
}
