use crate::error::Result;
use crate::raster::RgbImage;
use crate::resize::resize;

/// How a picture comes to another shape (A1111's `resize_image`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Stretched.
    #[default]
    Stretch,
    /// Large enough to cover all, and cut off evenly.
    Crop,
    /// Small enough to be seen whole, in the middle; its edges go on outwards.
    Fill,
}

/// The picture at a size, resized with [`resize`].
///
/// # Errors
/// [`Error::Size`](crate::Error::Size) when `width` or `height` is 0.
pub fn fit(picture: &RgbImage, width: u32, height: u32, how: Fit) -> Result<RgbImage> {
    let (w, h) = (u64::from(picture.width()), u64::from(picture.height()));
    let (wide, high) = (u64::from(width), u64::from(height));
    // The picture is wider in shape than what it is to fill.
    let wider = w * high > wide * h;
    let by_height = match how {
        Fit::Stretch => return resize(picture, width, height),
        Fit::Crop => wider,
        Fit::Fill => !wider,
    };
    let side = |n: u64| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
    let (new_width, new_height) = match by_height {
        true => (side(w * high / h), height),
        false => (width, side(h * wide / w)),
    };
    let resized = resize(picture, new_width, new_height)?;
    let offset = |all: u32, part: u32| i64::from(all / 2) - i64::from(part / 2);
    Ok(resized.framed(offset(width, new_width), offset(height, new_height), width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_cut_or_filled() {
        // Three columns: red, green, blue.
        let data = (0..4).flat_map(|_| [[255, 0, 0], [0, 255, 0], [0, 0, 255]].concat()).collect();
        let picture = RgbImage::new(3, 4, data).unwrap();
        let row =
            |picture: &RgbImage, y| (0..picture.width()).map(|x| picture.pixel(x, y).unwrap()).collect::<Vec<_>>();
        let cut = fit(&picture, 1, 4, Fit::Crop).unwrap();
        assert_eq!(row(&cut, 2), [[0, 255, 0]]);
        let filled = fit(&picture, 7, 4, Fit::Fill).unwrap();
        assert_eq!(
            row(&filled, 3),
            [[255, 0, 0], [255, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 255], [0, 0, 255]]
        );
        assert_eq!(fit(&picture, 3, 9, Fit::Fill).unwrap().height(), 9);
        assert!(fit(&picture, 0, 9, Fit::Fill).is_err());
    }
}
