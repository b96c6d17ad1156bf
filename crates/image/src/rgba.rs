use image::imageops::FilterType;
use image::{ImageBuffer, Rgba};

use crate::error::{Error, Result};
use crate::rgb::{RgbImage, check_len};

/// A picture of 8-bit sRGB values with straight (not premultiplied) alpha: `(H, W, 4)`, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbaImage {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl RgbaImage {
    /// A picture from its values `(H, W, 4)`.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0 or `data` does not hold `width * height * 4` values.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self> {
        check_len(width, height, 4, data.len())?;
        Ok(Self { width, height, data })
    }

    /// Width in pixels, at least 1.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The values, `(H, W, 4)`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The picture laid over one colour: `round(a * rgb + (1 - a) * background)` per value.
    #[must_use]
    pub fn over(&self, background: [u8; 3]) -> RgbImage {
        let mut picture = RgbImage::filled(self.width, self.height, background);
        for (to, from) in picture.data_mut().chunks_exact_mut(3).zip(self.data.chunks_exact(4)) {
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
        let visible = |x: u32, y: u32| self.data[(y as usize * self.width as usize + x as usize) * 4 + 3] > 0;
        let columns: Vec<u32> = (0..self.width).filter(|&x| (0..self.height).any(|y| visible(x, y))).collect();
        let rows: Vec<u32> = (0..self.height).filter(|&y| (0..self.width).any(|x| visible(x, y))).collect();
        let (Some(&left), Some(&right), Some(&top), Some(&bottom)) =
            (columns.first(), columns.last(), rows.first(), rows.last())
        else {
            return self.clone();
        };
        let mut data = Vec::new();
        for y in top..=bottom {
            let row = y as usize * self.width as usize;
            data.extend_from_slice(&self.data[(row + left as usize) * 4..(row + right as usize + 1) * 4]);
        }
        Self { width: right - left + 1, height: bottom - top + 1, data }
    }

    /// The picture in another size, with Lanczos-3 on premultiplied f32 values, so that the hidden colour of
    /// transparent pixels does not bleed into the edge.
    ///
    /// # Errors
    /// [`Error::Size`] when `width` or `height` is 0.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(Error::Size {
                what: "resize",
                expected: "sides of at least 1".into(),
                got: format!("{width} x {height}"),
            });
        }
        let mut premultiplied = ImageBuffer::<Rgba<f32>, _>::new(self.width, self.height);
        for (to, from) in premultiplied.pixels_mut().zip(self.data.chunks_exact(4)) {
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
        Ok(Self { width, height, data })
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
