//! Pictures with a mask, 255 where something new comes and 0 where the picture stays.

use crate::blur::gaussian_blur;
use crate::error::{Error, Result};
use crate::raster::{GrayImage, RgbImage};

/// Radii in pixels and how often, from far to near (A1111's `masking.fill`).
const BLURS: [(f64, usize); 6] = [(256.0, 1), (64.0, 1), (16.0, 2), (4.0, 4), (2.0, 2), (0.0, 1)];

fn check(picture: &RgbImage, mask: &GrayImage) -> Result<()> {
    let [(w, h), (mw, mh)] = [(picture.width(), picture.height()), (mask.width(), mask.height())];
    if (w, h) == (mw, mh) {
        return Ok(());
    }
    Err(Error::Size { what: "mask", expected: format!("{w} x {h}"), got: format!("{mw} x {mh}") })
}

/// What is masked filled with the colours around it: the rest of the picture, blurred widely, and over it less and less
/// widely (A1111's `masking.fill`).
///
/// # Errors
/// [`Error::Size`] when picture and mask differ in size.
pub fn fill_masked(picture: &RgbImage, mask: &GrayImage) -> Result<RgbImage> {
    check(picture, mask)?;
    let size = [picture.height() as usize, picture.width() as usize, 4];
    // Premultiplied, in 0..1.
    let pixels = picture.data().chunks_exact(3).zip(mask.data());
    let kept: Vec<f32> = pixels
        .flat_map(|(rgb, &mask)| {
            let alpha = f32::from(255 - mask) / 255.0;
            let value = |i: usize| f32::from(rgb[i]) / 255.0 * alpha;
            [value(0), value(1), value(2), alpha]
        })
        .collect();
    let mut filled = vec![0.0f32; kept.len()];
    for (radius, repeats) in BLURS {
        let mut blurred = kept.clone();
        gaussian_blur(&mut blurred, size, radius);
        for _ in 0..repeats {
            for (below, above) in filled.chunks_exact_mut(4).zip(blurred.chunks_exact(4)) {
                let through = 1.0 - above[3].clamp(0.0, 1.0);
                below.iter_mut().zip(above).for_each(|(below, above)| *below = above + *below * through);
            }
        }
    }
    let byte = |x: f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
    let straight = |p: &[f32]| if p[3] > 0.0 { [p[0], p[1], p[2]].map(|x| byte(x / p[3])) } else { [0; 3] };
    RgbImage::new(picture.width(), picture.height(), filled.chunks_exact(4).flat_map(straight).collect())
}

/// `new` where the mask is 255, `old` where it is 0, and a mixture between.
///
/// # Errors
/// [`Error::Size`] when they differ in size.
pub fn blend(old: &RgbImage, new: &RgbImage, mask: &GrayImage) -> Result<RgbImage> {
    check(old, mask)?;
    check(new, mask)?;
    let values = old.data().chunks_exact(3).zip(new.data().chunks_exact(3)).zip(mask.data());
    let data = values.flat_map(|((old, new), &mask)| {
        let mask = u32::from(mask);
        [0, 1, 2].map(|i| ((u32::from(old[i]) * (255 - mask) + u32::from(new[i]) * mask + 127) / 255) as u8)
    });
    RgbImage::new(old.width(), old.height(), data.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_takes_the_colours_around_it() {
        let (w, h) = (40, 30);
        let at = |x: u32, y: u32| (10..30).contains(&x) && (8..22).contains(&y);
        let mut picture = RgbImage::filled(w, h, [200, 10, 10]);
        let mut mask = vec![0; (w * h) as usize];
        for (x, y) in (0..h).flat_map(|y| (0..w).map(move |x| (x, y))) {
            if x >= 20 {
                picture.set_pixel(x, y, [10, 10, 200]);
            }
            if at(x, y) {
                picture.set_pixel(x, y, [0, 255, 0]);
                mask[(y * w + x) as usize] = 255;
            }
        }
        let filled = fill_masked(&picture, &GrayImage::new(w, h, mask).unwrap()).unwrap();
        for (x, y) in (0..h).flat_map(|y| (0..w).map(move |x| (x, y))) {
            let [r, g, b] = filled.pixel(x, y).unwrap();
            assert!(g < 20, "no green is left at {x}, {y}: {g}");
            if at(x, y) {
                assert!((x < 14 && r > b) || (x > 25 && b > r) || (14..=25).contains(&x));
            } else {
                assert_eq!(filled.pixel(x, y), picture.pixel(x, y));
            }
        }
        let all = GrayImage::new(w, h, vec![255; (w * h) as usize]).unwrap();
        assert_eq!(fill_masked(&picture, &all).unwrap(), RgbImage::filled(w, h, [0; 3]));
    }

    #[test]
    fn masks_mix() {
        let (old, new) = (RgbImage::filled(3, 1, [100; 3]), RgbImage::filled(3, 1, [200; 3]));
        let mask = GrayImage::new(3, 1, vec![0, 255, 51]).unwrap();
        let mixed = blend(&old, &new, &mask).unwrap();
        assert_eq!(mixed.data().chunks(3).map(|p| p[0]).collect::<Vec<_>>(), [100, 200, 120]);
        assert!(blend(&old, &RgbImage::filled(3, 2, [0; 3]), &mask).is_err());
    }
}
