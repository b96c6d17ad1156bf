//! Files of every format that is read, as Pillow wrote and reads them (`reference/formats.py`), and files of every format that is
//! written, with their texts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use calotype_image::{
    Error, FileFormat, Limits, PictureTexts, RgbImage, XMP_KEYWORD, decode, decode_rgba, encode, psnr, read_png_text,
    read_user_comment,
};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn other_programs_files_are_read_as_pillow_does() {
    let mut seen = BTreeSet::new();
    for line in fs::read_to_string(folder().join("pixels.txt")).unwrap().lines() {
        let [name, width, height, rgba] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let file = fs::read(folder().join(name)).unwrap();
        let picture = decode_rgba(&file, &Limits::default()).unwrap();
        let size = [width, height].map(|side| side.parse::<u32>().unwrap());
        assert_eq!([picture.width(), picture.height()], size, "{name}");
        for (got, expected) in picture.data().chunks(4).zip(bytes(rgba).chunks(4)) {
            // Nothing is seen of the colour of what is transparent. Inks are rounded in another way.
            let near = u8::from(name.starts_with("cmyk"));
            let same = got.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= near);
            assert!(same || (got[3], expected[3]) == (0, 0), "{name}: {got:?} {expected:?}");
        }
        seen.insert(name.to_owned());
    }
    assert_eq!(seen.len(), fs::read_dir(folder()).unwrap().count() - 1, "a file without a line, or a line without one");
}

/// Refused by what the header says, before memory is taken.
#[test]
fn bombs_of_every_format_are_refused() {
    let limits = Limits { max_pixels: 1 << 20, max_bytes: 1 << 24 };
    let bomb = |name: &str, at: usize, side: &[u8]| {
        let mut file = fs::read(folder().join(name)).unwrap();
        file[at..at + side.len()].copy_from_slice(side);
        decode(&file, &limits).unwrap_err()
    };
    let gif = bomb("palette.gif", 6, &[0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(gif, Error::TooLarge { found: 4_294_836_225, limit: 1_048_576, unit: "pixels" }), "{gif}");
    let bmp = bomb("rgb.bmp", 18, &[0xff, 0x7f, 0, 0, 0xff, 0x7f, 0, 0]);
    assert!(matches!(bmp, Error::TooLarge { found: 1_073_676_289, limit: 1_048_576, unit: "pixels" }), "{bmp}");
    // The width and height of a TIFF are entries of its directory.
    let file = fs::read(folder().join("raw.tif")).unwrap();
    let entry =
        |tag: u8| file.windows(4).position(|four| four == [tag, 1, 4, 0] || four == [tag, 1, 3, 0]).unwrap() + 8;
    let mut large = file.clone();
    large[entry(0)..][..2].copy_from_slice(&[0xff, 0x7f]);
    large[entry(1)..][..2].copy_from_slice(&[0xff, 0x7f]);
    let tiff = decode(&large, &limits).unwrap_err();
    assert!(matches!(tiff, Error::TooLarge { .. } | Error::Corrupt { .. }), "{tiff}");
    for name in ["palette.gif", "rgb.bmp", "raw.tif", "tiff_lzw.tif", "pages.tif", "rgba.tif"] {
        let file = fs::read(folder().join(name)).unwrap();
        for length in 0..file.len() {
            // Cut anywhere it is a picture or one line.
            if let Err(error) = decode(&file[..length], &limits) {
                assert!(!error.to_string().contains('\n'), "{name}: {error}");
            }
        }
        for at in 0..file.len() {
            for bit in [1, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= bit;
                let _ = decode(&changed, &limits);
            }
        }
    }
    // A palette, which TIFFs seldom have: PhotometricInterpretation 3.
    let mut palette = file.clone();
    palette[entry(6)] = 3;
    let other = decode(&palette, &limits).unwrap_err().to_string();
    assert!(
        other.starts_with("a TIFF of a kind that is not read (") && other.ends_with("); convert it to PNG"),
        "{other}"
    );
    let unknown = decode(b"no picture", &limits).unwrap_err();
    assert_eq!(unknown.to_string(), "not a PNG, JPEG, WebP, GIF, BMP or TIFF picture; convert it to one of these");
}

const PARAMETERS: &str = "a cat, 猫 🐙\nSteps: 20, Seed: 1";

fn picture() -> RgbImage {
    let data = (0..24 * 16).flat_map(|i| [i * 7 % 200, i % 24 * 10, 255 - i / 2].map(|x| x as u8)).collect();
    RgbImage::new(24, 16, data).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    let picture = picture();
    let texts = [("parameters", PARAMETERS), ("calotype", "{\"prompt\":\"a cat, 猫\"}")];
    for format in FileFormat::ALL {
        let file = encode(&picture, format, 95, &texts).unwrap();
        let again = decode(&file, &Limits::default()).unwrap();
        match format {
            FileFormat::Jpeg => {
                assert!(psnr(&picture, &again).unwrap() > 35.0);
                let coarse = encode(&picture, format, 20, &texts).unwrap();
                assert!(coarse.len() < file.len() && file.starts_with(b"\xff\xd8\xff"));
                assert!(file.windows(5).any(|five| five == b"Exif\0"));
            }
            _ => assert_eq!(again, picture),
        }
        if format == FileFormat::Png {
            assert_eq!(read_png_text(&file).unwrap(), texts.map(|(key, text)| (key.to_owned(), text.to_owned())));
        } else {
            assert_eq!(read_user_comment(&file).unwrap().as_deref(), Some(PARAMETERS), "{format:?}");
            let note = "calotype: {\"prompt\":\"a cat, 猫\"}".as_bytes();
            assert!(file.windows(note.len()).any(|part| part == note));
            assert!(file.windows(8).any(|part| part == b"UNICODE\0"));
        }
        let bare = encode(&picture, format, 95, &[]).unwrap();
        assert_eq!(decode(&bare, &Limits::default()).unwrap(), again);
        assert!(!bare.windows(4).any(|four| four == b"Exif" || four == b"EXIF"));
    }
    let webp = encode(&picture, FileFormat::WebP, 1, &texts).unwrap();
    assert_eq!(webp, encode(&picture, FileFormat::WebP, 100, &texts).unwrap());
}

/// In the place of each format, by its own rules, and beside the other texts.
#[test]
fn xmp_goes_where_each_format_has_it() {
    let xmp = "<?xpacket begin=\"\u{feff}\"?><x/>";
    let texts = [("parameters", PARAMETERS), (XMP_KEYWORD, xmp)];
    let without = |format| encode(&picture(), format, 95, &texts[..1]).unwrap();
    for format in FileFormat::ALL {
        let file = encode(&picture(), format, 95, &texts).unwrap();
        let read = PictureTexts::read(&file).unwrap();
        assert_eq!((read.xmp(), read.texts.len()), (Some(xmp), 2), "{format:?}");
        let pixels = |file: &[u8]| decode(file, &Limits::default()).unwrap();
        assert_eq!(pixels(&file), pixels(&without(format)));
        let at = |mark: &[u8]| file.windows(mark.len()).position(|part| part == mark).unwrap();
        match format {
            // Uncompressed, without language or translation, whatever is in it.
            FileFormat::Png => {
                at(b"iTXtXML:com.adobe.xmp\0\0\0\0\0<?xpacket");
                let plain = encode(&picture(), format, 95, &[(XMP_KEYWORD, "<x/>")]).unwrap();
                assert!(plain.windows(4).any(|kind| kind == b"iTXt"));
            }
            FileFormat::Jpeg => {
                let header = at(b"http://ns.adobe.com/xap/1.0/\0<?xpacket");
                let length = u16::from_be_bytes([file[header - 2], file[header - 1]]);
                assert_eq!(
                    (&file[header - 4..header - 2], usize::from(length)),
                    (&[0xff, 0xe1][..], 2 + 29 + xmp.len())
                );
            }
            FileFormat::WebP => {
                let chunk = at(b"XMP ");
                let length = u32::from_le_bytes(file[chunk + 4..chunk + 8].try_into().unwrap());
                assert_eq!(length as usize, xmp.len());
                // The flags of VP8X: EXIF and XMP. The length of the file is the file's.
                assert_eq!((&file[12..16], file[20]), (&b"VP8X"[..], 0b1100));
                assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize, file.len() - 8);
            }
        }
    }
    let long = "x".repeat(65_533);
    let refused = encode(&picture(), FileFormat::Jpeg, 95, &[(XMP_KEYWORD, &long)]).unwrap_err();
    assert!(matches!(refused, Error::LongTexts { found: 65_562, limit: 65_533 }), "{refused}");
}

