//! The tiled mark on whole pictures: what it survives, on small pictures made by a formula. `examples/watermark_bench.rs` measures it
//! on photographs.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/hills.rs"]
mod hills;

use calotype_image::{Limits, RgbImage, RgbaImage, decode, psnr, resize};
use calotype_safety::watermark::tiled::{self, Effort, read, read_rgba, write};
use hills::picture;

const ID: u64 = 0xfeed_0123_4567_89ab;

fn marked(width: u32, height: u32) -> RgbImage {
    let mut picture = picture(width, height);
    write(&mut picture, ID, 0);
    picture
}

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    let (width, height) = (picture.width() as u16, picture.height() as u16);
    encoder.encode(picture.data(), width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    decode(&bytes, &Limits::default()).unwrap()
}

fn id(picture: &RgbImage, effort: Effort) -> Option<u64> {
    read(picture, effort).map(|found| found.id)
}

#[test]
fn marks_are_faint_and_come_back() {
    for (width, height) in [(256, 256), (257, 263), (160, 144), (512, 128)] {
        let (plain, marked) = (picture(width, height), marked(width, height));
        assert!(psnr(&plain, &marked).unwrap() > 44.0);
        assert_eq!(id(&marked, Effort::Quick), Some(ID), "{width} x {height}");
        assert_eq!(id(&plain, Effort::Quick), None);
    }
}

#[test]
fn every_strength_is_read() {
    for strength in 0..tiled::STRENGTHS {
        let mut picture = picture(256, 256);
        write(&mut picture, ID, strength);
        assert_eq!(id(&picture, Effort::Quick), Some(ID), "{strength}");
    }
}

#[test]
fn plain_colours_can_be_marked() {
    // Pure blue is next to black, and of its three channels two can't fall and one can't rise.
    for (colour, closest) in
        [([0; 3], 43.0), ([255; 3], 43.0), ([128; 3], 44.0), ([255, 0, 0], 43.0), ([0, 0, 255], 40.0)]
    {
        let mut picture = RgbImage::filled(256, 256, colour);
        assert_eq!(id(&picture, Effort::Quick), None);
        write(&mut picture, ID, 0);
        let distance = psnr(&RgbImage::filled(256, 256, colour), &picture).unwrap();
        assert!(distance > closest, "{colour:?}: {distance}");
        assert_eq!(id(&picture, Effort::Quick), Some(ID), "{colour:?}");
    }
}

#[test]
fn jpeg_and_cuts_are_survived() {
    let marked = marked(256, 256);
    for quality in [95, 75, 50] {
        assert_eq!(id(&jpeg(&marked, quality), Effort::Quick), Some(ID), "JPEG {quality}");
    }
    for (left, top, width, height) in [(13, 13, 230, 230), (3, 7, 190, 160), (50, 1, 200, 255)] {
        let cut = marked.crop(left, top, width, height);
        assert_eq!(id(&cut, Effort::Quick), Some(ID), "{left} {top}");
        assert_eq!(id(&jpeg(&cut, 85), Effort::Quick), Some(ID), "{left} {top}, JPEG 85");
    }
    let back = resize(&resize(&marked, 128, 128).unwrap(), 256, 256).unwrap();
    assert_eq!(id(&back, Effort::Quick), Some(ID));
}

#[test]
fn tones_turns_and_sizes_are_found() {
    let marked = marked(256, 256);
    let mapped = |f: &dyn Fn(f32) -> f32| {
        let mut new = marked.clone();
        new.data_mut().iter_mut().for_each(|x| *x = f(f32::from(*x)).round().clamp(0.0, 255.0) as u8);
        new
    };
    assert_eq!(id(&mapped(&|x| x * 1.1), Effort::Thorough), Some(ID));
    assert_eq!(id(&mapped(&|x| x * 0.9), Effort::Thorough), Some(ID));
    assert_eq!(id(&mapped(&|x| x + 20.0), Effort::Thorough), Some(ID));

    let mut mirrored = marked.clone();
    for row in mirrored.data_mut().chunks_exact_mut(3 * 256) {
        let pixels: Vec<u8> = row.chunks_exact(3).rev().flatten().copied().collect();
        row.copy_from_slice(&pixels);
    }
    let found = read(&mirrored, Effort::Thorough).unwrap();
    assert_eq!((found.id, found.turned), (ID, 1));

    let found = read(&resize(&marked, 192, 192).unwrap(), Effort::Thorough).unwrap();
    assert!(found.id == ID && (found.scale - 0.75).abs() < 0.005, "{found:?}");
}

#[test]
fn transparent_pictures_are_marked_as_they_are_seen() {
    let opaque = picture(256, 256);
    let with_alpha = |alpha: &dyn Fn(usize) -> u8| {
        let data = opaque.data().chunks_exact(3).enumerate().flat_map(|(i, p)| [p[0], p[1], p[2], alpha(i)]);
        RgbaImage::new(256, 256, data.collect()).unwrap()
    };
    // A disc on nothing, with a soft edge.
    let disc = |i: usize| {
        let (x, y) = ((i % 256) as f32 - 128.0, (i / 256) as f32 - 128.0);
        (8.0 * (120.0 - x.hypot(y))).clamp(0.0, 255.0) as u8
    };
    for mut picture in [with_alpha(&|_| 255), with_alpha(&disc), with_alpha(&|_| 180)] {
        let alpha: Vec<u8> = picture.data().iter().skip(3).step_by(4).copied().collect();
        write(&mut picture, ID, 0);
        assert_eq!(read_rgba(&picture, Effort::Quick).map(|found| found.id), Some(ID));
        assert!(picture.data().iter().skip(3).step_by(4).eq(&alpha));
    }
}

#[test]
fn odd_sizes_are_no_panic() {
    for (width, height) in [(1, 1), (7, 7), (8, 8), (9, 300), (300, 9), (64, 64)] {
        let mut picture = picture(width, height);
        write(&mut picture, ID, 3);
        let _ = read(&picture, Effort::Quick);
    }
    assert!(read(&picture(17, 5), Effort::Thorough).is_none());
}

#[test]
fn what_a_brighter_picture_loses_in_white_is_left_out() {
    // White paper around a picture of a good half of the area.
    let inner = picture(256, 192);
    let mut page = RgbImage::filled(256, 320, [255; 3]);
    for y in 0..192 {
        (0..256).for_each(|x| page.set_pixel(x, y + 64, inner.pixel(x, y).unwrap()));
    }
    write(&mut page, ID, 0);
    assert_eq!(id(&page, Effort::Quick), Some(ID));
    page.data_mut().iter_mut().for_each(|x| *x = (f32::from(*x) * 1.1).min(255.0) as u8);
    assert_eq!(id(&page, Effort::Thorough), Some(ID));
}
