//! The brightness of a picture as numbers, and ways to look at it: turned, mirrored, in another size.

use calotype_image::{RgbImage, RgbaImage};

/// Rec. 601's weights, as in OpenCV's `YUV`.
pub(super) const WEIGHTS: [f32; 3] = [0.299, 0.587, 0.114];

/// Brightness from 0 to 255, `(H, W)`.
#[derive(Clone, Debug)]
pub(super) struct Luma {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

/// Brightness of a pixel.
pub(super) fn of_pixel([r, g, b]: [u8; 3]) -> f32 {
    WEIGHTS[0] * f32::from(r) + WEIGHTS[1] * f32::from(g) + WEIGHTS[2] * f32::from(b)
}

impl From<&RgbImage> for Luma {
    fn from(picture: &RgbImage) -> Self {
        let values = picture.data().chunks_exact(3).map(|p| of_pixel([p[0], p[1], p[2]])).collect();
        Self { width: picture.width() as usize, height: picture.height() as usize, values }
    }
}

impl From<&RgbaImage> for Luma {
    /// Laid over white, as pictures are shown and read.
    fn from(picture: &RgbaImage) -> Self {
        Self::from(&picture.over([255; 3]))
    }
}

impl Luma {
    /// The part in the middle with sides of at most `side`.
    pub(super) fn middle(&self, side: usize) -> Self {
        let (width, height) = (self.width.min(side), self.height.min(side));
        let (left, top) = ((self.width - width) / 2, (self.height - height) / 2);
        let rows = self.values.chunks_exact(self.width).skip(top).take(height);
        Self { width, height, values: rows.flat_map(|row| &row[left..left + width]).copied().collect() }
    }

    /// The picture by one of the eight ways to turn and mirror it: transposed where `way & 4`, mirrored where `way & 1`, upside
    /// down where `way & 2`.
    pub(super) fn turned(&self, way: u8) -> Self {
        let (width, height) = if way & 4 == 0 { (self.width, self.height) } else { (self.height, self.width) };
        let at = |x: usize, y: usize| {
            let x = if way & 1 == 0 { x } else { width - 1 - x };
            let y = if way & 2 == 0 { y } else { height - 1 - y };
            let (x, y) = if way & 4 == 0 { (x, y) } else { (y, x) };
            self.values[y * self.width + x]
        };
        let values = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect();
        Self { width, height, values }
    }

    /// The part in the upper left corner with sides of at most `side`.
    pub(super) fn corner(&self, side: usize) -> Self {
        let (width, height) = (self.width.min(side), self.height.min(side));
        let rows = self.values.chunks_exact(self.width).take(height);
        Self { width, height, values: rows.flat_map(|row| &row[..width]).copied().collect() }
    }

    /// The picture turned by `degrees` around its middle, by Catmull-Rom's cubic. What lies outside is its edge.
    pub(super) fn rotated(&self, degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (sin, cos) = (sin as f32, cos as f32);
        let (x0, y0) = ((self.width as f32 - 1.0) / 2.0, (self.height as f32 - 1.0) / 2.0);
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            let dy = y as f32 - y0;
            values.extend((0..self.width).map(|x| {
                let dx = x as f32 - x0;
                self.cubic(cos * dx + sin * dy + x0, cos * dy - sin * dx + y0)
            }));
        }
        Self { values, ..*self }
    }

    /// The value between pixels.
    fn cubic(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let (across, down) = (taps(x - left), taps(y - top));
        let column = |i: usize| (left as isize + i as isize - 1).clamp(0, self.width as isize - 1) as usize;
        let columns: [usize; 4] = std::array::from_fn(column);
        let row = |i: usize| {
            let y = (top as isize + i as isize - 1).clamp(0, self.height as isize - 1) as usize;
            let row = &self.values[y * self.width..][..self.width];
            (0..4).map(|i| across[i] * row[columns[i]]).sum::<f32>()
        };
        (0..4).map(|i| down[i] * row(i)).sum()
    }

