//! Gaussian blur in linear time.

use crate::raster::RgbImage;

/// PIL's number of box blurs that stand for a Gaussian.
const PASSES: usize = 3;

/// Blurs `values (H, W, C)` with a Gaussian of the standard deviation `radius` in pixels, by three box blurs whose
/// width may be fractional (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box
/// filtering", as PIL does); the edge pixels go on for ever.
pub(crate) fn gaussian_blur(values: &mut [f32], [height, width, channels]: [usize; 3], radius: f64) {
    if radius.is_nan() || radius <= 0.0 || channels == 0 {
        return;
    }
    let box_radius = box_radius(radius);
    let row = width * channels;
    let (mut line, mut sums) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        for start in (0..height).flat_map(|y| (0..channels).map(move |c| y * row + c)) {
            blur_line(values, start, channels, width, box_radius, &mut line, &mut sums);
        }
    }
    for _ in 0..PASSES {
        for start in 0..row {
            blur_line(values, start, row, height, box_radius, &mut line, &mut sums);
        }
    }
}

/// The picture blurred with a Gaussian of the standard deviation `radius` in pixels.
#[must_use]
pub fn blurred(picture: &RgbImage, radius: f64) -> RgbImage {
    let mut values: Vec<f32> = picture.data().iter().map(|&value| f32::from(value)).collect();
    gaussian_blur(&mut values, [picture.height() as usize, picture.width() as usize, 3], radius);
    let mut blurred = picture.clone();
    for (to, value) in blurred.data_mut().iter_mut().zip(values) {
        *to = value.round().clamp(0.0, 255.0) as u8;
    }
    blurred
}

/// The radius of the box of which three in a row have the variance `radius²`.
fn box_radius(radius: f64) -> f64 {
    let variance = radius * radius / PASSES as f64;
    let length = (12.0 * variance + 1.0).sqrt();
    let whole = ((length - 1.0) / 2.0).floor();
    let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    whole + part
}

/// A box blur of `count` values, `stride` apart.
fn blur_line(
    values: &mut [f32],
    start: usize,
    stride: usize,
    count: usize,
    radius: f64,
    line: &mut Vec<f64>,
    sums: &mut Vec<f64>,
) {
    line.clear();
    line.extend(values.iter().skip(start).step_by(stride).take(count).map(|&x| f64::from(x)));
    let Some((&first, &last)) = line.first().zip(line.last()) else { return };
    sums.clear();
    sums.push(0.0);
    let mut sum = 0.0;
    sums.extend(line.iter().map(|x| {
        sum += x;
        sum
    }));
    let (reach, part) = (radius.floor(), radius.fract());
    let reach = reach as isize;
    // The sum of everything before `at`, the edges going on.
    let before = |at: isize| -> f64 {
        let inside = usize::try_from(at.max(0)).map_or(0, |at| at.min(count));
        let left = (-at).max(0) as f64 * first;
        let right = (at - count as isize).max(0) as f64 * last;
        sums.get(inside).copied().unwrap_or(0.0) - left + right
    };
    let at = |i: isize| line.get(usize::try_from(i.max(0)).unwrap_or(0).min(count - 1)).copied().unwrap_or(0.0);
    for (i, value) in (0..count as isize).zip(values.iter_mut().skip(start).step_by(stride)) {
        let whole = before(i + reach + 1) - before(i - reach);
        let ends = at(i - reach - 1) + at(i + reach + 1);
        *value = ((whole + part * ends) / (2.0 * radius + 1.0)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_gaussian_and_a_plain_area_stays() {
        let [h, w] = [81, 81];
        let mut values = vec![0.0f32; h * w];
        values[40 * w + 40] = 1.0;
        for radius in [0.5, 2.0, 7.5] {
            let mut blurred = values.clone();
            gaussian_blur(&mut blurred, [h, w, 1], radius);
            let sum: f32 = blurred.iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            let variance: f64 = (0..h)
                .map(|y| {
                    let row: f64 = blurred[y * w..][..w].iter().map(|&x| f64::from(x)).sum();
                    row * (y as f64 - 40.0).powi(2)
                })
                .sum();
            assert!((variance.sqrt() / radius - 1.0).abs() < 0.01, "{radius}: {}", variance.sqrt());
        }
        let mut plain = vec![3.0f32; 5 * 4 * 2];
        gaussian_blur(&mut plain, [5, 4, 2], 100.0);
        assert!(plain.iter().all(|x| (x - 3.0).abs() < 1e-4));
    }
}
