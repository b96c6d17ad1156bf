use crate::error::{Error, Result};

/// A picture of 8-bit sRGB values, rows from the top: `(H, W, 3)`, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

/// How a value between two of 8 bits is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, halves to even: diffusers.
    #[default]
    Nearest,
    /// Down, as numpy's `astype(uint8)` does: CompVis' scripts and A1111.
    Down,
}

impl RgbImage {
    /// A picture from its values `(H, W, 3)`.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0 or `data` does not hold `width * height * 3` values.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self> {
        check_len(width, height, 3, data.len())?;
        Ok(Self { width, height, data })
    }

    /// A picture of one colour. A side of 0 is taken as 1.
    #[must_use]
    pub fn filled(width: u32, height: u32, rgb: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, data: rgb.repeat(width as usize * height as usize) }
    }

    /// A picture from the autoencoder's values in [-1, 1], `(H, W, 3)`.
    ///
    /// `round(clamp(x / 2 + 0.5, 0, 1) * 255)`, halves to even, as diffusers' `VaeImageProcessor.postprocess` does
    /// (`denormalize`, then `numpy_to_pil`). NaN becomes 0.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0 or `values` does not hold `width * height * 3` values.
    pub fn from_unit_f32(values: &[f32], width: u32, height: u32) -> Result<Self> {
        Self::from_unit_f32_with(values, width, height, Rounding::Nearest)
    }

    /// The same with another rounding.
    ///
    /// # Errors
    /// As [`Self::from_unit_f32`].
    pub fn from_unit_f32_with(values: &[f32], width: u32, height: u32, rounding: Rounding) -> Result<Self> {
        check_len(width, height, 3, values.len())?;
        let round = match rounding {
            Rounding::Nearest => f32::round_ties_even,
            Rounding::Down => f32::floor,
        };
        let data = values.iter().map(|x| round((x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0) as u8).collect();
        Ok(Self { width, height, data })
    }

    /// The values in [-1, 1] that the autoencoder takes, `(H, W, 3)`: `2 * (x / 255) - 1` in f32, as diffusers'
    /// `VaeImageProcessor.preprocess`.
    #[must_use]
    pub fn to_unit_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&x| 2.0 * (f32::from(x) / 255.0) - 1.0).collect()
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

    /// The values, `(H, W, 3)`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The values, to be changed in place, `(H, W, 3)`.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The values, `(H, W, 3)`.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The colour at column `x`, row `y`; `None` outside.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        let at = self.offset(x, y)?;
        self.data.get(at..at + 3)?.try_into().ok()
    }

    /// Sets the colour at column `x`, row `y`; nothing happens outside.
    pub fn set_pixel(&mut self, x: u32, y: u32, rgb: [u8; 3]) {
        if let Some(at) = self.offset(x, y) {
            self.data[at..at + 3].copy_from_slice(&rgb);
        }
    }

    /// Copies `other` with its upper left corner at column `x`, row `y`; what lies outside is left out.
    pub fn paste(&mut self, other: &Self, x: u32, y: u32) {
        if x >= self.width {
            return;
        }
        let columns = other.width.min(self.width - x) as usize * 3;
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let from = row as usize * other.width as usize * 3;
            let to = ((y + row) as usize * self.width as usize + x as usize) * 3;
            self.data[to..to + columns].copy_from_slice(&other.data[from..from + columns]);
        }
    }

    /// The part at column `left`, row `top`; of what lies outside nothing, but at least one pixel.
    #[must_use]
    pub fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let (left, top) = (left.min(self.width - 1), top.min(self.height - 1));
        let mut part = Self::filled(width.min(self.width - left), height.min(self.height - top), [0; 3]);
        let row = part.width as usize * 3;
        for (y, to) in part.data.chunks_exact_mut(row).enumerate() {
            let from = ((top as usize + y) * self.width as usize + left as usize) * 3;
            to.copy_from_slice(&self.data[from..from + row]);
        }
        part
    }

    fn offset(&self, x: u32, y: u32) -> Option<usize> {
        (x < self.width && y < self.height).then(|| (y as usize * self.width as usize + x as usize) * 3)
    }
}

/// Fails unless `len` values are a picture of `width` by `height` with `channels` values a pixel.
pub(crate) fn check_len(width: u32, height: u32, channels: u64, len: usize) -> Result<()> {
    let expected = (u64::from(width) * u64::from(height)).checked_mul(channels);
    if width == 0 || height == 0 || expected != Some(len as u64) {
        return Err(Error::Size {
            what: "values of a picture",
            expected: format!("height x width x {channels} with sides of at least 1"),
            got: format!("{len} values for {height} x {width} x {channels}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_half_to_even_and_clamp() {
        let values = [-1.0, 1.0, 0.0, -7.0, 7.0, f32::NAN, 0.5, -0.5, f32::INFINITY];
        let picture = RgbImage::from_unit_f32(&values, 3, 1).unwrap();
        assert_eq!(picture.data(), [0, 255, 128, 0, 255, 0, 191, 64, 255]);

        let picture = RgbImage::from_unit_f32_with(&values, 3, 1, Rounding::Down).unwrap();
        assert_eq!(picture.data(), [0, 255, 127, 0, 255, 0, 191, 63, 255]);

        // Values that land on a half exactly in f32.
        let halves: Vec<(u8, f32)> = (0..255u8)
            .map(|k| (k, (f32::from(k) + 0.5) / 255.0 * 2.0 - 1.0))
            .filter(|&(k, x)| (x * 0.5 + 0.5) * 255.0 == f32::from(k) + 0.5)
            .collect();
        assert!(halves.iter().any(|(k, _)| k % 2 == 0) && halves.iter().any(|(k, _)| k % 2 == 1));
        for (k, x) in halves {
            assert_eq!(RgbImage::from_unit_f32(&[x; 3], 1, 1).unwrap().data(), [k + k % 2; 3], "{x}");
        }
    }

    #[test]
    fn every_byte_survives_the_way_to_unit_and_back() {
        let bytes: Vec<u8> = (0..=255).chain([7, 9]).collect();
        let picture = RgbImage::new(86, 1, bytes).unwrap();
        let back = RgbImage::from_unit_f32(&picture.to_unit_f32(), 86, 1).unwrap();
        assert_eq!(picture, back);
        assert_eq!(picture.to_unit_f32()[..2], [-1.0, 2.0 * (1.0f32 / 255.0) - 1.0]);
    }

    #[test]
    fn sizes_are_checked() {
        assert!(RgbImage::new(2, 2, vec![0; 12]).is_ok());
        assert!(RgbImage::new(2, 2, vec![0; 11]).is_err());
        assert!(RgbImage::new(0, 2, vec![]).is_err());
        assert!(RgbImage::new(u32::MAX, u32::MAX, vec![0; 3]).is_err());
        assert!(RgbImage::from_unit_f32(&[0.0; 5], 1, 2).is_err());
    }

    #[test]
    fn paste_leaves_out_what_lies_outside() {
        let mut canvas = RgbImage::filled(3, 2, [0; 3]);
        canvas.paste(&RgbImage::filled(2, 2, [9; 3]), 2, 1);
        canvas.paste(&RgbImage::filled(1, 1, [5; 3]), 3, 0);
        canvas.paste(&RgbImage::filled(1, 1, [5; 3]), 0, 2);
        let nine: Vec<bool> = canvas.data().chunks(3).map(|p| p == [9; 3]).collect();
        assert_eq!(nine, [false, false, false, false, false, true]);
        assert_eq!(canvas.pixel(2, 1), Some([9; 3]));
        assert_eq!(canvas.pixel(3, 1), None);
    }
}
