use crate::blur::gaussian_blur;
use crate::error::{Error, Result};
use crate::resample::{Filter, resample};
use crate::rgb::{RgbImage, check_len};
use crate::rgba::RgbaImage;

/// A picture of one 8-bit channel, such as a mask: `(H, W)`, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrayImage {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl GrayImage {
    /// A picture from its values `(H, W)`.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0 or `data` does not hold `width * height` values.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self> {
        check_len(width, height, 1, data.len())?;
        Ok(Self { width, height, data })
    }

    /// The brightness of a picture (ITU-R 601-2, as PIL's mode `L`).
    #[must_use]
    pub fn from_rgb(picture: &RgbImage) -> Self {
        let luma = |p: &[u8]| {
            let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
            ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
        };
        let data = picture.data().chunks_exact(3).map(luma).collect();
        Self { width: picture.width(), height: picture.height(), data }
    }

    /// How transparent each pixel is: 255 where nothing is seen of it.
    #[must_use]
    pub fn transparency(picture: &RgbaImage) -> Self {
        let data = picture.data().chunks_exact(4).map(|p| 255 - p[3]).collect();
        Self { width: picture.width(), height: picture.height(), data }
    }

    /// Each value three times.
    #[must_use]
    pub fn to_rgb(&self) -> RgbImage {
        let mut picture = RgbImage::filled(self.width, self.height, [0; 3]);
        picture.data_mut().chunks_exact_mut(3).zip(&self.data).for_each(|(to, &from)| to.fill(from));
        picture
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

    /// The values, `(H, W)`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// `f` of each value.
    #[must_use]
    pub fn map(&self, f: impl Fn(u8) -> u8) -> Self {
        Self { data: self.data.iter().map(|&x| f(x)).collect(), ..*self }
    }

    /// Blurred with a Gaussian of the standard deviation `radius` in pixels, as PIL's `GaussianBlur` (three box blurs).
    #[must_use]
    pub fn blurred(&self, radius: f64) -> Self {
        let mut values: Vec<f32> = self.data.iter().map(|&x| f32::from(x)).collect();
        gaussian_blur(&mut values, [self.height as usize, self.width as usize, 1], radius);
        Self { data: values.iter().map(|x| x.round().clamp(0.0, 255.0) as u8).collect(), ..*self }
    }

    /// In another size, bit by bit as by Pillow's `BICUBIC`, whose support grows when shrinking.
    ///
    /// # Errors
    /// [`Error::Size`] when `width` or `height` is 0.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self> {
        if width == 0 || height == 0 {
            let (expected, got) = ("sides of at least 1".into(), format!("{width} x {height}"));
            return Err(Error::Size { what: "resize", expected, got });
        }
        let from = [self.width as usize, self.height as usize];
        let data = resample(&self.data, 1, from, [width as usize, height as usize], Filter::Bicubic);
        Self::new(width, height, data)
    }

    /// The smallest part that holds everything above 0, as left, top, width and height; none if there is nothing.
    #[must_use]
    pub fn bounds(&self) -> Option<[u32; 4]> {
        let (mut left, mut right, mut top, mut bottom) = (u32::MAX, 0, u32::MAX, 0);
        for (y, row) in (0..).zip(self.data.chunks_exact(self.width as usize)) {
            for (x, _) in (0..).zip(row).filter(|(_, value)| **value > 0) {
                (left, right) = (left.min(x), right.max(x + 1));
                (top, bottom) = (top.min(y), bottom.max(y + 1));
            }
        }
        (right > 0).then(|| [left, top, right - left, bottom - top])
    }
}
