//! The schemes of the Python package `invisible-watermark` 0.2.0, byte for byte: what Stable Diffusion's scripts write.
//!
//! Bits go round and round over the 4 × 4 blocks of the wavelet's sums of the channel U, row by row. So they are lost as soon as the
//! picture is cut or has another width, and most of them by JPEG; `dwtDct` loses them on many pictures already when it writes
//! them (it changes the largest coefficient of a block, and then another is the largest). They are here to read what others have
//! written, and to write what others read.

mod singular;
mod wavelet;
mod yuv;

use calotype_image::RgbImage;

use crate::error::{Error, Result};
use singular::{Matrix, SIDE};
use wavelet::Bands;

/// The package's schemes that need no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `dwtDct`: the largest of a block's sums but the first. No cosine transform is computed, in spite of the name.
    DwtDct,
    /// `dwtDctSvd`: the largest singular value of a block's sums.
    DwtDctSvd,
}

/// What Stable Diffusion's scripts write.
pub const DEFAULT_TEXT: &str = "StableDiffusionV1";
/// The longest text, in bytes. The package has no limit.
pub const LONGEST_TEXT: usize = 1024;
/// Fewer pixels the package refuses.
const FEWEST_PIXELS: u64 = 256 * 256;
/// Width of a cell.
const CELL: f64 = 36.0;

/// Writes the bits of a text, the first bit of each byte first.
///
/// # Errors
/// [`Error::SmallPicture`] for a picture of fewer than 65536 pixels; [`Error::Payload`] for a text of no bytes or more than
/// [`LONGEST_TEXT`].
pub fn write(picture: &RgbImage, text: &[u8], scheme: Scheme) -> Result<RgbImage> {
    check(picture, text.len())?;
    let mut channels = Channels::of(picture);
    let mut bands = channels.bands();
    let bits: Vec<bool> = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    for (at, bit) in blocks(&bands).zip(bits.into_iter().cycle()) {
        let mut block = block(&bands, at);
        scheme.write(&mut block, bit);
        for (y, row) in block.iter().enumerate() {
            bands.sums[at + y * bands.columns..][..SIDE].copy_from_slice(row);
        }
    }
    channels.put(&bands.joined_swapped());
    channels.picture()
}

/// The text of `length` bytes that a picture has: of each bit what most of its blocks say. There is always some.
///
/// # Errors
/// As [`write`].
pub fn read(picture: &RgbImage, length: usize, scheme: Scheme) -> Result<Vec<u8>> {
    check(picture, length)?;
    let bands = Channels::of(picture).bands();
    let mut votes = vec![(0u32, 0u32); length * 8];
    for (number, at) in blocks(&bands).enumerate() {
        let (ones, all) = &mut votes[number % (length * 8)];
        *ones += u32::from(scheme.read(&block(&bands, at)));
        *all += 1;
    }
    // As numpy: the mean times 255 over 127. A bit without a block is 0.
    let is_one = |&(ones, all): &(u32, u32)| f64::from(ones) / f64::from(all) * 255.0 > 127.0;
    Ok(votes.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, vote| byte << 1 | u8::from(is_one(vote)))).collect())
}

/// The share of a text's bits that a picture has; 0 where it can't have any.
#[must_use]
pub fn right(picture: &RgbImage, text: &str, scheme: Scheme) -> f64 {
    read(picture, text.len(), scheme).map_or(0.0, |read| share(&read, text.as_bytes()))
}

/// The share of equal bits.
pub(super) fn share(read: &[u8], text: &[u8]) -> f64 {
    let wrong: u32 = read.iter().zip(text).map(|(a, b)| (a ^ b).count_ones()).sum();
    1.0 - f64::from(wrong) / (8.0 * text.len() as f64)
}

/// Whether the package takes a picture of this size.
#[must_use]
pub fn fits(width: u32, height: u32) -> bool {
    u64::from(width) * u64::from(height) >= FEWEST_PIXELS
}

