//! Interpolation is torch's: `reference/interpolate.py` wrote the numbers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use calotype_image::{Interpolation, interpolate};

#[test]
fn equals_torch() {
    let pixels = [0.0, 1.0, -2.0, 5.0, 3.0, 2.0, -1.0, 0.5, 7.0, -4.0, 1.0, 6.0, -3.0, 0.0, 8.0];
    let golden = include_str!("interpolate.txt");
    assert_eq!(golden.lines().count(), 24);
    for line in golden.lines() {
        let parts: Vec<&str> = line.split(" | ").collect();
        let method = match parts[0] {
            "nearest" => Interpolation::Nearest,
            "nearest-exact" => Interpolation::NearestExact,
            "bilinear" => Interpolation::Bilinear { antialias: false },
            "bilinear antialias" => Interpolation::Bilinear { antialias: true },
            "bicubic" => Interpolation::Bicubic { antialias: false },
            "bicubic antialias" => Interpolation::Bicubic { antialias: true },
            other => panic!("{other}"),
        };
        let numbers = |text: &str| text.split(' ').map(|x| x.parse().unwrap()).collect::<Vec<f32>>();
        let size = numbers(parts[1]);
        let expected = numbers(parts[2]);
        // Twice, as of two channels.
        let got = interpolate(&pixels.repeat(2), [3, 5], [size[0] as usize, size[1] as usize], method);
        assert_eq!(got.len(), 2 * expected.len(), "{line}");
        for (got, expected) in got.iter().zip(expected.repeat(2)) {
            assert!((got - expected).abs() < 1e-4, "{}: {got} {expected}", parts[0]);
        }
    }
}
