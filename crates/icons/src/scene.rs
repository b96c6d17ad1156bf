//! What is in a picture, how it is drawn, and what a caption says.

use calotype_image::{RgbImage, RgbaImage};
use serde::{Deserialize, Serialize};

use crate::{
    bitmaps::Bitmap,
    colours::{BACKGROUNDS, COLOURS, WHITE},
    error::Result,
    packages::STYLES,
    random::Random,
    subjects::{Noun, Subject},
    words::with_article,
};

/// A picture of the data set. Numbers are places in the list of subjects, [`STYLES`], [`BACKGROUNDS`] and [`COLOURS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scene {
    /// How everything looks.
    pub style: usize,
    /// What is behind.
    pub background: usize,
    /// The first thing.
    pub first: Thing,
    /// What else.
    pub arrangement: Arrangement,
}

/// A subject, in another colour than its own where one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thing {
    /// The subject.
    pub subject: usize,
    /// The colour.
    pub colour: Option<usize>,
}

/// How things are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// One, in the middle.
    One(Size),
    /// Two side by side, or three in a triangle.
    Several(usize),
    /// The first in a relation to a second one.
    Pair(Relation, Thing),
}

/// How big one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// What captions do not speak of.
    Usual,
    /// Half as big.
    Small,
    /// As big as fits.
    Big,
}

/// Where the first of two things is, seen from the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// At its left.
    LeftOf,
    /// At its right.
    RightOf,
    /// Over it.
    Above,
    /// Under it.
    Below,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LeftOf, Self::RightOf, Self::Above, Self::Below];

    /// Its words in captions.
    const fn words(self) -> [&'static str; 2] {
        match self {
            Self::LeftOf => ["left of", "to the left of"],
            Self::RightOf => ["right of", "to the right of"],
            Self::Above => ["above", "over"],
            Self::Below => ["below", "under"],
        }
    }

    /// Whether things are side by side.
    pub(crate) fn is_horizontal(self) -> bool {
        matches!(self, Self::LeftOf | Self::RightOf)
    }

    /// The half of a picture that the first thing is in, or the second for 1.
    pub(crate) fn half(self, picture: &RgbImage, thing: usize) -> RgbImage {
        let (x, y) = self.places()[thing.min(1)];
        let (width, height) = (picture.width(), picture.height());
        let start = |middle: f32, length: u32| if middle > 0.5 { length / 2 } else { 0 };
        if self.is_horizontal() {
            picture.crop(start(x, width), 0, width / 2, height)
        } else {
            picture.crop(0, start(y, height), width, height / 2)
        }
    }

    /// Middles of the first and the second thing, in shares of the picture's sides.
    const fn places(self) -> [(f32, f32); 2] {
        const LEFT: (f32, f32) = (0.25, 0.5);
        const RIGHT: (f32, f32) = (0.75, 0.5);
        const TOP: (f32, f32) = (0.5, 0.25);
        const BOTTOM: (f32, f32) = (0.5, 0.75);
        match self {
            Self::LeftOf => [LEFT, RIGHT],
            Self::RightOf => [RIGHT, LEFT],
            Self::Above => [TOP, BOTTOM],
            Self::Below => [BOTTOM, TOP],
        }
    }
}

/// The longer side of one thing as a share of the picture's.
const fn share(size: Size) -> f32 {
    match size {
        Size::Usual => 0.8,
        Size::Small => 0.4,
        Size::Big => 0.97,
    }
}

/// The longer side of each of two or three things.
const SHARE_OF_SEVERAL: f32 = 0.46;
/// Middles of three things.
const TRIANGLE: [(f32, f32); 3] = [(0.5, 0.26), (0.26, 0.74), (0.74, 0.74)];

impl Scene {
    /// The things in it, the first one first.
    #[must_use]
    pub fn things(&self) -> Vec<Thing> {
        match self.arrangement {
            Arrangement::Pair(_, second) => vec![self.first, second],
            Arrangement::One(_) | Arrangement::Several(_) => vec![self.first],
        }
    }

