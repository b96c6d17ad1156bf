//! Is a picture what its caption says? Judged by the nearest drawn picture.

use calotype_image::{RgbImage, mse, resize};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    bitmaps::Bitmap,
    colours::BACKGROUNDS,
    dataset::Entry,
    error::Result,
    packages::STYLES,
    scene::{Arrangement, Relation, Scene, Thing},
};

/// What a picture was found to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// How many subjects are nearer than the one asked for, of the same style, colour and size on the same background; of pictures of one
    /// thing.
    pub rank: Option<usize>,
    /// Whether the background asked for is the nearest to the border's colour.
    pub background: bool,
    /// Whether the nearest picture, of all subjects in all styles, is of the style asked for; of pictures of one thing.
    pub style: Option<bool>,
    /// Whether both subjects are there, in any places; of pairs.
    pub both: Option<bool>,
    /// Whether they are where the caption says, of pairs where both are there and the caption says it.
    pub relation: Option<bool>,
}

/// What pictures are judged by.
pub struct Judge<'a> {
    /// `bitmaps[style][subject]`.
    pub bitmaps: &'a [Vec<Bitmap>],
}

/// Side of what is compared: finer detail is not what tells subjects apart, and the nearest is sought among hundreds.
const COMPARED: u32 = 64;

impl Judge<'_> {
    /// Judges a picture that was made from the caption of `entry`.
    ///
    /// # Errors
    /// The picture is empty.
    pub fn judge(&self, entry: &Entry, picture: &RgbImage) -> Result<Verdict> {
        let scene = &entry.scene;
        let background = nearest_background(picture) == scene.background;
        let small = resize(picture, COMPARED, COMPARED)?;
        let empty = Verdict { rank: None, background, style: None, both: None, relation: None };
        match scene.arrangement {
            Arrangement::Pair(relation, second) => {
                let places = self.places(scene, &small, relation)?;
                let (a, b) = (scene.first.subject, second.subject);
                let found = [places[0].1, places[1].1];
                let both = found == [a, b] || found == [b, a];
                let says = !entry.text.contains(" and ");
                let relation = (both && says).then(|| places[0].0 == relation && found == [a, b]);
                Ok(Verdict { both: Some(both), relation, ..empty })
            }
            Arrangement::One(_) | Arrangement::Several(_) => {
                let distances = |style: usize| -> Result<Vec<f64>> {
                    let of_subject = |subject: usize| {
                        let first = Thing { subject, ..scene.first };
                        let drawn = Scene { style, first, ..scene.clone() };
                        Ok(mse(&small, &drawn.draw(&self.bitmaps[style], COMPARED)?)?)
                    };
                    (0..self.bitmaps[style].len()).into_par_iter().map(of_subject).collect()
                };
                let by_style = (0..STYLES.len()).map(distances).collect::<Result<Vec<_>>>()?;
                let least = |style: &usize| by_style[*style].iter().copied().fold(f64::INFINITY, f64::min);
                let style = (0..STYLES.len()).min_by(|a, b| least(a).total_cmp(&least(b)));
                let distances = &by_style[scene.style];
                let asked = distances[scene.first.subject];
                let rank = distances.iter().filter(|&&distance| distance < asked).count();
                Ok(Verdict { rank: Some(rank), style: Some(style == Some(scene.style)), ..empty })
            }
        }
    }

    /// The subjects nearest to the two halves of a picture of a pair, and where: side by side or one over the other, whichever fits
    /// better. `asked` breaks no tie but names the order: the first of two is where its first is.
    fn places(&self, scene: &Scene, picture: &RgbImage, asked: Relation) -> Result<[(Relation, usize); 2]> {
        let mut colours: Vec<Option<usize>> = scene.things().iter().map(|thing| thing.colour).collect();
        colours.dedup();
        let mut best: Option<(f64, [(Relation, usize); 2])> = None;
        for relation in [asked, if asked.is_horizontal() { Relation::Above } else { Relation::LeftOf }] {
            let mut sum = 0.0;
            let mut places = [(relation, 0); 2];
            for (place, found) in places.iter_mut().enumerate() {
                let half = relation.half(picture, place);
                let nearest = |subject: usize| -> Result<(f64, usize)> {
                    let mut least = f64::INFINITY;
                    for &colour in &colours {
                        let thing = Thing { subject, colour };
                        let drawn =
                            Scene { first: thing, arrangement: Arrangement::Pair(relation, thing), ..scene.clone() };
                        let drawn = drawn.draw(&self.bitmaps[scene.style], COMPARED)?;
                        least = least.min(mse(&half, &relation.half(&drawn, place))?);
                    }
                    Ok((least, subject))
                };
                let all =
                    (0..self.bitmaps[scene.style].len()).into_par_iter().map(nearest).collect::<Result<Vec<_>>>()?;
                let nearest = all.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0));
                sum += nearest.0;
                *found = (relation, nearest.1);
            }
            if best.as_ref().is_none_or(|(least, _)| sum < *least) {
                best = Some((sum, places));
            }
        }
        Ok(best.map_or([(asked, 0); 2], |(_, places)| places))
    }
}

