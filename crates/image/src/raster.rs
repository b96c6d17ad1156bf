use crate::error::{Error, Result};

/// A picture of 8-bit values, `C` of them for each pixel, rows from the top: `(H, W, C)`, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster<const C: usize> {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

/// A picture of one 8-bit channel, such as a mask: `(H, W)`, never empty.
pub type GrayImage = Raster<1>;

/// A picture of 8-bit sRGB values, rows from the top: `(H, W, 3)`, never empty.
pub type RgbImage = Raster<3>;

/// A picture of 8-bit sRGB values with straight (not premultiplied) alpha: `(H, W, 4)`, never empty.
pub type RgbaImage = Raster<4>;

impl<const C: usize> Raster<C> {
    /// A picture from its values `(H, W, C)`.
    ///
    /// # Errors
    /// [`Error::Size`] when a side is 0 or `data` does not hold `width * height * C` values.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self> {
        Self::check(width, height, data.len())?;
        Ok(Self { width, height, data })
    }

    /// A picture of one colour. A side of 0 is taken as 1.
    #[must_use]
    pub fn filled(width: u32, height: u32, pixel: [u8; C]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, data: pixel.repeat(width as usize * height as usize) }
    }

    /// A picture of this one's size, from values that are as many as its pixels times `D`.
    pub(crate) fn of_same_size<const D: usize>(&self, data: Vec<u8>) -> Raster<D> {
        debug_assert_eq!(data.len() * C, self.data.len() * D);
        Raster { width: self.width, height: self.height, data }
    }

    /// Fails unless `len` values are a picture of `width` by `height`.
    pub(crate) fn check(width: u32, height: u32, len: usize) -> Result<()> {
        let expected = (u64::from(width) * u64::from(height)).checked_mul(C as u64);
        if width == 0 || height == 0 || expected != Some(len as u64) {
            return Err(Error::Size {
                what: "values of a picture",
                expected: format!("height x width x {C} with sides of at least 1"),
                got: format!("{len} values for {height} x {width} x {C}"),
            });
        }
        Ok(())
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

    /// The values, `(H, W, C)`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The values, to be changed in place, `(H, W, C)`.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// The values, `(H, W, C)`.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The values of each pixel, row by row.
    pub(crate) fn pixels(&self) -> &[[u8; C]] {
        self.data.as_chunks().0
    }

    /// The values at column `x`, row `y`; `None` outside.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; C]> {
        let at = self.offset(x, y)?;
        self.data.get(at..at + C)?.try_into().ok()
    }

    /// Sets the values at column `x`, row `y`; nothing happens outside.
    pub fn set_pixel(&mut self, x: u32, y: u32, pixel: [u8; C]) {
        if let Some(at) = self.offset(x, y) {
            self.data[at..at + C].copy_from_slice(&pixel);
        }
    }

    /// Copies `other` with its upper left corner at column `x`, row `y`; what lies outside is left out.
    pub fn paste(&mut self, other: &Self, x: u32, y: u32) {
        if x >= self.width {
            return;
        }
        let columns = other.width.min(self.width - x) as usize * C;
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let from = row as usize * other.width as usize * C;
            let to = ((y + row) as usize * self.width as usize + x as usize) * C;
            self.data[to..to + columns].copy_from_slice(&other.data[from..from + columns]);
        }
    }

    /// The part at column `left`, row `top`; of what lies outside nothing, but at least one pixel.
    #[must_use]
    pub fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let (left, top) = (left.min(self.width - 1), top.min(self.height - 1));
        let mut part = Self::filled(width.min(self.width - left), height.min(self.height - top), [0; C]);
        let row = part.width as usize * C;
        for (y, to) in part.data.chunks_exact_mut(row).enumerate() {
            let from = ((top as usize + y) * self.width as usize + left as usize) * C;
            to.copy_from_slice(&self.data[from..from + row]);
        }
        part
    }

    /// What is seen in a frame of this size that holds the picture's upper left corner at column `left`, row `top`, which may
    /// lie outside: its edges go on outwards. A side of 0 is taken as 1.
    #[must_use]
    pub fn framed(&self, left: i64, top: i64, width: u32, height: u32) -> Self {
        let nearest = |at: u32, before: i64, extent: u32| {
            usize::try_from((i64::from(at) - before).clamp(0, i64::from(extent) - 1)).unwrap_or(0)
        };
        let mut frame = Self::filled(width, height, [0; C]);
        let columns: Vec<usize> = (0..frame.width).map(|x| nearest(x, left, self.width)).collect();
        let pixels = self.pixels();
        for (y, row) in (0..).zip(frame.data.chunks_exact_mut(columns.len() * C)) {
            let from = &pixels[nearest(y, top, self.height) * self.width as usize..];
            for (to, &x) in row.chunks_exact_mut(C).zip(&columns) {
                to.copy_from_slice(&from[x]);
            }
        }
        frame
    }

    /// The smallest part that holds every pixel of which `is_inside` says so, as left, top, width and height; none if there
    /// is none.
    pub(crate) fn bounds_of(&self, is_inside: impl Fn(&[u8; C]) -> bool) -> Option<[u32; 4]> {
        let (mut left, mut right, mut top, mut bottom) = (u32::MAX, 0, u32::MAX, 0);
        for (y, row) in (0..).zip(self.pixels().chunks_exact(self.width as usize)) {
            for (x, _) in (0..).zip(row).filter(|(_, pixel)| is_inside(pixel)) {
                (left, right) = (left.min(x), right.max(x + 1));
                (top, bottom) = (top.min(y), bottom.max(y + 1));
            }
        }
        (right > 0).then(|| [left, top, right - left, bottom - top])
    }

    fn offset(&self, x: u32, y: u32) -> Option<usize> {
        (x < self.width && y < self.height).then(|| (y as usize * self.width as usize + x as usize) * C)
    }
}

/// Fails if a side to resize to is 0.
pub(crate) fn check_sides(width: u32, height: u32) -> Result<()> {
    if width > 0 && height > 0 {
        return Ok(());
    }
    Err(Error::Size { what: "resize", expected: "sides of at least 1".into(), got: format!("{width} x {height}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        assert!(RgbImage::new(2, 2, vec![0; 12]).is_ok());
        assert!(RgbImage::new(2, 2, vec![0; 11]).is_err());
        assert!(GrayImage::new(2, 2, vec![0; 4]).is_ok());
        assert!(RgbImage::new(0, 2, vec![]).is_err());
        assert!(RgbImage::new(u32::MAX, u32::MAX, vec![0; 3]).is_err());
    }

    #[test]
    fn edges_go_on_in_a_larger_frame() {
        let picture = GrayImage::new(2, 2, vec![1, 2, 3, 4]).unwrap();
        assert_eq!(picture.framed(1, 0, 4, 3).data(), [1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
        assert_eq!(picture.framed(-1, -1, 1, 2).data(), [4, 4]);
        assert_eq!(picture.framed(0, 0, 2, 2), picture);
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
