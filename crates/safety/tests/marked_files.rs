//! Files with a mark that was read back from them.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/hills.rs"]
mod hills;

use calotype_image::{FileFormat, Limits, RgbImage, decode, encode};
use calotype_safety::watermark::{
    Fault, Mark, MarkedFile, Wanted, id_of, mark_file,
    package::{self, DEFAULT_TEXT, Scheme},
    tiled::{self, Effort, STRENGTHS},
};
use hills::picture;

/// Black words on white, as far as a formula goes: strokes of all widths and gaps.
fn page(width: u32, height: u32) -> RgbImage {
    let is_ink = |x: u32, y: u32| y % 24 < 14 && (x * 7 + x / 5 * 3 + y / 24 * 11) % 17 < 6 && (x + y / 3) % 5 > 1;
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let data = places.flat_map(|(x, y)| [if is_ink(x, y) { 10 } else { 255 }; 3]).collect();
    RgbImage::new(width, height, data).unwrap()
}

fn marked(picture: &RgbImage, wanted: Wanted, format: FileFormat, quality: u8) -> MarkedFile {
    mark_file(picture, wanted, |picture, mark| {
        // The file says its mark, so that its length and all that follows differ with it.
        let said = format!("{mark:?}");
        encode(picture, format, quality, &[("parameters", &said)])
    })
    .unwrap()
}

fn pixels(file: &[u8]) -> RgbImage {
    decode(file, &Limits::default()).unwrap()
}

#[test]
fn ids_are_of_the_unmarked_pixels() {
    // As sha256sum has it of 12 bytes of 7.
    assert_eq!(id_of(&RgbImage::filled(2, 2, [7; 3])), 0x8c62_e33c_921a_684e);
    let picture = picture(256, 256);
    let first = marked(&picture, Wanted::default(), FileFormat::Png, 100);
    assert_eq!(first, marked(&picture, Wanted::default(), FileFormat::Png, 100));
    assert_eq!((first.mark, first.fault), (Some(Mark::Tiled { id: id_of(&picture), strength: 0 }), None));
    let mut other = picture.clone();
    other.data_mut()[7] ^= 1;
    assert_ne!(id_of(&other), id_of(&picture));
}

#[test]
fn the_id_is_read_back_from_the_file_that_is_given() {
    let mut strengths = Vec::new();
    for picture in [picture(256, 256), page(256, 256), picture(331, 187), RgbImage::filled(160, 144, [255; 3])] {
        for (format, quality) in [(FileFormat::Png, 100), (FileFormat::WebP, 100)]
            .into_iter()
            .chain([95, 75, 50, 30, 20].map(|q| (FileFormat::Jpeg, q)))
        {
            let MarkedFile { file, mark, fault } = marked(&picture, Wanted::default(), format, quality);
            let found = tiled::read(&pixels(&file), Effort::Quick).map(|found| found.id);
            match mark {
                Some(Mark::Tiled { id, strength }) => {
                    assert_eq!((found, id, fault), (Some(id), id_of(&picture), None));
                    strengths.push(strength);
                    // The file says the strength that it has.
                    let said = format!("strength: {strength}");
                    let utf16: Vec<u8> = said.encode_utf16().flat_map(u16::to_be_bytes).collect();
                    let has = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
                    assert!(has(said.as_bytes()) || has(&utf16), "{format:?} {quality}");
                    let least = marked(&picture, Wanted::Tiled { strength }, format, quality);
                    assert_eq!(least.file, file, "begun with that strength it is the same");
                }
                other => {
                    assert_eq!((other, fault, found), (None, Some(Fault::Unreadable), None));
                    let bare = encode(&picture, format, quality, &[("parameters", "None")]).unwrap();
                    assert_eq!(file, bare, "what can't be read is not written");
                    assert!(quality < 50, "{format:?} {quality}");
                }
            }
        }
    }
    assert!(strengths.contains(&0) && strengths.iter().any(|&strength| strength > 0), "{strengths:?}");
    let strong = marked(&picture(256, 256), Wanted::Tiled { strength: 99 }, FileFormat::Png, 100);
    assert!(
        matches!(strong.mark, Some(Mark::Tiled { strength, .. }) if strength + 1 == STRENGTHS),
        "{:?}",
        strong.mark
    );
}

#[test]
fn small_pictures_stay_as_they_are() {
    for (width, height, fits) in [
        (96, 96, true),
        (95, 96, false),
        (96, 95, false),
        (64, 256, false),
        (72, 128, true),
        (2000, 63, false),
        (2000, 64, true),
        (8, 8, false),
        (1, 1, false),
    ] {
        let wanted = Wanted::default();
        assert_eq!(wanted.fits(width, height), fits, "{width} x {height}");
        let picture = picture(width, height);
        let MarkedFile { file, mark, fault } = marked(&picture, wanted, FileFormat::Png, 100);
        if fits {
            assert!(mark.is_some() && fault.is_none(), "{width} x {height}");
        } else {
            assert_eq!((mark, fault), (None, Some(Fault::TooSmall)));
            assert_eq!(pixels(&file), picture);
        }
    }
}

#[test]
fn marks_of_the_package_are_checked_too() {
    let picture = picture(256, 300);
    for scheme in [Scheme::DwtDct, Scheme::DwtDctSvd] {
        let wanted = Wanted::Package(scheme);
        assert_eq!(Wanted::of_scheme(scheme.name()), Some(wanted));
        let MarkedFile { file, mark, fault } = marked(&picture, wanted, FileFormat::Png, 100);
        assert_eq!(mark, Some(Mark::Package(scheme)));
        let right = package::right(&pixels(&file), DEFAULT_TEXT, scheme);
        assert_eq!(fault, (right < 1.0).then_some(Fault::Damaged { right }));
        assert!(scheme == Scheme::DwtDct || fault.is_none());
        let MarkedFile { fault, .. } = marked(&picture, wanted, FileFormat::Jpeg, 10);
        assert!(matches!(fault, Some(Fault::Damaged { right }) if right < 0.9), "{fault:?}");
        let MarkedFile { mark, fault, .. } = marked(&picture.crop(0, 0, 255, 256), wanted, FileFormat::Png, 100);
        assert_eq!((mark, fault), (None, Some(Fault::TooSmall)));
    }
    assert_eq!((Wanted::of_scheme("tiled"), Wanted::of_scheme("rivaGan")), (Some(Wanted::default()), None));
}
