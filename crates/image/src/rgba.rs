use image::imageops::FilterType;
use image::{ImageBuffer, Rgba};

use crate::error::Result;
use crate::raster::{RgbImage, RgbaImage, check_sides};

impl RgbaImage {
    /// The picture laid over one colour: `round(a * rgb + (1 - a) * background)` per value.
    #[must_use]
    pub fn over(&self, background: [u8; 3]) -> RgbImage {
        let mut picture = RgbImage::filled(self.width(), self.height(), background);
        for (to, from) in picture.data_mut().chunks_exact_mut(3).zip(self.pixels()) {
            let alpha = u32::from(from[3]);
            for (to, &from) in to.iter_mut().zip(from) {
                *to = ((u32::from(from) * alpha + u32::from(*to) * (255 - alpha) + 127) / 255) as u8;
            }
        }
        picture
    }

    /// The smallest part that holds every pixel with some alpha; the whole picture if there is none.
    #[must_use]
    pub fn crop_to_visible(&self) -> Self {
        match self.bounds_of(|&[.., alpha]| alpha > 0) {
            Some([left, top, width, height]) => self.crop(left, top, width, height),
            None => self.clone(),
        }
    }

    /// The picture in another size, with Lanczos-3 on premultiplied f32 values, so that the hidden colour of
    /// transparent pixels does not bleed into the edge.
    ///
    /// # Errors
    /// [`Error::Size`] when `width` or `height` is 0.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self> {
        check_sides(width, height)?;
        let mut premultiplied = ImageBuffer::<Rgba<f32>, _>::new(self.width(), self.height());
        for (to, from) in premultiplied.pixels_mut().zip(self.pixels()) {
            let alpha = f32::from(from[3]) / 255.0;
            let value = |i: usize| f32::from(from[i]) / 255.0 * alpha;
            *to = Rgba([value(0), value(1), value(2), alpha]);
        }
        let small = image::imageops::resize(&premultiplied, width, height, FilterType::Lanczos3);
        let data = small
            .pixels()
            .flat_map(|&Rgba([r, g, b, alpha])| {
                let straight = |x: f32| if alpha > 0.0 { byte(x / alpha) } else { 0 };
                [straight(r), straight(g), straight(b), byte(alpha)]
            })
            .collect();
        Self::new(width, height, data)
    }
}

impl From<&RgbImage> for RgbaImage {
    /// Opaque everywhere.
    fn from(picture: &RgbImage) -> Self {
        let mut opaque = Self::filled(picture.width(), picture.height(), [255; 4]);
        for (to, from) in opaque.data_mut().chunks_exact_mut(4).zip(picture.data().chunks_exact(3)) {
            to[..3].copy_from_slice(from);
        }
        opaque
    }
}

/// A value in [0, 1] as a byte.
fn byte(x: f32) -> u8 {
    (x.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_mixes_by_alpha() {
        let picture = RgbaImage::new(3, 1, vec![200, 0, 10, 255, 200, 0, 10, 0, 200, 0, 10, 51]).unwrap();
        assert_eq!(picture.over([100, 50, 10]).data(), [200, 0, 10, 100, 50, 10, 120, 40, 10]);
    }

    #[test]
    fn crop_keeps_the_visible_part() {
        let mut data = vec![0; 5 * 4 * 4];
        for (x, y) in [(1, 2), (3, 1)] {
            data[(y * 5 + x) * 4 + 3] = 9;
        }
        let cropped = RgbaImage::new(5, 4, data).unwrap().crop_to_visible();
        assert_eq!((cropped.width(), cropped.height()), (3, 2));
        assert_eq!(cropped.data().chunks(4).map(|p| p[3]).collect::<Vec<_>>(), [0, 0, 9, 9, 0, 0]);
        let nothing = RgbaImage::new(2, 2, vec![0; 16]).unwrap();
        assert_eq!(nothing.crop_to_visible(), nothing);
    }

    #[test]
    fn hidden_colour_does_not_bleed() {
        // Left half opaque red, right half transparent but green underneath.
        let row: Vec<u8> = [[255, 0, 0, 255]; 8].into_iter().chain([[0, 255, 0, 0]; 8]).flatten().collect();
        let picture = RgbaImage::new(16, 16, row.repeat(16)).unwrap();
        let small = picture.resize(5, 5).unwrap();
        for pixel in small.data().chunks(4).filter(|p| p[3] > 0) {
            assert_eq!(pixel[1], 0, "green bled: {pixel:?}");
        }
        assert!(small.data().chunks(4).any(|p| p[3] > 0 && p[3] < 255));
        assert!(picture.resize(0, 3).is_err());
    }
}
