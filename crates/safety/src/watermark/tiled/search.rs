//! Reading a mark: where the grid lies, how large its cells are, and what was done to the picture since are found by trying.

use rayon::prelude::*;

use super::blocks::{AllBlocks, BLOCK};
use super::luma::Luma;
use super::votes::Grid;
use super::{CELLS, Effort, Found};

/// Less is chance, in standard deviations. It only saves time: what is read is decided by the checksum.
const WEAKEST: f32 = 4.5;
/// How many of the best places are decoded, at each stage.
const DECODED: usize = 6;
/// A part of a larger picture is enough to find the tone, and the size.
const TONE_SIDE: usize = 768;
const SIZE_SIDE: usize = 256;
/// Cells from 20 to 56 wide, in steps that turn the brightest block by a fifth of a cell.
const TONES: (f32, f32, usize) = (1.0 / 56.0, 1e-4, 322);
/// Sizes from a quarter to four times.
const LARGEST: f64 = 4.0;
/// How far apart those lie that are tried of whole and of cut pictures.
const WHOLE_STEP: f64 = 0.002;
const CUT_STEP: f64 = 0.004;
/// Angles that are tried, up to this one in both directions, and how far apart, in degrees.
const ANGLES: (f64, f64) = (5.0, 0.25);
/// How many sizes and angles are looked at again, more closely.
const CLOSER: usize = 4;

/// A place where a mark may be: the grid that begins at this pixel, with cells of this frequency.
#[derive(Clone, Copy, Debug)]
struct Place {
    strength: f32,
    left: usize,
    top: usize,
    frequency: f32,
}

/// The mark of a picture.
pub(super) fn search(luma: &Luma, effort: Effort) -> Option<Found> {
    let frequencies = CELLS.map(|cell| 1.0 / cell);
    let as_it_is = Found { id: 0, scale: 1.0, degrees: 0.0, turned: 0 };
    let found = |id| Found { id, ..as_it_is };
    let all = AllBlocks::new(luma);
    if let Some(id) = decode(&all, places(&all, 1, |grid| strongest(grid, &frequencies))) {
        return Some(found(id));
    }
    if effort == Effort::Quick {
        return None;
    }
    let middle = AllBlocks::new(&luma.middle(TONE_SIDE));
    let unclipped = || all.without_clipped().zip(middle.without_clipped());
    let of_tones = decode(&all, places(&middle, 1, tones))
        .or_else(|| unclipped().and_then(|(all, middle)| decode(&all, places(&middle, 1, tones))));
    if let Some(id) = of_tones {
        return Some(found(id));
    }
    let turned = (1..8).find_map(|way| {
        let turned = luma.turned(way);
        let all = AllBlocks::new(&turned);
        let id = decode(&all, places(&all, 1, |grid| strongest(grid, &frequencies)))?;
        Some(Found { turned: way, ..found(id) })
    });
    let look = |grid: &Grid| strongest(grid, &frequencies);
    turned.or_else(|| ways(luma, &look))
}

/// The strengths at the frequencies of the format, the best first.
fn strongest(grid: &Grid, frequencies: &[f32]) -> Vec<(f32, f32)> {
    let strength = |&frequency: &f32| (grid.strength(&grid.sums(frequency)), frequency);
    let mut all: Vec<(f32, f32)> = frequencies.iter().map(strength).collect();
    all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    all
}

/// The strengths at all frequencies that a change of brightness and contrast may have made, the best few.
fn tones(grid: &Grid) -> Vec<(f32, f32)> {
    let (first, step, count) = TONES;
    let strengths = grid.scan(first, step, count).into_iter().enumerate();
    let mut all: Vec<(f32, f32)> = strengths.map(|(k, strength)| (strength, first + k as f32 * step)).collect();
    all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    all.truncate(DECODED);
    all
}

/// The grids that begin at every `every`th pixel of a block, and what each is worth, the best first.
fn places(all: &AllBlocks, every: usize, look: impl Fn(&Grid) -> Vec<(f32, f32)> + Sync) -> Vec<Place> {
    let across = (0..BLOCK).step_by(every);
    let corners: Vec<(usize, usize)> =
        across.flat_map(|left| (0..BLOCK).step_by(every).map(move |top| (left, top))).collect();
    let of_corner = |&(left, top): &(usize, usize)| {
        let found = look(&Grid::new(&all.grid(left, top)));
        found.into_iter().map(move |(strength, frequency)| Place { strength, left, top, frequency })
    };
    let mut places: Vec<Place> = corners.par_iter().flat_map_iter(of_corner).collect();
    places.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    places
}