    /// The picture, `side` by `side` pixels; `bitmaps` are those of the scene's style.
    ///
    /// # Errors
    /// [`Error::Image`](crate::Error::Image) when `side` is 0.
    pub fn draw(&self, bitmaps: &[Bitmap], side: u32) -> Result<RgbImage> {
        let background = BACKGROUNDS[self.background].rgb;
        let mut picture = RgbImage::filled(side, side, background);
        let mut put = |thing: Thing, longer: f32, places: &[(f32, f32)]| -> Result<()> {
            let bitmap = bitmaps[thing.subject].coloured(thing.colour);
            let bitmap = scaled(&bitmap, longer * side as f32)?.over(background);
            for &(x, y) in places {
                let corner = |middle: f32, length: u32| {
                    let first = (middle * side as f32 - length as f32 / 2.0).round();
                    (first.max(0.0) as u32).min(side.saturating_sub(length))
                };
                picture.paste(&bitmap, corner(x, bitmap.width()), corner(y, bitmap.height()));
            }
            Ok(())
        };
        match self.arrangement {
            Arrangement::One(size) => put(self.first, share(size), &[(0.5, 0.5)])?,
            Arrangement::Several(2) => put(self.first, SHARE_OF_SEVERAL, &Relation::LeftOf.places())?,
            Arrangement::Several(_) => put(self.first, SHARE_OF_SEVERAL, &TRIANGLE)?,
            Arrangement::Pair(relation, second) => {
                let [one, two] = relation.places();
                put(self.first, SHARE_OF_SEVERAL, &[one])?;
                put(second, SHARE_OF_SEVERAL, &[two])?;
            }
        }
        Ok(picture)
    }

    /// A caption. The same scene has several: `random` chooses among names, words and their order.
    pub(crate) fn caption(&self, subjects: &[Subject], random: &mut Random) -> String {
        let mut parts = vec![self.what(subjects, random)];
        let background = format!("on {}", with_article(&format!("{} background", BACKGROUNDS[self.background].name)));
        if self.background != WHITE || random.one_in(2) {
            parts.push(background);
        }
        if self.style != 0 || random.one_in(2) {
            let style = (*random.choose(&STYLES[self.style].words)).to_owned();
            let place = if random.one_in(4) { 1 } else { parts.len() };
            parts.insert(place, style);
        }
        parts.join(" ")
    }

    /// The part of a caption that names the things.
    fn what(&self, subjects: &[Subject], random: &mut Random) -> String {
        let colour = |thing: Thing| thing.colour.map(|c| COLOURS[c].name);
        let one = |thing: Thing, size: Option<&str>, random: &mut Random| {
            let noun = noun(&subjects[thing.subject], random);
            noun.one(&size.into_iter().chain(colour(thing)).collect::<Vec<_>>())
        };
        match self.arrangement {
            Arrangement::One(Size::Usual) => one(self.first, None, random),
            Arrangement::One(Size::Small) => one(self.first, Some("small"), random),
            Arrangement::One(Size::Big) => {
                let word = *random.choose(&["big", "large"]);
                one(self.first, Some(word), random)
            }
            Arrangement::Several(count) => {
                let noun = noun(&subjects[self.first.subject], random);
                let adjectives: Vec<_> = colour(self.first).into_iter().collect();
                noun.many(if count == 2 { "two" } else { "three" }, &adjectives)
            }
            Arrangement::Pair(relation, second) => {
                let (a, b) = (one(self.first, None, random), one(second, None, random));
                let words = relation.words();
                match relation {
                    // `and` says that there are both, side by side in either order.
                    Relation::LeftOf | Relation::RightOf if random.one_in(3) => format!("{a} and {b}"),
                    _ => format!("{a} {} {b}", words[usize::from(random.one_in(3))]),
                }
            }
        }
    }
}

/// A name of a subject: the first one three times out of four.
fn noun<'a>(subject: &'a Subject, random: &mut Random) -> &'a Noun {
    if random.one_in(4) { random.choose(&subject.nouns) } else { &subject.nouns[0] }
}