fn check(picture: &RgbImage, length: usize) -> Result<()> {
    let (width, height) = (picture.width(), picture.height());
    if !fits(width, height) {
        return Err(Error::SmallPicture { width, height, pixels: FEWEST_PIXELS });
    }
    if length == 0 || length > LONGEST_TEXT {
        return Err(Error::Payload { bytes: length, limit: LONGEST_TEXT });
    }
    Ok(())
}

/// Where the blocks of the sums begin, row by row.
fn blocks(bands: &Bands) -> impl Iterator<Item = usize> + use<> {
    let columns = bands.columns;
    let rows = bands.sums.len() / columns.max(1);
    (0..rows / SIDE).flat_map(move |y| (0..columns / SIDE).map(move |x| y * SIDE * columns + x * SIDE))
}

fn block(bands: &Bands, at: usize) -> Matrix {
    std::array::from_fn(|y| std::array::from_fn(|x| bands.sums[at + y * bands.columns + x]))
}

impl Scheme {
    /// The package's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DwtDct => "dwtDct",
            Self::DwtDctSvd => "dwtDctSvd",
        }
    }

    fn write(self, block: &mut Matrix, bit: bool) {
        let moved = |value: f64| ((value / CELL).floor() + 0.25 + if bit { 0.5 } else { 0.0 }) * CELL;
        match self {
            Self::DwtDct => {
                let at = largest_but_the_first(block.as_flattened());
                let value = &mut block.as_flattened_mut()[at];
                *value = if *value >= 0.0 { moved(*value) } else { -moved(-*value) };
            }
            Self::DwtDctSvd => {
                // The cosine transform around it is orthonormal and changes neither the value nor the way back.
                let (value, u, v) = singular::largest(block);
                let by = moved(value) - value;
                for (row, u) in block.iter_mut().zip(u) {
                    row.iter_mut().zip(v).for_each(|(x, v)| *x += by * u * v);
                }
            }
        }
    }

    fn read(self, block: &Matrix) -> bool {
        let value = match self {
            Self::DwtDct => block.as_flattened()[largest_but_the_first(block.as_flattened())].abs(),
            Self::DwtDctSvd => singular::largest(block).0,
        };
        value.rem_euclid(CELL) > 0.5 * CELL
    }
}

/// The first of those with the largest absolute value.
fn largest_but_the_first(values: &[f64]) -> usize {
    let rest = 1..values.len();
    rest.reduce(|best, at| if values[at].abs() > values[best].abs() { at } else { best }).unwrap_or(0)
}

/// A picture as the package sees it.
struct Channels {
    width: usize,
    height: usize,
    yuv: Vec<[u8; 3]>,
}

impl Channels {
    fn of(picture: &RgbImage) -> Self {
        let yuv = picture.data().chunks_exact(3).map(|p| yuv::from_rgb([p[0], p[1], p[2]])).collect();
        Self { width: picture.width() as usize, height: picture.height() as usize, yuv }
    }

    /// The part with sides that are multiples of 4.
    fn sides(&self) -> (usize, usize) {
        (self.width / 4 * 4, self.height / 4 * 4)
    }

    /// The wavelet's bands of U.
    fn bands(&self) -> Bands {
        let (width, height) = self.sides();
        let rows = self.yuv.chunks_exact(self.width).take(height);
        let values: Vec<f64> = rows.flat_map(|row| &row[..width]).map(|pixel| f64::from(pixel[1])).collect();
        Bands::new(&values, width)
    }

    /// Takes other values of U, cut down to a byte as numpy does: towards zero, and modulo 256.
    fn put(&mut self, values: &[f64]) {
        let (width, _) = self.sides();
        for (row, values) in self.yuv.chunks_exact_mut(self.width).zip(values.chunks_exact(width.max(1))) {
            row.iter_mut().zip(values).for_each(|(pixel, &value)| pixel[1] = value as i32 as u8);
        }
    }

    fn picture(&self) -> Result<RgbImage> {
        let data = self.yuv.iter().flat_map(|&pixel| yuv::to_rgb(pixel)).collect();
        Ok(RgbImage::new(self.width as u32, self.height as u32, data)?)
    }
}
