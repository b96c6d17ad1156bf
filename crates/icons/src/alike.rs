//! Subjects that are hard to tell apart.

use calotype_image::mse;
use rayon::prelude::*;

use crate::{
    bitmaps::Bitmap,
    error::Result,
    packages::STYLES,
    scene::{Arrangement, Scene, Size, Thing},
};

/// Two subjects, and how near their pictures are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike {
    /// The two, as places in the list of subjects.
    pub subjects: (usize, usize),
    /// The style in which they are nearest, as place in [`STYLES`].
    pub style: usize,
    /// Mean squared error of their pictures in 8-bit values squared, the mean of several backgrounds.
    pub mse: f64,
}

/// The backgrounds that pictures are compared on: on one alone, things of its colour are all alike.
const ON: [usize; 3] = [4, 8, 9];

/// Side of the pictures that are compared.
const SIDE: u32 = 32;

/// Pairs of subjects nearer than `limit` in some style, the nearest first. A judge by nearest picture tells apart only
/// what is well apart here. `bitmaps[style][subject]`.
///
/// # Errors
/// None but those of resizing, which no bitmap has.
pub fn alike(bitmaps: &[Vec<Bitmap>], limit: f64) -> Result<Vec<Alike>> {
    let mut pairs = Vec::new();
    for (style, of_style) in bitmaps.iter().enumerate().take(STYLES.len()) {
        let draw = |subject: usize| {
            let (first, arrangement) = (Thing { subject, colour: None }, Arrangement::One(Size::Usual));
            let pictures = ON.map(|background| Scene { style, background, first, arrangement }.draw(of_style, SIDE));
            pictures.into_iter().collect::<Result<Vec<_>>>()
        };
        let pictures = (0..of_style.len()).into_par_iter().map(draw).collect::<Result<Vec<_>>>()?;
        let near = |first: usize| {
            let near = |second: usize| {
                let distance = |(a, b)| mse(a, b).unwrap_or(f64::INFINITY);
                let sum: f64 = pictures[first].iter().zip(&pictures[second]).map(distance).sum();
                let mse = sum / ON.len() as f64;
                (mse < limit).then_some(Alike { subjects: (first, second), style, mse })
            };
            (first + 1..pictures.len()).filter_map(near).collect::<Vec<_>>()
        };
        pairs.extend((0..pictures.len()).into_par_iter().flat_map_iter(near).collect::<Vec<_>>());
    }
    pairs.sort_by(|a, b| a.mse.total_cmp(&b.mse).then(a.subjects.cmp(&b.subjects)));
    let mut known = std::collections::HashSet::new();
    pairs.retain(|pair| known.insert(pair.subjects));
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use calotype_image::RgbaImage;

    #[test]
    fn the_nearest_are_found() {
        let colour = |rgb: [u8; 3]| Bitmap::new(&RgbaImage::new(1, 1, vec![rgb[0], rgb[1], rgb[2], 255]).unwrap());
        let style = || [[0, 0, 0], [200, 0, 0], [0, 100, 0], [203, 0, 0]].map(colour).into();
        let found = alike(&[style(), style(), style()], 100.0).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subjects, (1, 3));
        let share = f64::from(26 * 26) / f64::from(32 * 32);
        assert!((found[0].mse - 3.0 * share).abs() < 1e-9, "{}", found[0].mse);
    }
}