/// The id at the first of the best places that has one.
fn decode(all: &AllBlocks, places: Vec<Place>) -> Option<u64> {
    let places: Vec<Place> = places.into_iter().take(DECODED).filter(|place| place.strength > WEAKEST).collect();
    places.par_iter().find_map_first(|place| {
        let grid = Grid::new(&all.grid(place.left, place.top));
        grid.id(&grid.sums(place.frequency))
    })
}

/// What may have been done to a picture, and is undone.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Made larger or smaller as a whole: the grid begins in its corner.
    Whole(f64),
    /// Made larger or smaller, and cut before or after.
    Cut(f64),
    /// Turned, by degrees.
    Turned(f64),
}

impl Way {
    /// All that are tried, those first that take less time.
    fn all() -> [Vec<Self>; 2] {
        let scales = |step: f64| {
            let count = (LARGEST.ln() / step) as i32;
            (-count..=count).filter(|&k| k != 0).map(move |k| (f64::from(k) * step).exp())
        };
        let (steepest, step) = ANGLES;
        let count = (steepest / step) as i32;
        let angles = (-count..=count).filter(|&k| k != 0).map(|k| f64::from(k) * step);
        let others = scales(CUT_STEP).map(Self::Cut).chain(angles.map(Self::Turned));
        [scales(WHOLE_STEP).map(Self::Whole).collect(), others.collect()]
    }

    /// Those around this one.
    fn nearby(self) -> [Self; 7] {
        [-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75].map(|k| match self {
            Self::Whole(scale) => Self::Whole(scale * (1.0 + k * WHOLE_STEP)),
            Self::Cut(scale) => Self::Cut(scale * (1.0 + k * CUT_STEP)),
            Self::Turned(degrees) => Self::Turned(degrees + k * ANGLES.1),
        })
    }

    /// A part of the picture as it was before, with sides of about `side`.
    fn undone(self, luma: &Luma, side: usize) -> Luma {
        let old = |scale: f64| (side as f64 / scale).ceil() as usize;
        match self {
            Self::Whole(scale) => luma.corner(old(scale)).scaled(scale),
            Self::Cut(scale) => luma.middle(old(scale)).scaled(scale),
            Self::Turned(degrees) => luma.middle(side).rotated(degrees),
        }
    }

    /// What was done, and what was found.
    fn found(self, id: u64) -> Found {
        let (scale, degrees) = match self {
            Self::Whole(scale) | Self::Cut(scale) => (1.0 / scale, 0.0),
            Self::Turned(degrees) => (1.0, -degrees),
        };
        Found { id, scale, degrees, turned: 0 }
    }
}

/// The mark of a picture that was made larger or smaller or turned a little.
fn ways(luma: &Luma, look: &(impl Fn(&Grid) -> Vec<(f32, f32)> + Sync)) -> Option<Found> {
    let strength = |way: Way| {
        let part = way.undone(luma, SIZE_SIDE);
        let best = match way {
            Way::Whole(_) => look(&Grid::new(&AllBlocks::new(&part).grid(0, 0))).first().map(|found| found.0),
            Way::Cut(_) | Way::Turned(_) => places(&AllBlocks::new(&part), 2, look).first().map(|place| place.strength),
        };
        (best.unwrap_or(0.0), way)
    };
    Way::all().into_iter().find_map(|ways| {
        let mut ranked: Vec<(f32, Way)> = ways.into_par_iter().map(strength).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.into_iter().take(CLOSER).find_map(|(_, way)| closer(luma, way, look))
    })
}

/// The mark at about this size or angle.
fn closer(luma: &Luma, way: Way, look: &(impl Fn(&Grid) -> Vec<(f32, f32)> + Sync)) -> Option<Found> {
    let of_way = |way: &Way| {
        let all = AllBlocks::new(&way.undone(luma, TONE_SIDE));
        let places = places(&all, 1, look);
        (places.first().map_or(0.0, |place| place.strength), *way, all, places)
    };
    let mut tried: Vec<_> = way.nearby().iter().map(of_way).collect();
    tried.sort_by(|a, b| b.0.total_cmp(&a.0));
    tried.into_iter().take(2).find_map(|(_, way, all, places)| Some(way.found(decode(&all, places)?)))
}