/// The bitmap with its longer side `longer` pixels.
fn scaled(bitmap: &RgbaImage, longer: f32) -> Result<RgbaImage> {
    let scale = longer / bitmap.width().max(bitmap.height()).max(1) as f32;
    let side = |side: u32| ((side as f32 * scale).round() as u32).max(1);
    Ok(bitmap.resize(side(bitmap.width()), side(bitmap.height()))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn thing(subject: usize) -> Thing {
        Thing { subject, colour: None }
    }

    fn scene(arrangement: Arrangement) -> Scene {
        Scene { style: 1, background: 4, first: thing(0), arrangement }
    }

    fn bitmaps() -> Vec<Bitmap> {
        let block = |rgb: [u8; 3], w, h| {
            let data = [rgb[0], rgb[1], rgb[2], 255].repeat((w * h) as usize);
            Bitmap::new(&RgbaImage::new(w, h, data).unwrap())
        };
        vec![block([255, 0, 0], 20, 10), block([0, 255, 0], 10, 10)]
    }

    /// Middle and size of what has this colour.
    fn extent(picture: &RgbImage, rgb: [u8; 3]) -> [u32; 4] {
        let near = |pixel: [u8; 3]| pixel.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) < 30);
        let all = (0..100 * 100).map(|i| (i % 100, i / 100)).filter(|&(x, y)| near(picture.pixel(x, y).unwrap()));
        let all: Vec<(u32, u32)> = all.collect();
        let (xs, ys) = (all.iter().map(|p| p.0), all.iter().map(|p| p.1));
        let (left, right) = (xs.clone().min().unwrap(), xs.max().unwrap() + 1);
        let (top, bottom) = (ys.clone().min().unwrap(), ys.max().unwrap() + 1);
        [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    }

    #[test]
    fn things_are_where_the_relation_says() {
        const RED: [u8; 3] = [255, 0, 0];
        const GREEN: [u8; 3] = [0, 255, 0];
        let draw = |arrangement| scene(arrangement).draw(&bitmaps(), 100).unwrap();
        let one = draw(Arrangement::One(Size::Usual));
        assert_eq!(extent(&one, RED), [50, 50, 80, 40]);
        assert_eq!(one.pixel(0, 0), Some(BACKGROUNDS[4].rgb));
        assert_eq!(extent(&draw(Arrangement::One(Size::Small)), RED), [50, 50, 40, 20]);
        for (relation, red, green) in [
            (Relation::LeftOf, (25, 50), (75, 50)),
            (Relation::RightOf, (75, 50), (25, 50)),
            (Relation::Above, (50, 25), (50, 75)),
            (Relation::Below, (50, 75), (50, 25)),
        ] {
            let picture = draw(Arrangement::Pair(relation, thing(1)));
            assert_eq!(extent(&picture, RED), [red.0, red.1, 46, 23], "{relation:?}");
            assert_eq!(extent(&picture, GREEN), [green.0, green.1, 46, 46], "{relation:?}");
        }
        assert_eq!(extent(&draw(Arrangement::Several(2)), RED), [50, 50, 96, 23]);
        assert_eq!(extent(&draw(Arrangement::Several(3)), RED)[2], 94);
    }

    #[test]
    fn captions_follow_the_grammar() {
        let subjects = crate::subjects::parse("1F34E apple\n1F347 @grapes | @a bunch of grapes", |_| None).unwrap();
        let all = |scene: &Scene| -> BTreeSet<String> {
            let mut random = Random(1);
            (0..400).map(|_| scene.caption(&subjects, &mut random)).collect()
        };
        let expect = |scene: &Scene, among: &[&str], count: usize| {
            let captions = all(scene);
            for caption in among {
                assert!(captions.contains(*caption), "{caption}: {captions:?}");
            }
            assert_eq!(captions.len(), count, "{captions:?}");
        };
        let mut one = scene(Arrangement::One(Size::Usual));
        expect(
            &one,
            &["an apple on a blue background in flat style", "an apple as a flat icon on a blue background"],
            4,
        );
        one.style = 0;
        expect(&one, &["an apple on a blue background", "an apple on a blue background in gradient style"], 5);
        one.background = WHITE;
        expect(&one, &["an apple", "an apple as a gradient icon", "an apple on a white background"], 8);
        one.first.colour = Some(4);
        one.arrangement = Arrangement::One(Size::Small);
        assert!(all(&one).contains("a small blue apple"));
        one.arrangement = Arrangement::Several(3);
        assert!(all(&one).contains("three blue apples"));
        one.arrangement = Arrangement::Pair(Relation::RightOf, thing(1));
        for caption in ["a blue apple right of grapes", "a blue apple and a bunch of grapes"] {
            assert!(all(&one).contains(caption), "{caption}");
        }
        one.arrangement = Arrangement::Pair(Relation::Above, thing(1));
        assert!(all(&one).contains("a blue apple above grapes on a white background as a gradient icon"));
        assert!(!all(&one).iter().any(|caption| caption.contains(" and ")));
    }
}
