//! How well the tiled mark holds: marks the pictures of a folder, attacks them, reads them again, and prints a table.
//!
//!     cargo run --release -p calotype-safety --example watermark_bench -- FOLDER [--side N] [--strength N] [--unmarked]
//!
//! `--side` cuts squares of that side out of the pictures, as many as fit side by side. `--unmarked` reads the squares as they
//! are, with all effort, and counts marks that nobody wrote.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints")]

use std::{collections::BTreeMap, error::Error, fs, time::Instant};

use calotype_image::{Interpolation, Limits, RgbImage, decode, interpolate, open, psnr, resize};
use calotype_safety::watermark::tiled::{self, Effort};

type Attack = (&'static str, fn(&RgbImage) -> Result<RgbImage, Box<dyn Error>>);

const ATTACKS: [Attack; 26] = [
    ("none", |p| Ok(p.clone())),
    ("JPEG 95", |p| jpeg(p, 95)),
    ("JPEG 85", |p| jpeg(p, 85)),
    ("JPEG 75", |p| jpeg(p, 75)),
    ("JPEG 50", |p| jpeg(p, 50)),
    ("resize 75 % and back", |p| there_and_back(p, 0.75)),
    ("resize 50 % and back", |p| there_and_back(p, 0.5)),
    ("resize to 75 %", |p| scaled(p, 0.75)),
    ("resize to 50 %", |p| scaled(p, 0.5)),
    ("resize to 150 %", |p| scaled(p, 1.5)),
    ("resize to 87 %", |p| scaled(p, 0.87)),
    ("crop 5 %", |p| cropped(p, 0.05)),
    ("crop 13 px", |p| Ok(p.crop(13, 13, p.width() - 26, p.height() - 26))),
    ("crop odd", |p| Ok(p.crop(3, 7, p.width() * 59 / 100, p.height() / 2))),
    ("crop 5 %, JPEG 85", |p| jpeg(&cropped(p, 0.05)?, 85)),
    ("crop 5 %, JPEG 75", |p| jpeg(&cropped(p, 0.05)?, 75)),
    ("brightness x1.1", |p| Ok(mapped(p, |x| x * 1.1))),
    ("brightness x0.9", |p| Ok(mapped(p, |x| x * 0.9))),
    ("brightness +25", |p| Ok(mapped(p, |x| x + 25.0))),
    ("x1.1, JPEG 85", |p| jpeg(&mapped(p, |x| x * 1.1), 85)),
    ("contrast x0.8", |p| Ok(mapped(p, |x| (x - 128.0) * 0.8 + 128.0))),
    ("gamma 1.1", |p| Ok(mapped(p, |x| (x / 255.0).powf(1.0 / 1.1) * 255.0))),
    ("gamma 0.8", |p| Ok(mapped(p, |x| (x / 255.0).powf(1.0 / 0.8) * 255.0))),
    ("mirrored", |p| Ok(mirrored(p))),
    ("rotation 3 degrees", |p| Ok(rotated(p, 3.0))),
    ("noise, sigma 4", |p| Ok(noisy(p, 4.0))),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (mut folder, mut side, mut strength, mut unmarked, mut only) = (None, None, 0, false, None);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse::<usize>().ok()).ok_or("a number is missing");
        match arg.as_str() {
            "--side" => side = Some(number()? as u32),
            "--strength" => strength = number()?,
            "--only" => only = args.next(),
            "--unmarked" => unmarked = true,
            _ => folder = Some(arg),
        }
    }
    let folder = folder.ok_or("name a folder of pictures")?;
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let mut pictures = Vec::new();
    for file in files {
        let Ok(picture) = open(&file, &Limits::default()) else { continue };
        pictures.extend(squares(picture, side));
    }
    if unmarked {
        count_false_reads(&pictures)
    } else {
        table(&pictures, strength, only.as_deref())?
    }
    Ok(())
}

fn squares(picture: RgbImage, side: Option<u32>) -> Vec<RgbImage> {
    let Some(side) = side else { return vec![picture] };
    let across = (0..picture.width() / side).map(move |x| x * side);
    across
        .flat_map(|x| (0..picture.height() / side).map(move |y| (x, y * side)))
        .map(|(x, y)| picture.crop(x, y, side, side))
        .collect()
}

fn count_false_reads(pictures: &[RgbImage]) {
    let start = Instant::now();
    let found = pictures.iter().filter(|picture| tiled::read(picture, Effort::Thorough).is_some()).count();
    let each = start.elapsed().as_secs_f64() / pictures.len() as f64;
    println!("{found} false reads in {} pictures, {:.0} ms each", pictures.len(), each * 1e3);
}