/// As `piexif.dump` of piexif 1.1.3 has it, by which A1111 writes: the same but for the four bytes after the second directory,
/// which say that it is the last.
#[test]
fn the_comment_is_written_as_by_a1111() {
    let file = encode(&picture(), FileFormat::WebP, 95, &[("parameters", "a é\nSteps: 2")]).unwrap();
    let at = file.windows(4).position(|four| four == b"EXIF").unwrap();
    let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
    let expected = "4d4d002a0000000800018769000400000001\
        0000001a00000000000192860007000000200000002c00000000554e49434f4445000061002000e9000a00530074006500700073003a00200032";
    assert_eq!(file[at + 8..][..length], bytes(&expected.replace(' ', "")));
}

#[test]
fn what_a_format_does_not_hold_is_refused() {
    let long = "cat ".repeat(20_000);
    let refused = encode(&picture(), FileFormat::Jpeg, 95, &[("parameters", &long)]).unwrap_err();
    assert!(matches!(refused, Error::LongTexts { limit: 65_533, .. }), "{refused}");
    for format in [FileFormat::Png, FileFormat::WebP] {
        encode(&picture(), format, 95, &[("parameters", &long)]).unwrap();
    }
    let wide = RgbImage::filled(16_384, 1, [9; 3]);
    let refused = encode(&wide, FileFormat::WebP, 95, &[]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the WebP cannot be written: its side of 16384 pixels is more than the 16383 of a WebP"
    );
    encode(&wide, FileFormat::Jpeg, 95, &[]).unwrap();
    for (name, format) in [
        ("a/b.png", Some(FileFormat::Png)),
        ("b.PNG", Some(FileFormat::Png)),
        ("b.Jpeg", Some(FileFormat::Jpeg)),
        ("b.jpg", Some(FileFormat::Jpeg)),
        ("b.x.webp", Some(FileFormat::WebP)),
        ("webp", None),
        ("b.bmp", None),
        ("b.png/", None),
    ] {
        let expected = if name == "b.png/" { Some(FileFormat::Png) } else { format };
        assert_eq!(FileFormat::of_name(Path::new(name)), expected, "{name}");
    }
}
