//! PNG texts: what is written is read again, and stands in the chunks that other programs expect.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use calotype_image::{Error, RgbImage, encode_png, read_png_text};
use miniz_oxide::deflate::compress_to_vec_zlib;

const PARAMETERS: &str = "an octopus\nNegative prompt: blur\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42";

fn picture() -> RgbImage {
    RgbImage::filled(3, 2, [10, 20, 30])
}

/// A PNG file with one more chunk after its header.
fn with_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = encode_png(&picture(), &[]).unwrap();
    bytes.splice(33..33, chunk(kind, data));
    bytes
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(kind);
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&crc32fast::hash(&bytes[4..]).to_be_bytes());
    bytes
}

fn owned(keyword: &str, text: &str) -> (String, String) {
    (keyword.into(), text.into())
}

#[test]
fn latin_text_is_a_plain_chunk_and_other_text_an_international_one() {
    let bytes = encode_png(&picture(), &[("parameters", PARAMETERS), ("name", "caf\u{e9}")]).unwrap();
    let expected = [b"tEXtparameters\0".as_slice(), PARAMETERS.as_bytes()].concat();
    assert!(bytes.windows(expected.len()).any(|window| window == expected));
    assert!(bytes.windows(13).any(|window| window == b"tEXtname\0caf\xe9"));
    assert_eq!(read_png_text(&bytes).unwrap(), [owned("parameters", PARAMETERS), owned("name", "caf\u{e9}")]);

    let text = "\u{1F419} on \u{9ec4}\u{8272}\n";
    let bytes = encode_png(&picture(), &[("parameters", text), ("calotype", "{}")]).unwrap();
    let expected = [b"iTXtparameters\0\0\0\0\0".as_slice(), text.as_bytes()].concat();
    assert!(bytes.windows(expected.len()).any(|window| window == expected));
    assert_eq!(read_png_text(&bytes).unwrap(), [owned("parameters", text), owned("calotype", "{}")]);
    assert_eq!(calotype_image::decode(&bytes, &Default::default()).unwrap(), picture());
}

#[test]
fn empty_texts_and_zero_characters() {
    let bytes = encode_png(&picture(), &[("a", ""), ("b", "x\0y")]).unwrap();
    assert_eq!(read_png_text(&bytes).unwrap(), [owned("a", ""), owned("b", "x\u{fffd}y")]);
    assert_eq!(read_png_text(&encode_png(&picture(), &[]).unwrap()).unwrap(), []);
}

#[test]
fn keywords_are_checked() {
    let long = "k".repeat(80);
    for keyword in ["", " a", "a ", "a  b", "a\nb", "\u{1F419}", "a\0", long.as_str()] {
        let error = encode_png(&picture(), &[(keyword, "x")]).unwrap_err();
        assert!(matches!(error, Error::Keyword { .. }) && !error.to_string().contains('\n'), "{error}");
    }
    assert!(encode_png(&picture(), &[(&long[..79], "x"), ("a b \u{e9}", "x")]).is_ok());
}

#[test]
fn compressed_texts_and_texts_after_the_pixels_are_read() {
    let packed = compress_to_vec_zlib(b"caf\xe9", 6);
    assert_eq!(
        read_png_text(&with_chunk(b"zTXt", &[b"k\0\0", packed.as_slice()].concat())).unwrap(),
        [owned("k", "caf\u{e9}")]
    );
    let packed = compress_to_vec_zlib("\u{1F419}".as_bytes(), 6);
    let data = [b"k\0\x01\0en\0key\0", packed.as_slice()].concat();
    assert_eq!(read_png_text(&with_chunk(b"iTXt", &data)).unwrap(), [owned("k", "\u{1F419}")]);

    let mut bytes = encode_png(&picture(), &[]).unwrap();
    let end = bytes.len() - 12;
    bytes.splice(end..end, chunk(b"tEXt", b"late\0yes"));
    assert_eq!(read_png_text(&bytes).unwrap(), [owned("late", "yes")]);
}

#[test]
fn damaged_texts_are_passed_over() {
    let bad: [(&[u8; 4], &[u8]); 7] = [
        (b"tEXt", b"no separator"),
        (b"zTXt", b"k\0\0not zlib"),
        (b"zTXt", b"k\0\x07"),
        (b"zTXt", b"k\0"),
        (b"iTXt", b"k\0\0\0en\0"),
        (b"iTXt", b"k\0\0\0\0\0\xff\xfe"),
        (b"iTXt", b"k\0\x02\0\0\0x"),
    ];
    for (kind, data) in bad {
        assert_eq!(read_png_text(&with_chunk(kind, data)).unwrap(), [], "{data:?}");
    }
    let mut bytes = with_chunk(b"tEXt", b"k\0value");
    assert_eq!(read_png_text(&bytes).unwrap().len(), 1);
    bytes[33 + 8 + 3] ^= 1;
    assert_eq!(read_png_text(&bytes).unwrap(), [], "a wrong checksum");
    assert!(matches!(read_png_text(b"\xff\xd8\xff\xe0"), Err(Error::UnknownFormat)));
}

#[test]
fn text_bombs_are_passed_over() {
    let bomb = [b"k\0\0", compress_to_vec_zlib(&vec![b'a'; 64 << 20], 6).as_slice()].concat();
    assert_eq!(read_png_text(&with_chunk(b"zTXt", &bomb)).unwrap(), []);
    let mut bytes = encode_png(&picture(), &[]).unwrap();
    bytes.splice(33..33, chunk(b"tEXt", b"k\0v").repeat(10_000));
    assert_eq!(read_png_text(&bytes).unwrap().len(), 256);
}
