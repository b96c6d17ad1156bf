//! Structural similarity (Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity").

use crate::error::{Error, Result};
use crate::raster::RgbImage;

/// The window: a Gaussian of deviation 1.5, cut off after so many pixels on each side, as the paper and scikit-image have it.
const REACH: usize = 5;
const DEVIATION: f64 = 1.5;
/// `(0.01 · 255)²` and `(0.03 · 255)²`.
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;

/// The mean structural similarity of two pictures over all colours and all pixels whose window lies within: 1 for equal ones.
/// As scikit-image's `structural_similarity` with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255`.
///
/// # Errors
/// [`Error::Size`] when the pictures differ in size, or a side is shorter than the window of 11.
pub fn ssim(a: &RgbImage, b: &RgbImage) -> Result<f64> {
    let (width, height) = (a.width() as usize, a.height() as usize);
    let least = 2 * REACH + 1;
    if (a.width(), a.height()) != (b.width(), b.height()) || width.min(height) < least {
        return Err(Error::Size {
            what: "structural similarity of two pictures",
            expected: format!("{} x {} for both, and sides of at least {least}", a.width(), a.height()),
            got: format!("{} x {}", b.width(), b.height()),
        });
    }
    let window = window();
    let mut sum = 0.0;
    for colour in 0..3 {
        let plane =
            |of: &RgbImage| -> Vec<f64> { of.data().iter().skip(colour).step_by(3).map(|&x| f64::from(x)).collect() };
        let (x, y) = (plane(a), plane(b));
        let products = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> { x.iter().zip(&y).map(|(&x, &y)| f(x, y)).collect() };
        let smooth = |plane: &[f64]| blurred(plane, width, &window);
        let (mean_x, mean_y) = (smooth(&x), smooth(&y));
        let (square_x, square_y) = (smooth(&products(&|x, _| x * x)), smooth(&products(&|_, y| y * y)));
        let product = smooth(&products(&|x, y| x * y));
        for n in 0..mean_x.len() {
            let (mx, my) = (mean_x[n], mean_y[n]);
            let (vx, vy, covariance) = (square_x[n] - mx * mx, square_y[n] - my * my, product[n] - mx * my);
            let luminance = (2.0 * mx * my + C1) / (mx * mx + my * my + C1);
            sum += luminance * (2.0 * covariance + C2) / (vx + vy + C2);
        }
    }
    let pixels = (width - 2 * REACH) * (height - 2 * REACH);
    Ok(sum / (3 * pixels) as f64)
}

fn window() -> [f64; 2 * REACH + 1] {
    let mut window = [0.0; 2 * REACH + 1];
    for (n, weight) in window.iter_mut().enumerate() {
        let distance = n as f64 - REACH as f64;
        *weight = (-0.5 * (distance / DEVIATION).powi(2)).exp();
    }
    let sum: f64 = window.iter().sum();
    window.map(|weight| weight / sum)
}

/// A plane of rows of `width` under the window, where that lies within.
fn blurred(plane: &[f64], width: usize, window: &[f64]) -> Vec<f64> {
    let of = |values: &mut dyn Iterator<Item = f64>| values.zip(window).map(|(x, weight)| x * weight).sum::<f64>();
    let narrow = width - 2 * REACH;
    let rows: Vec<f64> = plane
        .chunks_exact(width)
        .flat_map(|row| row.windows(window.len()).map(|part| of(&mut part.iter().copied())))
        .collect();
    let height = rows.len() / narrow;
    let at = |y: usize, x: usize| rows[y * narrow + x];
    let pixel = |y: usize, x: usize| of(&mut (0..window.len()).map(|n| at(y + n, x)));
    (0..height - 2 * REACH).flat_map(|y| (0..narrow).map(move |x| (y, x))).map(|(y, x)| pixel(y, x)).collect()
}

/// How much more a picture changes from one tile to the next than elsewhere: the mean difference of neighbours across the borders of
/// tiles of this side, divided by that of all other neighbours. 1 where no border can be told; none if there is no border, or nothing
/// changes elsewhere.
#[must_use]
pub fn seam_ratio(picture: &RgbImage, tile: u32) -> Option<f64> {
    let (width, height, tile) = (picture.width() as usize, picture.height() as usize, tile as usize);
    let pixel = |x: usize, y: usize| &picture.data()[(y * width + x) * 3..][..3];
    // Across borders, and elsewhere: the sum and how many.
    let mut sums = [(0u64, 0u64); 2];
    let mut add = |at: usize, a: &[u8], b: &[u8]| {
        let (sum, count) = &mut sums[usize::from(tile == 0 || !at.is_multiple_of(tile))];
        *sum += a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        *count += 3;
    };
    for y in 0..height {
        for x in 0..width {
            if x > 0 {
                add(x, pixel(x - 1, y), pixel(x, y));
            }
            if y > 0 {
                add(y, pixel(x, y - 1), pixel(x, y));
            }
        }
    }
    let [across, inside] = sums.map(|(sum, count)| if count == 0 { f64::NAN } else { sum as f64 / count as f64 });
    (across.is_finite() && inside > 0.0).then_some(across / inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `reference/compare.py` makes them.
    fn picture(width: u32, height: u32, kind: u32) -> RgbImage {
        let value = |x: u32, y: u32, c: u32| match kind {
            0 => (x * 7 + y * 3 + c * 40) % 256,
            1 => (x * 7 + y * 3 + c * 40 + (x * y + c) % 11) % 256,
            _ => ((x / 4 + y / 4 + c) % 2) * 200 + (x * 13 + y * 29) % 30,
        };
        let all = (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (x, y, c))));
        RgbImage::new(width, height, all.map(|(x, y, c)| value(x, y, c) as u8).collect()).unwrap()
    }

    #[test]
    fn it_is_that_of_scikit_image() {
        for (size, kinds, expected) in
            [([40, 33], [0, 1], GOLDENS[0]), ([40, 33], [0, 2], GOLDENS[1]), ([11, 64], [1, 2], GOLDENS[2])]
        {
            let [a, b] = kinds.map(|kind| picture(size[0], size[1], kind));
            let got = ssim(&a, &b).unwrap();
            assert!((got - expected).abs() < 1e-9, "{size:?} {kinds:?}: {got}, expected {expected}");
            assert_eq!(ssim(&a, &a).unwrap(), 1.0);
        }
        let small = picture(10, 20, 0);
        assert!(ssim(&small, &small).is_err() && ssim(&picture(20, 20, 0), &picture(20, 21, 0)).is_err());
    }

    /// scikit-image 0.26.0.
    const GOLDENS: [f64; 3] = [0.849_794_106_708_338_8, 0.008_305_027_168_632_016, 0.011_355_914_131_047_947];

    #[test]
    fn borders_of_tiles_are_told() {
        let mut even = picture(48, 32, 2);
        let plain = seam_ratio(&even, 16).unwrap();
        // A step of 40 levels at each border.
        for y in 0..32 {
            for x in 0..48 {
                let step = if (x / 16 + y / 16) % 2 == 0 { 0 } else { 40 };
                even.set_pixel(x, y, [100 + step + (x % 3) as u8, 100, 100]);
            }
        }
        let stepped = seam_ratio(&even, 16).unwrap();
        assert!(stepped > 10.0 && stepped > 3.0 * plain, "{stepped} {plain}");
        assert!((seam_ratio(&even, 7).unwrap() - 1.0).abs() < 0.9);
        assert_eq!(seam_ratio(&even, 100), None);
        assert_eq!(seam_ratio(&even, 0), None);
        assert_eq!(seam_ratio(&RgbImage::filled(8, 8, [3; 3]), 4), None);
    }
}
