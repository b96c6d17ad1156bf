//! The number of a block that carries a bit: eight times its mean brightness.
//!
//! That is the first of the 64 coefficients of the orthonormal cosine transform of 8 × 8 pixels, the one that JPEG keeps best. Published
//! schemes take the largest singular value of the transform of Haar's sums, which of a flat block is the same number; but of a block
//! with a texture it changes with the texture, too. Of 77 photographs of 256 × 256 brought to half of the size and back, at
//! 45 dB, 77 were read by the mean and 76 by the singular value, after a gamma of 1.1 77 and 75, and nowhere did the mean do worse.

use super::luma::Luma;

/// Pixels along a side of a block.
pub(super) const BLOCK: usize = 8;

/// Below and above are blocks whose pixels are as dark or as bright as can be, but for rounding.
const BLACK: f32 = 0.4 * BLOCK as f32;
const WHITE: f32 = 254.6 * BLOCK as f32;
/// One of so many blocks is more than a little.
const FEWEST_CLIPPED: usize = 50;

/// The numbers of all blocks of a grid, row by row; NaN of those that say nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    pub(super) columns: usize,
    pub(super) values: Vec<f32>,
}

/// The numbers of the blocks that begin at each pixel.
pub(super) struct AllBlocks {
    columns: usize,
    rows: usize,
    values: Vec<f32>,
}

impl AllBlocks {
    pub(super) fn new(luma: &Luma) -> Self {
        let columns = (luma.width + 1).saturating_sub(BLOCK);
        let rows = (luma.height + 1).saturating_sub(BLOCK);
        let mut values = Vec::with_capacity(columns * rows);
        if columns > 0 {
            // Sums along rows, of which eight are added up.
            let along: Vec<f32> = luma.values.chunks_exact(luma.width).flat_map(sums_along).collect();
            for y in 0..rows {
                let eight = |x: usize| (0..BLOCK).map(|dy| along[(y + dy) * columns + x]).sum::<f32>();
                values.extend((0..columns).map(|x| eight(x) / BLOCK as f32));
            }
        }
        Self { columns, rows, values }
    }

    /// The same without what is all white or all black, if that is more than a little: where a brighter or darker picture has reached
    /// the end of the scale, its blocks say nothing any more.
    pub(super) fn without_clipped(&self) -> Option<Self> {
        let is_clipped = |&value: &f32| !(BLACK..=WHITE).contains(&value);
        let clipped = self.values.iter().filter(|value| is_clipped(value)).count();
        let values = || self.values.iter().map(|value| if is_clipped(value) { f32::NAN } else { *value }).collect();
        (clipped * FEWEST_CLIPPED > self.values.len()).then(|| Self { values: values(), ..*self })
    }

    /// The blocks of the grid that begins at a pixel.
    pub(super) fn grid(&self, left: usize, top: usize) -> Blocks {
        let columns = self.columns.saturating_sub(left).div_ceil(BLOCK);
        let rows = (top..self.rows).step_by(BLOCK).filter(|_| columns > 0);
        let row = |y: usize| self.values[y * self.columns + left..][..self.columns - left].iter().step_by(BLOCK);
        Blocks { columns, values: rows.flat_map(row).copied().collect() }
    }
}

/// The sums of eight neighbours.
fn sums_along(row: &[f32]) -> impl Iterator<Item = f32> {
    row.windows(BLOCK).map(|eight| eight.iter().sum())
}

/// The number of a block of brightness, `(8, 8)`.
pub(super) fn value(pixels: &[f32; BLOCK * BLOCK]) -> f64 {
    pixels.iter().map(|&x| f64::from(x)).sum::<f64>() / BLOCK as f64
}

/// What to add to each pixel so that the number rises by `by`.
pub(super) fn change(by: f64) -> f64 {
    by / BLOCK as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_have_the_numbers_of_their_blocks() {
        let (width, height) = (29, 22);
        let values: Vec<f32> = (0..width * height).map(|i| (i * i * 7 % 251) as f32).collect();
        let all = AllBlocks::new(&Luma { width, height, values: values.clone() });
        for (left, top) in [(0, 0), (5, 6), (7, 7), (3, 0)] {
            let grid = all.grid(left, top);
            assert_eq!(grid.columns, (width - left) / BLOCK);
            assert_eq!(grid.values.len(), grid.columns * ((height - top) / BLOCK));
            for (i, &found) in grid.values.iter().enumerate() {
                let (x, y) = (left + i % grid.columns * BLOCK, top + i / grid.columns * BLOCK);
                let pixels = std::array::from_fn(|i| values[(y + i / BLOCK) * width + x + i % BLOCK]);
                assert!((f64::from(found) - value(&pixels)).abs() < 0.01);
                let raised = pixels.map(|x| x + change(11.0) as f32);
                assert!((value(&raised) - value(&pixels) - 11.0).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn what_is_all_white_or_black_says_nothing() {
        let mut values = vec![130.0; 80 * 64];
        assert!(AllBlocks::new(&Luma { width: 80, height: 64, values: values.clone() }).without_clipped().is_none());
        values.chunks_mut(80).for_each(|row| (row[..16].fill(255.0), row[16..32].fill(0.0), row[32] = 255.0).2);
        let all = AllBlocks::new(&Luma { width: 80, height: 64, values });
        let grid = all.without_clipped().unwrap().grid(0, 0);
        let nothing: Vec<bool> = grid.values.iter().map(|value| value.is_nan()).collect();
        let row = [true, true, true, true, false, false, false, false, false, false];
        assert!(nothing.chunks(10).all(|found| found == row) && nothing.len() == 80);
    }

    #[test]
    fn small_pictures_have_no_blocks() {
        for (width, height) in [(7, 30), (30, 7), (1, 1)] {
            let all = AllBlocks::new(&Luma { width, height, values: vec![9.0; width * height] });
            assert!(all.grid(0, 0).values.is_empty() && all.grid(7, 7).values.is_empty());
        }
    }
}
