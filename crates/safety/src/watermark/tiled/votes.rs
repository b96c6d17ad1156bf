//! What the blocks of a grid say of a tile: each number as an angle in its cell, and the mean angle of all blocks that say the
//! same bit.

use std::f32::consts::TAU;

use super::blocks::Blocks;
use super::code::{self, CODED};
use super::{TILE_COLUMNS, TILE_ROWS};

/// Numbers of blocks in the order of tiles, so that the same bit is at the same place of each; 288 places a tile, NaN-free:
/// what is not there, or says nothing, has `weight` 0.
pub(super) struct Grid {
    tiles: Vec<Tile>,
    /// How many blocks say each bit.
    counts: [f32; CODED],
    /// Bits that some block says.
    said: f32,
}

struct Tile {
    values: [f32; CODED],
    weights: [f32; CODED],
}

/// For each bit of a tile the sum of `exp(i·angle)` over its blocks.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    re: [f32; CODED],
    im: [f32; CODED],
}

impl Grid {
    pub(super) fn new(blocks: &Blocks) -> Self {
        let columns = blocks.columns.max(1);
        let across = columns.div_ceil(TILE_COLUMNS);
        let down = (blocks.values.len() / columns).div_ceil(TILE_ROWS);
        let empty = || Tile { values: [0.0; CODED], weights: [0.0; CODED] };
        let mut tiles: Vec<Tile> = (0..across * down).map(|_| empty()).collect();
        let mut counts = [0.0; CODED];
        for (y, row) in blocks.values.chunks(columns).enumerate() {
            for (x, &value) in row.iter().enumerate() {
                if value.is_nan() {
                    continue;
                }
                let place = y % TILE_ROWS * TILE_COLUMNS + x % TILE_COLUMNS;
                let tile = &mut tiles[y / TILE_ROWS * across + x / TILE_COLUMNS];
                (tile.values[place], tile.weights[place]) = (value, 1.0);
                counts[place] += 1.0;
            }
        }
        let said = counts.iter().filter(|&&count| count > 0.0).count() as f32;
        Self { tiles, counts, said }
    }

    /// The sums for `frequency` cells in each unit of the numbers.
    pub(super) fn sums(&self, frequency: f32) -> Sums {
        let mut sums = Sums { re: [0.0; CODED], im: [0.0; CODED] };
        for tile in &self.tiles {
            for i in 0..CODED {
                let (sin, cos) = sin_cos(tile.values[i] * frequency);
                sums.re[i] += cos * tile.weights[i];
                sums.im[i] += sin * tile.weights[i];
            }
        }
        sums
    }

    /// Sums for the frequencies `first + k·step`, of each its strength.
    pub(super) fn scan(&self, first: f32, step: f32, count: usize) -> Vec<f32> {
        // Every number's angle turns on by the same amount each time, which is a product and no sine.
        let start = |tile: &Tile| {
            let mut spun = Spun { re: [0.0; CODED], im: [0.0; CODED], turn_re: [0.0; CODED], turn_im: [0.0; CODED] };
            for i in 0..CODED {
                let (sin, cos) = sin_cos(tile.values[i] * first);
                (spun.re[i], spun.im[i]) = (cos * tile.weights[i], sin * tile.weights[i]);
                (spun.turn_im[i], spun.turn_re[i]) = sin_cos(tile.values[i] * step);
            }
            spun
        };
        let mut tiles: Vec<Spun> = self.tiles.iter().map(start).collect();
        let mut strengths = Vec::with_capacity(count);
        for _ in 0..count {
            let mut sums = Sums { re: [0.0; CODED], im: [0.0; CODED] };
            for tile in &mut tiles {
                tile.add_and_turn(&mut sums);
            }
            strengths.push(self.strength(&sums));
        }
        strengths
    }

    /// How far the sums are from those of a picture without a mark, in standard deviations: the energy along the one line that
    /// holds most of it, less what chance gives. The mean over all bits, which flat pictures have and marks don't, is left out.
    pub(super) fn strength(&self, sums: &Sums) -> f32 {
        let total: f32 = self.counts.iter().sum();
        if total == 0.0 {
            return 0.0;
        }
        let (mean_re, mean_im) = self.mean(sums, total);
        let (mut energy, mut line_re, mut line_im) = (0.0, 0.0, 0.0);
        for i in 0..CODED {
            let count = self.counts[i];
            let over = if count > 0.0 { 1.0 / count } else { 0.0 };
            let (re, im) = (sums.re[i] - count * mean_re, sums.im[i] - count * mean_im);
            energy += (re * re + im * im) * over;
            line_re += (re * re - im * im) * over;
            line_im += 2.0 * re * im * over;
        }
        (energy + line_re.hypot(line_im) - self.said) / (2.0 * self.said).sqrt()
    }

    fn mean(&self, sums: &Sums, total: f32) -> (f32, f32) {
        (sums.re.iter().sum::<f32>() / total, sums.im.iter().sum::<f32>() / total)
    }

    /// The id that the sums say, from whichever corner of the tile and with either sign.
    pub(super) fn id(&self, sums: &Sums) -> Option<u64> {
        let total: f32 = self.counts.iter().sum();
        let (mean_re, mean_im) = self.mean(sums, total.max(1.0));
        let (mut line_re, mut line_im) = (0.0, 0.0);
        let centred: [(f32, f32); CODED] = std::array::from_fn(|i| {
            let count = self.counts[i];
            (sums.re[i] - count * mean_re, sums.im[i] - count * mean_im)
        });
        for (&(re, im), &count) in centred.iter().zip(&self.counts) {
            let over = if count > 0.0 { 1.0 / count } else { 0.0 };
            line_re += (re * re - im * im) * over;
            line_im += 2.0 * re * im * over;
        }
        // The line through both places of a cell; as it was written, right is 0 and left is 1.
        let (sin, cos) = (line_im.atan2(line_re) / 2.0).sin_cos();
        let sign = if cos < 0.0 { 1.0 } else { -1.0 };
        let votes: [f32; CODED] = std::array::from_fn(|i| sign * (centred[i].0 * cos + centred[i].1 * sin));
        let opposite = votes.map(|vote| -vote);
        [votes, opposite].iter().find_map(id_at_any_corner)
    }
}

