use calotype_image::{RgbImage, RgbaImage};

use crate::error::Result;

/// Draws an object's bitmap on a plain background, `size` by `size` pixels.
///
/// The visible part of the bitmap is scaled (Lanczos-3, premultiplied alpha, no change of gamma) so that its longer
/// side is 7/8 of `size` (56 of 64 pixels), and laid in the middle.
///
/// # Errors
/// [`Error::Image`](crate::Error::Image) when `size` is 0.
pub fn draw(bitmap: &RgbaImage, background: [u8; 3], size: u32) -> Result<RgbImage> {
    let object = bitmap.crop_to_visible();
    let target = u64::from(size) * 7 / 8;
    let longer = u64::from(object.width().max(object.height()));
    let scaled = |side: u32| ((u64::from(side) * target + longer / 2) / longer).clamp(1, size.max(1).into()) as u32;
    let object = object.resize(scaled(object.width()), scaled(object.height()))?;
    let mut picture = RgbImage::new(size, size, background.repeat(size as usize * size as usize))?;
    picture.paste(&object.over(background), (size - object.width()) / 2, (size - object.height()) / 2);
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bitmap of 12 by 10 with an opaque red block of 8 by 4 in it and green hidden under transparency.
    fn block() -> RgbaImage {
        let pixel = |x: u32, y: u32| {
            if (2..10).contains(&x) && (5..9).contains(&y) { [255, 0, 0, 255] } else { [0, 255, 0, 0] }
        };
        let data = (0..10).flat_map(|y| (0..12).flat_map(move |x| pixel(x, y))).collect();
        RgbaImage::new(12, 10, data).unwrap()
    }

    #[test]
    fn object_fills_seven_eighths_in_the_middle() {
        let picture = draw(&block(), [0, 0, 255], 64).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 64));
        let reds: Vec<(u32, u32)> =
            (0..64 * 64).map(|i| (i % 64, i / 64)).filter(|&(x, y)| picture.pixel(x, y) == Some([255, 0, 0])).collect();
        assert_eq!((reds.first(), reds.last()), (Some(&(4, 18)), Some(&(59, 45))));
        assert_eq!(reds.len(), 56 * 28);
        assert_eq!(picture.pixel(3, 20), Some([0, 0, 255]));
        assert_eq!(picture, draw(&block(), [0, 0, 255], 64).unwrap());
    }

    #[test]
    fn other_sizes() {
        assert_eq!(draw(&block(), [9; 3], 128).unwrap().width(), 128);
        assert_eq!(draw(&block(), [9; 3], 1).unwrap().width(), 1);
        assert!(draw(&block(), [9; 3], 0).is_err());
        let invisible = RgbaImage::new(3, 3, vec![0; 36]).unwrap();
        assert_eq!(draw(&invisible, [1, 2, 3], 16).unwrap(), RgbImage::filled(16, 16, [1, 2, 3]));
    }
}
