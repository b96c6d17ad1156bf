use crate::blur::gaussian_blur;
use crate::error::Result;
use crate::raster::{GrayImage, RgbImage, RgbaImage, check_sides};
use crate::resample::{Filter, resample};

impl GrayImage {
    /// The brightness of a picture (ITU-R 601-2, as PIL's mode `L`).
    #[must_use]
    pub fn from_rgb(picture: &RgbImage) -> Self {
        let luma = |pixel: &[u8; 3]| {
            let [r, g, b] = pixel.map(u32::from);
            ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
        };
        picture.of_same_size(picture.pixels().iter().map(luma).collect())
    }

    /// How transparent each pixel is: 255 where nothing is seen of it.
    #[must_use]
    pub fn transparency(picture: &RgbaImage) -> Self {
        picture.of_same_size(picture.pixels().iter().map(|[.., alpha]| 255 - alpha).collect())
    }

    /// Each value three times.
    #[must_use]
    pub fn to_rgb(&self) -> RgbImage {
        self.of_same_size(self.data().iter().flat_map(|&value| [value; 3]).collect())
    }

    /// `f` of each value.
    #[must_use]
    pub fn map(&self, f: impl Fn(u8) -> u8) -> Self {
        self.of_same_size(self.data().iter().map(|&x| f(x)).collect())
    }

    /// Blurred with a Gaussian of the standard deviation `radius` in pixels, as PIL's `GaussianBlur` (three box blurs).
    #[must_use]
    pub fn blurred(&self, radius: f64) -> Self {
        let mut values: Vec<f32> = self.data().iter().map(|&x| f32::from(x)).collect();
        gaussian_blur(&mut values, [self.height() as usize, self.width() as usize, 1], radius);
        self.of_same_size(values.iter().map(|x| x.round().clamp(0.0, 255.0) as u8).collect())
    }

    /// In another size, bit by bit as by Pillow's `BICUBIC`, whose support grows when shrinking.
    ///
    /// # Errors
    /// [`Error::Size`] when `width` or `height` is 0.
    pub fn resize(&self, width: u32, height: u32) -> Result<Self> {
        check_sides(width, height)?;
        let from = [self.width() as usize, self.height() as usize];
        let data = resample(self.data(), 1, from, [width as usize, height as usize], Filter::Bicubic);
        Self::new(width, height, data)
    }

    /// The smallest part that holds everything above 0, as left, top, width and height; none if there is nothing.
    #[must_use]
    pub fn bounds(&self) -> Option<[u32; 4]> {
        self.bounds_of(|&[value]| value > 0)
    }
}
