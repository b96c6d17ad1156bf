//! Writing a mark: each block's number goes to the nearest place that says the bit.

use calotype_image::Raster;
use rayon::prelude::*;

use super::blocks::{self, BLOCK};
use super::code::CODED;
use super::luma::{WEIGHTS, of_pixel};
use super::{TILE_COLUMNS, TILE_ROWS};

/// A block that says its bit less clearly than this, of 1, is tried again on the other side.
const CLEAR: f64 = 0.7;
/// How often a block is corrected for what rounding and clipping took.
const CORRECTIONS: usize = 3;

/// Where in a cell the numbers of a bit lie.
fn place(bit: bool) -> f64 {
    if bit { 0.5 } else { 0.0 }
}

/// Writes a tile's bits all over a picture, in cells of `cell`. Of transparent pictures the colours are changed as far as they are
/// seen over white; alpha stays.
pub(super) fn write<const C: usize>(picture: &mut Raster<C>, tile: &[bool; CODED], cell: f64) {
    let width = picture.width() as usize;
    let columns = width / BLOCK;
    let bands = picture.data_mut().par_chunks_exact_mut(width * C * BLOCK);
    bands.enumerate().for_each(|(row, band)| {
        for column in 0..columns {
            let bit = tile[row % TILE_ROWS * TILE_COLUMNS + column % TILE_COLUMNS];
            let at = |i: usize| (i / BLOCK * width + column * BLOCK + i % BLOCK) * C;
            let old: [[u8; C]; BLOCK * BLOCK] = std::array::from_fn(|i| std::array::from_fn(|c| band[at(i) + c]));
            let new = block(&old, bit, cell);
            new.iter().enumerate().for_each(|(i, pixel)| band[at(i)..at(i) + C].copy_from_slice(pixel));
        }
    });
}

/// The block with its number near a place of the bit.
fn block<const C: usize>(old: &[[u8; C]; BLOCK * BLOCK], bit: bool, cell: f64) -> [[u8; C]; BLOCK * BLOCK] {
    let number = blocks::value(&old.map(seen));
    let nearest = (number / cell - place(bit)).round();
    let other = if number / cell - place(bit) > nearest { nearest + 1.0 } else { nearest - 1.0 };
    let mut best = (f64::MIN, *old);
    for target in [nearest, other].map(|k| (k + place(bit)) * cell).into_iter().filter(|&target| target >= 0.0) {
        let mut by = target - number;
        for _ in 0..CORRECTIONS {
            let new = changed(old, blocks::change(by) as f32);
            let value = blocks::value(&new.map(seen));
            let clear = (std::f64::consts::TAU * (value / cell - place(bit))).cos();
            if clear > best.0 {
                best = (clear, new);
            }
            by += target - value;
        }
        if best.0 >= CLEAR {
            break;
        }
    }
    best.1
}

/// Brightness of a pixel over white.
fn seen<const C: usize>(pixel: [u8; C]) -> f32 {
    let luma = of_pixel([pixel[0], pixel[1], pixel[2]]);
    luma + (255.0 - luma) * (1.0 - opacity(&pixel))
}

fn opacity<const C: usize>(pixel: &[u8; C]) -> f32 {
    pixel.get(3).map_or(1.0, |&alpha| f32::from(alpha) / 255.0)
}

/// The block with its brightness changed. What rounding and clipping take from a pixel the next one gets, back and forth along the
/// rows, so that the sum over the block holds.
fn changed<const C: usize>(old: &[[u8; C]; BLOCK * BLOCK], change: f32) -> [[u8; C]; BLOCK * BLOCK] {
    /// More than this isn't passed on: it would gather at the edge of a white or a transparent part.
    const MOST_PASSED: f32 = 2.0;
    let mut new = *old;
    let mut passed = 0.0f32;
    for i in 0..BLOCK * BLOCK {
        let (y, x) = (i / BLOCK, i % BLOCK);
        let i = y * BLOCK + if y % 2 == 0 { x } else { BLOCK - 1 - x };
        let wanted = change + passed;
        let opacity = opacity(&old[i]);
        let step = if opacity > 0.0 { (wanted / opacity).round().clamp(-255.0, 255.0) } else { 0.0 };
        let mut done = 0.0;
        for (channel, weight) in WEIGHTS.iter().enumerate() {
            let value = f32::from(old[i][channel]);
            let value_new = (value + step).clamp(0.0, 255.0);
            new[i][channel] = value_new as u8;
            done += weight * (value_new - value) * opacity;
        }
        passed = (wanted - done).clamp(-MOST_PASSED, MOST_PASSED);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_their_bit_whatever_they_are() {
        let flat = |pixel: [u8; 3]| [pixel; BLOCK * BLOCK];
        let ramp = std::array::from_fn(|i| [i as u8 * 3, 255 - i as u8 * 2, 7 * i as u8]);
        let noise = std::array::from_fn(|i| [(i * i * 91) as u8, (i * 57) as u8, (i * i * i) as u8]);
        for old in [flat([0; 3]), flat([255; 3]), flat([255, 0, 0]), flat([3, 200, 90]), ramp, noise] {
            for (bit, cell) in [(false, 32.0), (true, 32.0), (false, 24.0), (true, 48.0)] {
                let new = block(&old, bit, cell);
                let value = blocks::value(&new.map(seen));
                let clear = (std::f64::consts::TAU * (value / cell - place(bit))).cos();
                assert!(clear > 0.75, "{:?}.. {bit} {cell}: {clear}", &old[..2]);
                let largest = old.as_flattened().iter().zip(new.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
                assert!(largest <= Some(2 + (cell / 4.0) as u8), "{largest:?}");
            }
        }
    }

    #[test]
    fn transparent_pixels_keep_their_alpha() {
        let old: [[u8; 4]; BLOCK * BLOCK] =
            std::array::from_fn(|i| [90, 30, i as u8, if i % 3 == 0 { 0 } else { 40 + 3 * i as u8 }]);
        let new = block(&old, true, 32.0);
        assert!(old.iter().zip(&new).all(|(a, b)| a[3] == b[3] && (a[3] > 0 || a == b)));
        let value = blocks::value(&new.map(seen));
        assert!((std::f64::consts::TAU * (value / 32.0 - 0.5)).cos() > 0.75);
    }
}