    /// The picture exactly `scale` times as large from its upper left corner on, by Catmull-Rom's cubic, which is widened for
    /// pictures that shrink; what is left of a pixel at the other end is cut off.
    pub(super) fn scaled(&self, scale: f64) -> Self {
        let (columns, rows) = (weights(self.width, scale), weights(self.height, scale));
        let (width, height) = (columns.len(), rows.len());
        let mut wide = Vec::with_capacity(width * self.height);
        for from in self.values.chunks_exact(self.width) {
            let sum = |(first, weights): &(usize, Vec<f32>)| {
                weights.iter().zip(&from[*first..]).map(|(weight, value)| weight * value).sum::<f32>()
            };
            wide.extend(columns.iter().map(sum));
        }
        let mut values = vec![0.0; width * height];
        for (to, (first, weights)) in values.chunks_exact_mut(width).zip(&rows) {
            for (weight, from) in weights.iter().zip(wide.chunks_exact(width).skip(*first)) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
            }
        }
        Self { width, height, values }
    }
}

/// Catmull-Rom's cubic (Keys 1981, a = −0.5).
fn kernel(x: f32) -> f32 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// Its weights of four neighbours, for a place `part` of the way from the second to the third.
fn taps(part: f32) -> [f32; 4] {
    [1.0 + part, part, 1.0 - part, 2.0 - part].map(kernel)
}

/// For each place of a side that is `scale` times as long, the first of the old one that counts, and the weights from there on.
fn weights(old: usize, scale: f64) -> Vec<(usize, Vec<f32>)> {
    let new = ((old as f64 * scale) as usize).max(1);
    let stretch = scale.recip().max(1.0);
    let of_place = |place: usize| {
        let centre = (place as f64 + 0.5) / scale - 0.5;
        let first = ((centre - 2.0 * stretch).ceil().max(0.0) as usize).min(old - 1);
        let last = ((centre + 2.0 * stretch).floor() as usize).clamp(first, old - 1);
        let mut weights: Vec<f32> = (first..=last).map(|at| kernel(((at as f64 - centre) / stretch) as f32)).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        (first, weights)
    };
    (0..new).map(of_place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Luma {
        let values = (0..height).flat_map(|y| (0..width).map(move |x| (x + 10 * y) as f32)).collect();
        Luma { width, height, values }
    }

    #[test]
    fn scaling_and_turning_keep_ramps() {
        let picture = ramp(24, 17);
        let same = picture.scaled(1.0);
        assert!(picture.values.iter().zip(&same.values).all(|(a, b)| (a - b).abs() < 1e-3));
        for scale in [0.5, 0.73, 1.9] {
            let other = picture.scaled(scale);
            assert_eq!(other.width, (24.0 * scale) as usize);
            let (x, y) = (other.width / 2, other.height / 2);
            let old = |place: usize| (place as f64 + 0.5) / scale - 0.5;
            assert!((f64::from(other.values[y * other.width + x]) - old(x) - 10.0 * old(y)).abs() < 0.3, "{scale}");
        }
        assert_eq!(picture.scaled(0.001).values.len(), 1);
        // A quarter turn of a square is one of the eight ways.
        let square = ramp(9, 9);
        let turned = square.rotated(90.0);
        assert!((1..8).any(|way| {
            let way = square.turned(way);
            way.values.iter().zip(&turned.values).all(|(a, b)| (a - b).abs() < 1e-2)
        }));
    }

    #[test]
    fn the_eight_ways_differ_and_undo() {
        let picture = ramp(5, 3);
        for way in 0..8 {
            let turned = picture.turned(way);
            assert_eq!((turned.width, turned.height), if way < 4 { (5, 3) } else { (3, 5) });
            assert!((0..8).any(|back| turned.turned(back).values == picture.values), "{way}");
            assert!((0..way).all(|other| picture.turned(other).values != turned.values), "{way}");
        }
        assert_eq!(picture.middle(3).values, [1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
        assert_eq!(picture.corner(2).values, [0.0, 1.0, 10.0, 11.0]);
    }
}