/// Shares of pictures that are as asked for, of those to which the question applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Pictures judged.
    pub pictures: usize,
    /// The subject is the nearest of all; of pictures of one thing.
    pub top1: Option<f64>,
    /// It is among the five nearest.
    pub top5: Option<f64>,
    /// The background is right.
    pub background: Option<f64>,
    /// The style is right.
    pub style: Option<f64>,
    /// Both subjects of a pair are there.
    pub both: Option<f64>,
    /// They are where the caption says, of pairs where both are.
    pub relation: Option<f64>,
}

impl Figures {
    /// Of some verdicts.
    #[must_use]
    pub fn of<'v>(verdicts: impl IntoIterator<Item = &'v Verdict> + Clone) -> Self {
        let share = |is: &dyn Fn(&Verdict) -> Option<bool>| {
            let answers: Vec<bool> = verdicts.clone().into_iter().filter_map(is).collect();
            let right = answers.iter().filter(|&&right| right).count();
            (!answers.is_empty()).then(|| right as f64 / answers.len() as f64)
        };
        Self {
            pictures: verdicts.clone().into_iter().count(),
            top1: share(&|v| v.rank.map(|rank| rank == 0)),
            top5: share(&|v| v.rank.map(|rank| rank < 5)),
            background: share(&|v| Some(v.background)),
            style: share(&|v| v.style),
            both: share(&|v| v.both),
            relation: share(&|v| v.relation),
        }
    }
}

/// The background nearest to the mean colour of the four corners, of which things leave most free.
fn nearest_background(picture: &RgbImage) -> usize {
    let (width, height) = (picture.width(), picture.height());
    let side = (width.min(height) / 16).max(1);
    let corner = |at: u32, length: u32| at < side || at + side >= length;
    let mut values: [Vec<u8>; 3] = Default::default();
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        if let Some(pixel) = picture.pixel(x, y).filter(|_| corner(x, width) && corner(y, height)) {
            values.iter_mut().zip(pixel).for_each(|(values, value)| values.push(value));
        }
    }
    // The median: a thing that reaches one corner does not change it.
    let median = values.map(|mut values| {
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    });
    let distance =
        |rgb: [u8; 3]| -> u32 { rgb.iter().zip(median).map(|(&a, b)| u32::from(a.abs_diff(b)).pow(2)).sum() };
    (0..BACKGROUNDS.len()).min_by_key(|&b| distance(BACKGROUNDS[b].rgb)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Size;
    use calotype_image::RgbaImage;

    /// Four subjects in three styles, all of other colours.
    fn bitmaps() -> Vec<Vec<Bitmap>> {
        let bitmap = |style: u8, subject: u8| {
            let pixel = [subject * 60, 255 - subject * 60, style * 100, 255];
            Bitmap::new(&RgbaImage::new(4, 4, pixel.repeat(16)).unwrap())
        };
        (0..3).map(|style| (0..4).map(|subject| bitmap(style, subject)).collect()).collect()
    }

    fn entry(scene: Scene, text: &str) -> Entry {
        Entry { file_name: String::new(), text: text.into(), held_out: None, scene }
    }

    fn one(style: usize, subject: usize) -> Scene {
        let first = Thing { subject, colour: None };
        Scene { style, background: 9, first, arrangement: Arrangement::One(Size::Usual) }
    }

    #[test]
    fn a_drawn_picture_is_right_and_another_is_not() {
        let bitmaps = bitmaps();
        let judge = Judge { bitmaps: &bitmaps };
        let verdict = |asked: Scene, drawn: &Scene| {
            judge.judge(&entry(asked, "a thing"), &drawn.draw(&bitmaps[drawn.style], 64).unwrap()).unwrap()
        };
        let right = verdict(one(1, 2), &one(1, 2));
        assert_eq!((right.rank, right.background, right.style, right.both), (Some(0), true, Some(true), None));
        let other = verdict(one(1, 2), &one(1, 0));
        assert!(other.rank.unwrap() > 0 && other.style == Some(true));
        assert_eq!(verdict(one(1, 2), &one(0, 2)).style, Some(false));
        assert!(!verdict(one(1, 2), &Scene { background: 2, ..one(1, 2) }).background);
        let figures = Figures::of(&[right, other]);
        assert_eq!((figures.pictures, figures.top1, figures.both), (2, Some(0.5), None));
    }

    #[test]
    fn pairs_are_found_in_any_place_and_their_relation_is_told() {
        let bitmaps = bitmaps();
        let judge = Judge { bitmaps: &bitmaps };
        let pair = |a, relation, b| Scene {
            arrangement: Arrangement::Pair(relation, Thing { subject: b, colour: None }),
            ..one(2, a)
        };
        let asked = pair(0, Relation::LeftOf, 3);
        let verdict = |drawn: &Scene, text: &str| {
            let verdict = judge.judge(&entry(asked.clone(), text), &drawn.draw(&bitmaps[2], 64).unwrap()).unwrap();
            (verdict.both, verdict.relation)
        };
        assert_eq!(verdict(&asked, "a left of d"), (Some(true), Some(true)));
        assert_eq!(verdict(&asked, "a and d"), (Some(true), None));
        assert_eq!(verdict(&pair(3, Relation::LeftOf, 0), "a left of d"), (Some(true), Some(false)));
        assert_eq!(verdict(&pair(0, Relation::Above, 3), "a left of d"), (Some(true), Some(false)));
        assert_eq!(verdict(&pair(0, Relation::LeftOf, 1), "a left of d"), (Some(false), None));
    }
}
