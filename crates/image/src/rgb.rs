use crate::error::Result;
use crate::raster::RgbImage;

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
        Self::check(width, height, values.len())?;
        let round = match rounding {
            Rounding::Nearest => f32::round_ties_even,
            Rounding::Down => f32::floor,
        };
        let data = values.iter().map(|x| round((x * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0) as u8).collect();
        Self::new(width, height, data)
    }

    /// The values in [-1, 1] that the autoencoder takes, `(H, W, 3)`: `2 * (x / 255) - 1` in f32, as diffusers'
    /// `VaeImageProcessor.preprocess`.
    #[must_use]
    pub fn to_unit_f32(&self) -> Vec<f32> {
        self.data().iter().map(|&x| 2.0 * (f32::from(x) / 255.0) - 1.0).collect()
    }
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
        assert!(RgbImage::from_unit_f32(&[0.0; 5], 1, 2).is_err());
    }
}
