use crate::error::{Error, Result};
use crate::raster::RgbImage;
use crate::resample::{Filter, resample};

/// The picture in another size, bit by bit as by Pillow's `LANCZOS` (CompVis' and A1111's, and diffusers' default), whose
/// support grows when shrinking; the sides' ratio is not kept.
///
/// # Errors
/// [`Error::Size`] when `width` or `height` is 0.
pub fn resize(picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
    resize_with(picture, width, height, Filter::Lanczos)
}

/// The same with another filter of Pillow's.
///
/// # Errors
/// As [`resize`].
pub fn resize_with(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> Result<RgbImage> {
    if width == 0 || height == 0 {
        let (expected, got) = ("sides of at least 1".into(), format!("{width} x {height}"));
        return Err(Error::Size { what: "resize", expected, got });
    }
    let from = [picture.width() as usize, picture.height() as usize];
    let data = resample(picture.data(), 3, from, [width as usize, height as usize], filter);
    RgbImage::new(width, height, data)
}

/// The largest square around the middle of the picture; one pixel nearer the top or left where it cannot be exact.
#[must_use]
pub fn centre_crop_square(picture: &RgbImage) -> RgbImage {
    let side = picture.width().min(picture.height());
    let (left, top) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let mut square = RgbImage::filled(side, side, [0; 3]);
    let row = side as usize * 3;
    for (y, to) in square.data_mut().chunks_exact_mut(row).enumerate() {
        let from = ((top as usize + y) * picture.width() as usize + left as usize) * 3;
        to.copy_from_slice(&picture.data()[from..from + row]);
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_colour_stays_plain() {
        let small = resize(&RgbImage::filled(37, 21, [12, 200, 77]), 10, 50).unwrap();
        assert_eq!(small, RgbImage::filled(10, 50, [12, 200, 77]));
        assert!(resize(&small, 0, 5).is_err());
    }

    #[test]
    fn shrinking_averages() {
        // A checkerboard of single pixels must become grey, not black or white.
        let data = (0..64 * 64).flat_map(|i| [if (i + i / 64) % 2 == 0 { 0 } else { 255 }; 3]).collect();
        let small = resize(&RgbImage::new(64, 64, data).unwrap(), 8, 8).unwrap();
        assert!(small.data().iter().all(|&x| (118..=137).contains(&x)), "{:?}", small.data());
    }

    #[test]
    fn the_square_is_in_the_middle() {
        let data = (0..5 * 2).flat_map(|i| [i as u8; 3]).collect();
        let square = centre_crop_square(&RgbImage::new(5, 2, data).unwrap());
        assert_eq!(square.data().chunks(3).map(|p| p[0]).collect::<Vec<_>>(), [1, 2, 6, 7]);
    }
}
