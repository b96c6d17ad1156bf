use crate::error::{Error, Result};
use crate::raster::RgbImage;

/// Pictures of one size in rows of `columns`, with `padding` black pixels around each.
///
/// The layout of torchvision's `make_grid(nrow = columns, padding)`: with fewer pictures than `columns` the row is as
/// long as the pictures, and a single picture comes back as it is, without padding.
///
/// # Errors
/// [`Error::Size`] when there is no picture, `columns` is 0, or the pictures differ in size.
pub fn grid(pictures: &[RgbImage], columns: usize, padding: u32) -> Result<RgbImage> {
    let size_error = |expected: String, got: String| Error::Size { what: "grid of pictures", expected, got };
    let Some(first) = pictures.first() else {
        return Err(size_error("at least one picture".into(), "none".into()));
    };
    if columns == 0 {
        return Err(size_error("at least one column".into(), "0".into()));
    }
    let (width, height) = (first.width(), first.height());
    if let Some(other) = pictures.iter().find(|p| (p.width(), p.height()) != (width, height)) {
        return Err(size_error(format!("{width} x {height}"), format!("{} x {}", other.width(), other.height())));
    }
    if pictures.len() == 1 {
        return Ok(first.clone());
    }
    let columns = columns.min(pictures.len());
    let side = |count: usize, length: u32| {
        u64::from(length)
            .checked_add(padding.into())
            .and_then(|cell| cell.checked_mul(count as u64))
            .and_then(|all| u32::try_from(all + u64::from(padding)).ok())
            .ok_or_else(|| size_error("sides below 2^32 pixels".into(), format!("{count} x {length}")))
    };
    let mut canvas = RgbImage::filled(side(columns, width)?, side(pictures.len().div_ceil(columns), height)?, [0; 3]);
    for (i, picture) in pictures.iter().enumerate() {
        let (column, row) = ((i % columns) as u32, (i / columns) as u32);
        canvas.paste(picture, column * (width + padding) + padding, row * (height + padding) + padding);
    }
    Ok(canvas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_of_make_grid() {
        let pictures: Vec<_> = (1..=5).map(|i| RgbImage::filled(2, 3, [i; 3])).collect();
        let sheet = grid(&pictures, 3, 1).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (3 * 3 + 1, 2 * 4 + 1));
        for (i, (x, y)) in [(1, 1), (4, 1), (7, 1), (1, 5), (4, 5)].into_iter().enumerate() {
            assert_eq!(sheet.pixel(x, y), Some([i as u8 + 1; 3]));
            assert_eq!(sheet.pixel(x + 1, y + 2), Some([i as u8 + 1; 3]));
        }
        assert_eq!(sheet.pixel(0, 0), Some([0; 3]));
        assert_eq!(sheet.pixel(7, 5), Some([0; 3]));
        assert_eq!(grid(&pictures[..2], 8, 2).unwrap().width(), 2 * 4 + 2);
    }

    #[test]
    fn one_picture_has_no_padding_and_none_is_an_error() {
        let one = RgbImage::filled(4, 4, [3; 3]);
        assert_eq!(grid(std::slice::from_ref(&one), 8, 2).unwrap(), one);
        assert!(grid(&[], 8, 2).is_err());
        assert!(grid(&[one.clone(), one.clone()], 0, 2).is_err());
        assert!(grid(&[one, RgbImage::filled(4, 5, [0; 3])], 2, 2).is_err());
    }
}