fn table(pictures: &[RgbImage], strength: usize, only: Option<&str>) -> Result<(), Box<dyn Error>> {
    let (mut noise, mut worst, mut right) = (Vec::new(), f64::INFINITY, BTreeMap::new());
    for (number, picture) in (1u64..).zip(pictures) {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut marked = picture.clone();
        tiled::write(&mut marked, id, strength);
        let distance = psnr(picture, &marked)?;
        noise.push(distance);
        worst = worst.min(distance);
        for (i, (name, attack)) in ATTACKS.iter().enumerate() {
            if only.is_some_and(|only| !name.contains(only)) {
                continue;
            }
            let attacked = attack(&marked)?;
            let start = Instant::now();
            let found = tiled::read(&attacked, Effort::Thorough);
            let (count, seconds) = right.entry(i).or_insert((0usize, 0.0));
            *count += usize::from(found.is_some_and(|found| found.id == id));
            *seconds += start.elapsed().as_secs_f64();
            if let Some(found) = found.filter(|found| found.id != id) {
                println!("picture {number}, {name}: read {found:?}, which was not written");
            }
        }
    }
    let all = pictures.len();
    noise.sort_by(f64::total_cmp);
    println!("{all} pictures, strength {strength}, PSNR median {:.2} dB, lowest {worst:.2} dB", noise[all / 2]);
    for (i, (count, seconds)) in right {
        let share = 100.0 * count as f64 / all as f64;
        println!("{:<22} {count:>5} of {all}  {share:>5.1} %  {:>6.0} ms", ATTACKS[i].0, 1e3 * seconds / all as f64);
    }
    Ok(())
}

fn jpeg(picture: &RgbImage, quality: u8) -> Result<RgbImage, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    // 4:2:0, as most programs write it.
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let (width, height) = (picture.width() as u16, picture.height() as u16);
    encoder.encode(picture.data(), width, height, jpeg_encoder::ColorType::Rgb)?;
    Ok(decode(&bytes, &Limits::default())?)
}

fn scaled(picture: &RgbImage, scale: f64) -> Result<RgbImage, Box<dyn Error>> {
    let side = |side: u32| (f64::from(side) * scale).round() as u32;
    Ok(resize(picture, side(picture.width()), side(picture.height()))?)
}

fn there_and_back(picture: &RgbImage, scale: f64) -> Result<RgbImage, Box<dyn Error>> {
    let small = scaled(picture, scale)?;
    // Back by another filter than there.
    let planes: Vec<f32> = (0..3).flat_map(|c| small.data().iter().skip(c).step_by(3)).map(|&x| f32::from(x)).collect();
    let sides = |picture: &RgbImage| [picture.height() as usize, picture.width() as usize];
    let [height, width] = sides(picture);
    let large = interpolate(&planes, sides(&small), [height, width], Interpolation::Bilinear { antialias: false });
    let plane = height * width;
    let data = (0..plane).flat_map(|i| [large[i], large[plane + i], large[2 * plane + i]].map(|x| x.round() as u8));
    Ok(RgbImage::new(picture.width(), picture.height(), data.collect())?)
}

/// Without a share of each side, half of it on either end.
fn cropped(picture: &RgbImage, share: f64) -> Result<RgbImage, Box<dyn Error>> {
    let cut = |side: u32| (f64::from(side) * share / 2.0).round() as u32;
    let (x, y) = (cut(picture.width()), cut(picture.height()));
    Ok(picture.crop(x, y, picture.width() - 2 * x, picture.height() - 2 * y))
}

fn mapped(picture: &RgbImage, f: impl Fn(f32) -> f32) -> RgbImage {
    let mut new = picture.clone();
    new.data_mut().iter_mut().for_each(|x| *x = f(f32::from(*x)).round().clamp(0.0, 255.0) as u8);
    new
}

fn mirrored(picture: &RgbImage) -> RgbImage {
    let mut new = picture.clone();
    for row in new.data_mut().chunks_exact_mut(picture.width() as usize * 3) {
        let pixels: Vec<u8> = row.chunks_exact(3).rev().flatten().copied().collect();
        row.copy_from_slice(&pixels);
    }
    new
}

/// Turned around its middle, black outside, bilinear.
fn rotated(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (picture.width(), picture.height());
    let middle = (width as f32 / 2.0 - 0.5, height as f32 / 2.0 - 0.5);
    let mut new = RgbImage::filled(width, height, [0; 3]);
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = (x as f32 - middle.0, y as f32 - middle.1);
            let (fx, fy) = (cos * dx + sin * dy + middle.0, cos * dy - sin * dx + middle.1);
            let (left, top) = (fx.floor(), fy.floor());
            let mut sum = [0.0; 3];
            for (px, py) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
                let weight = (1.0 - (fx - left - px).abs()) * (1.0 - (fy - top - py).abs());
                let (px, py) = (left + px, top + py);
                let pixel = if px < 0.0 || py < 0.0 { None } else { picture.pixel(px as u32, py as u32) };
                for (sum, value) in sum.iter_mut().zip(pixel.unwrap_or([0; 3])) {
                    *sum += weight * f32::from(value);
                }
            }
            new.set_pixel(x, y, sum.map(|x| x.round() as u8));
        }
    }
    new
}

fn noisy(picture: &RgbImage, sigma: f32) -> RgbImage {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut new = picture.clone();
    for x in new.data_mut() {
        // Twelve uniform numbers have a variance of one.
        let normal = (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        *x = (f32::from(*x) + sigma * normal).round().clamp(0.0, 255.0) as u8;
    }
    new
}
