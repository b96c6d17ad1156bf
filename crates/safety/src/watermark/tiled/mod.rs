//! The tiled mark: an id of 64 bits in the brightness of a picture, that stays readable when the picture is compressed, cut,
//! brought to another size or made brighter. It needs no network and no weights.
//!
//! Each block of 8 × 8 pixels carries a bit in its mean brightness ([`blocks`]), which is moved to the nearest place that
//! says the bit (quantization index modulation, Chen and Wornell 2001): in cells of a fixed width an end for 0 and the middle for 1. 18 × 16 blocks, 144 × 128 pixels, are a tile, and tiles repeat in both directions, so that every part of
//! this size has the whole id, wherever it was cut ([`code`] is what stands in a tile). A reader does not know where the tiles
//! begin, nor whether the picture was scaled: it tries, and takes what has the right checksum ([`search`]).
//!
//! What it does not survive: being drawn again by a model, and people who want it gone. `examples/watermark_bench.rs`
//! measures the rest.

mod blocks;
mod code;
mod luma;
mod search;
mod votes;
mod write;

use calotype_image::{Raster, RgbImage, RgbaImage};

use luma::Luma;

/// Blocks along the sides of a tile.
const TILE_COLUMNS: usize = 18;
const TILE_ROWS: usize = 16;

/// The widths of cells that marks are written with, the weakest first.
///
/// A whole number of them reaches from black to white, so that both lie where a bit is said and need not be left far. JPEG rounds
/// the mean of a block, and so the number of a flat one, to multiples of 16 at quality 50: widths of which 16 is a half or a
/// quarter would have both bits fall where neither is said.
const CELLS: [f32; 4] = [WHITE / 54.0, WHITE / 46.0, WHITE / 40.0, WHITE / 34.0];
/// The number of a white block.
const WHITE: f32 = 8.0 * 255.0;

/// How much a reader tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The picture as it was written, at most cut or compressed.
    Quick,
    /// Also other brightness and contrast, turned and mirrored pictures, other sizes, and small angles.
    Thorough,
}

/// A mark that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The id that was written.
    pub id: u64,
    /// How many times as large as when it was marked the picture is.
    pub scale: f64,
    /// By how much it is turned, in degrees.
    pub degrees: f64,
    /// By which of the eight ways to turn and mirror it is; 0 for none.
    pub turned: u8,
}

/// Bits of a tile that a picture must have room for. Half of them missing is what the code mends of a picture that is as it was written.
const FEWEST_BITS: usize = code::CODED / 2;

/// Whether a picture has room for an id; 96 × 96 pixels have, and what has as many blocks of no more than a tile's sides.
#[must_use]
pub fn fits(width: u32, height: u32) -> bool {
    let blocks = |side: u32, most: usize| (side as usize / blocks::BLOCK).min(most);
    blocks(width, TILE_COLUMNS) * blocks(height, TILE_ROWS) >= FEWEST_BITS
}

/// The weakest cells are about 45 dB from the picture; each further strength is some 2 dB more.
pub const STRENGTHS: usize = CELLS.len();

/// Writes an id into a picture, at a strength from 0 to [`STRENGTHS`] − 1; what is above is taken as the strongest.
///
/// Of a picture with alpha the colours are changed as far as they are seen over white. Whether the id can be read back depends on
/// the picture: see [`super::mark`].
pub fn write<const C: usize>(picture: &mut Raster<C>, id: u64, strength: usize) {
    const { assert!(C == 3 || C == 4, "a mark goes into RGB or RGBA") };
    write::write(picture, &code::encode(id), f64::from(CELLS[strength.min(STRENGTHS - 1)]));
}

/// The mark of a picture, if one is found.
#[must_use]
pub fn read(picture: &RgbImage, effort: Effort) -> Option<Found> {
    search::search(&Luma::from(picture), effort)
}

/// The mark of a picture as it is seen over white, if one is found.
#[must_use]
pub fn read_rgba(picture: &RgbaImage, effort: Effort) -> Option<Found> {
    search::search(&Luma::from(picture), effort)
}
