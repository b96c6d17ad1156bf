use crate::error::{Error, Result};
use crate::raster::RgbImage;

/// Mean squared error over all values, in units of the 8-bit values squared (0 to 65025).
///
/// # Errors
/// [`Error::Size`] when the pictures differ in size.
pub fn mse(a: &RgbImage, b: &RgbImage) -> Result<f64> {
    if (a.width(), a.height()) != (b.width(), b.height()) {
        return Err(Error::Size {
            what: "comparison of two pictures",
            expected: format!("{} x {}", a.width(), a.height()),
            got: format!("{} x {}", b.width(), b.height()),
        });
    }
    let sum: u64 = a.data().iter().zip(b.data()).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
    Ok(sum as f64 / a.data().len() as f64)
}

/// Peak signal to noise ratio in dB, `10 log10(255² / mse)`; infinite for equal pictures.
///
/// # Errors
/// [`Error::Size`] when the pictures differ in size.
pub fn psnr(a: &RgbImage, b: &RgbImage) -> Result<f64> {
    Ok(10.0 * (255.0f64.powi(2) / mse(a, b)?).log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let a = RgbImage::filled(2, 2, [10, 20, 30]);
        let b = RgbImage::filled(2, 2, [13, 20, 26]);
        assert_eq!(mse(&a, &b).unwrap(), 25.0 / 3.0);
        assert_eq!(psnr(&a, &a).unwrap(), f64::INFINITY);
        let one = RgbImage::filled(2, 2, [11, 21, 31]);
        assert!((psnr(&a, &one).unwrap() - 48.1308).abs() < 1e-4);
        assert!(mse(&a, &RgbImage::filled(2, 3, [0; 3])).is_err());
    }
}
