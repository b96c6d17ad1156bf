//! Pictures changed at random: each is decoded or refused, none panics. The test command makes twenty thousand, the same
//! every time; `MUTATIONS=10000000 SEED=2 cargo test --release -p calotype-image --test mutations -- --nocapture` more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../fuzz/mutator.rs"]
mod mutator;

use calotype_image::{FileFormat, Limits, RgbImage, decode, encode, encode_png, read_png_text, read_user_comment};
use image::{ExtendedColorType, ImageEncoder};

const LIMITS: Limits = Limits { max_pixels: 1 << 12, max_bytes: 1 << 18 };

/// A segment of EXIF with an orientation and a comment, as cameras and A1111 write them.
const EXIF: &[u8] =
    b"\xff\xe1\0\x4eExif\0\0MM\0\x2a\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\x87\x69\0\x04\0\0\0\x01\
\0\0\0\x26\0\0\0\0\0\x01\x92\x86\0\x07\0\0\0\x0e\0\0\0\x38\0\0\0\0UNICODE\0\0a\0b\0c";

fn pictures() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..24 * 16 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let picture = RgbImage::new(24, 16, data.clone()).unwrap();
    let texts = [("parameters", "a cat\nSteps: 20, Seed: 1"), ("other", "\u{1f419}")];
    let (mut jpeg, mut webp) = (Vec::new(), Vec::new());
    jpeg_encoder::Encoder::new(&mut jpeg, 75).encode(&data, 24, 16, jpeg_encoder::ColorType::Rgb).unwrap();
    image::codecs::webp::WebPEncoder::new_lossless(&mut webp)
        .write_image(&data, 24, 16, ExtendedColorType::Rgb8)
        .unwrap();
    let turned = [&jpeg[..2], EXIF, &jpeg[2..]].concat();
    let mut pictures = vec![encode_png(&picture, &texts).unwrap(), jpeg, turned, webp];
    pictures.extend([FileFormat::Jpeg, FileFormat::WebP].map(|format| encode(&picture, format, 80, &texts).unwrap()));
    let others: [&[u8]; 9] = [
        include_bytes!("formats/palette.gif"),
        include_bytes!("formats/animated.gif"),
        include_bytes!("formats/palette.bmp"),
        include_bytes!("formats/rgb.bmp"),
        include_bytes!("formats/tiff_lzw.tif"),
        include_bytes!("formats/tiff_adobe_deflate.tif"),
        include_bytes!("formats/packbits.tif"),
        include_bytes!("finds/two_frames.tif"),
        include_bytes!("formats/cmyk.tif"),
    ];
    pictures.extend(others.map(<[u8]>::to_vec));
    pictures
}

#[test]
fn pictures_that_are_wrong() {
    let corpus = pictures();
    assert_eq!(decode(&corpus[2], &LIMITS).unwrap().width(), 16, "the EXIF turns it");
    assert_eq!(read_user_comment(&corpus[2]).unwrap().as_deref(), Some("abc"));
    let words: [&[u8]; 20] = [
        b"IHDR",
        b"IDAT",
        b"PLTE",
        b"tRNS",
        b"zTXt",
        b"iTXt",
        b"eXIf",
        b"acTL",
        b"\xff\xda",
        b"\xff\xc2",
        b"VP8X",
        b"ANMF",
        b"\x92\x86\0\x07",
        b"\x87\x69\0\x04",
        b"UNICODE\0",
        b"GIF89a",
        b"\x21\xf9\x04",
        b"II*\0",
        b"\x03\x01\x03\0\x01\0\0\0",
        b"\x06\x01\x03\0\x01\0\0\0",
    ];
    mutator::run("picture", &corpus, &words, |bytes| {
        let _ = (read_png_text(&bytes), read_user_comment(&bytes));
        match decode(&bytes, &LIMITS) {
            Ok(picture) => {
                assert_eq!(picture.data().len(), picture.width() as usize * picture.height() as usize * 3);
                true
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                false
            }
        }
    });
}
