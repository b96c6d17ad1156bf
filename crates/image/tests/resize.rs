//! Resizing is Pillow's, bit by bit: `reference/resize.py` wrote the pictures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use calotype_image::{GrayImage, RgbImage, resize};

#[test]
fn equals_pillow() {
    let golden = include_str!("resize.txt");
    assert_eq!(golden.lines().count(), 26);
    for line in golden.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| fields[at].parse::<u32>().unwrap();
        let [channels, width, height, new_width, new_height] = [0, 1, 2, 3, 4].map(number);
        let count = u64::from(width * height * channels);
        let data: Vec<u8> = (0..count).map(|i| ((i * i * 37 + i * 101) / 8 % 256) as u8).collect();
        let resized = match channels {
            3 => resize(&RgbImage::new(width, height, data).unwrap(), new_width, new_height).unwrap().data().to_vec(),
            _ => GrayImage::new(width, height, data).unwrap().resize(new_width, new_height).unwrap().data().to_vec(),
        };
        let hex: String = resized.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, fields[5], "{}", &line[..20]);
    }
}