/// The id of a tile that begins anywhere.
fn id_at_any_corner(votes: &[f32; CODED]) -> Option<u64> {
    (0..CODED).find_map(|corner| {
        let (top, left) = (corner / TILE_COLUMNS, corner % TILE_COLUMNS);
        code::decode(&std::array::from_fn(|i| {
            let (y, x) = ((i / TILE_COLUMNS + top) % TILE_ROWS, (i % TILE_COLUMNS + left) % TILE_COLUMNS);
            votes[y * TILE_COLUMNS + x]
        }))
    })
}

struct Spun {
    re: [f32; CODED],
    im: [f32; CODED],
    turn_re: [f32; CODED],
    turn_im: [f32; CODED],
}

impl Spun {
    fn add_and_turn(&mut self, sums: &mut Sums) {
        for i in 0..CODED {
            let (re, im) = (self.re[i], self.im[i]);
            sums.re[i] += re;
            sums.im[i] += im;
            self.re[i] = re * self.turn_re[i] - im * self.turn_im[i];
            self.im[i] = re * self.turn_im[i] + im * self.turn_re[i];
        }
    }
}

/// Sine and cosine of `turns` full turns, within 2e-4: polynomials (Taylor's to the seventh and sixth power on an eighth of a turn)
/// that a compiler makes vector instructions of.
#[inline(always)]
fn sin_cos(turns: f32) -> (f32, f32) {
    /// Added and taken away again it rounds: what is below 1 has no place beside it.
    const ROUNDER: f32 = 12_582_912.0;
    // Quarters are told apart, the rest lies within an eighth of a turn.
    let quarter = (turns * 4.0 + ROUNDER) - ROUNDER;
    let x = (turns - quarter * 0.25) * TAU;
    let squared = x * x;
    let sin = x * (1.0 + squared * (-1.0 / 6.0 + squared * (1.0 / 120.0 - squared / 5040.0)));
    let cos = 1.0 + squared * (-0.5 + squared * (1.0 / 24.0 - squared / 720.0));
    let quarter = quarter as i32 & 3;
    let (a, b) = if quarter & 1 == 0 { (sin, cos) } else { (cos, -sin) };
    if quarter & 2 == 0 { (a, b) } else { (-a, -b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_are_sines() {
        for i in -4000..4000 {
            let turns = i as f32 * 0.0173;
            let (sin, cos) = sin_cos(turns);
            let exact = (f64::from(turns) * std::f64::consts::TAU).sin_cos();
            assert!((f64::from(sin) - exact.0).abs() < 2e-4 && (f64::from(cos) - exact.1).abs() < 2e-4, "{turns}");
        }
    }

    /// The numbers that a mark leaves in `columns` × `rows` blocks from block `(left, top)` of a picture on.
    fn marked(id: u64, [columns, rows]: [usize; 2], [left, top]: [usize; 2], cell: f32, offset: f32) -> Blocks {
        let tile = code::encode(id);
        let number = |i: usize| {
            let (x, y) = (i % columns, i / columns);
            let bit = tile[(y + top) % TILE_ROWS * TILE_COLUMNS + (x + left) % TILE_COLUMNS];
            ((i * i * 37 % 50) as f32 + if bit { 0.5 } else { 0.0 }) * cell + offset
        };
        Blocks { columns, values: (0..columns * rows).map(number).collect() }
    }

    #[test]
    fn a_tile_is_read_from_any_corner_and_with_any_offset() {
        for (corner, offset) in [([0, 0], 0.0), ([5, 3], 0.0), ([17, 15], 9.0), ([1, 9], 16.0), ([0, 0], 23.0)] {
            let grid = Grid::new(&marked(77, [25, 19], corner, 32.0, offset));
            let sums = grid.sums(1.0 / 32.0);
            assert!(grid.strength(&sums) > 10.0, "{}", grid.strength(&sums));
            assert_eq!(grid.id(&sums), Some(77), "{corner:?} {offset}");
        }
    }

    #[test]
    fn a_scan_finds_the_size_of_the_cells() {
        let grid = Grid::new(&marked(5, [36, 32], [0, 0], 29.0, 0.0));
        let strengths = grid.scan(0.02, 1e-4, 300);
        let best = (0..300).max_by(|&a, &b| strengths[a].total_cmp(&strengths[b])).unwrap();
        assert!((0.02 + best as f32 * 1e-4 - 1.0 / 29.0).abs() < 1.5e-4, "{best}");
        let again = grid.strength(&grid.sums(0.02 + best as f32 * 1e-4));
        assert!((again - strengths[best]).abs() < 0.05 * again);
        assert!(strengths.iter().filter(|&&strength| strength > strengths[best] / 2.0).count() < 6);
    }

    #[test]
    fn nothing_and_flat_pictures_have_no_strength() {
        let empty = Grid::new(&Blocks::default());
        assert_eq!((empty.strength(&empty.sums(0.03)), empty.id(&empty.sums(0.03))), (0.0, None));
        let flat = Grid::new(&Blocks { columns: 40, values: vec![1000.0; 1200] });
        assert!(flat.strength(&flat.sums(0.03)) < 0.0);
    }
}
