//! Combinations that training must not see.

use crate::{
    colours::{BACKGROUNDS, COLOURS},
    packages::STYLES,
    random::hash,
    scene::Scene,
    subjects::Subject,
};

/// What two things never come together in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A subject and a background.
    Background,
    /// Two subjects.
    Pair,
    /// A subject and a colour that is not its own.
    Colour,
    /// A subject and a style.
    Style,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Background, Self::Pair, Self::Colour, Self::Style];

    /// Its name in the data set's files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Pair => "pair",
            Self::Colour => "colour",
            Self::Style => "style",
        }
    }

    /// One in so many combinations is held out.
    const fn one_in(self) -> u64 {
        match self {
            Self::Background => 20,
            Self::Pair | Self::Colour => 10,
            Self::Style => 25,
        }
    }
}

/// What is held out, by a hash of names and a seed: a subject more in the list changes nothing for the others.
#[derive(Clone, Copy, Debug)]
pub struct HeldOut {
    /// Another seed holds other combinations out.
    pub seed: u64,
}

impl HeldOut {
    fn decide(self, kind: Kind, a: &str, b: &str) -> bool {
        hash(self.seed, &[kind.name(), a, b]).is_multiple_of(kind.one_in())
    }

    /// Whether a subject and a background (place in [`BACKGROUNDS`]) are held out.
    #[must_use]
    pub fn background(self, subject: &Subject, background: usize) -> bool {
        self.decide(Kind::Background, &subject.code, BACKGROUNDS[background].name)
    }

    /// Whether two subjects are, in either order.
    #[must_use]
    pub fn pair(self, a: &Subject, b: &Subject) -> bool {
        let (first, second) = if a.code <= b.code { (a, b) } else { (b, a) };
        self.decide(Kind::Pair, &first.code, &second.code)
    }

    /// Whether a subject and a colour (place in [`COLOURS`]) are.
    #[must_use]
    pub fn colour(self, subject: &Subject, colour: usize) -> bool {
        self.decide(Kind::Colour, &subject.code, COLOURS[colour].name)
    }

    /// Whether a subject and a style (place in [`STYLES`]) are. Of one subject, one style at most.
    #[must_use]
    pub fn style(self, subject: &Subject, style: usize) -> bool {
        let mut held = (0..STYLES.len()).filter(|&s| self.decide(Kind::Style, &subject.code, STYLES[s].name));
        held.next() == Some(style)
    }

    /// The kinds of what is held out in a scene.
    #[must_use]
    pub fn kinds(self, scene: &Scene, subjects: &[Subject]) -> Vec<Kind> {
        let things = scene.things();
        let subject = |place: usize| &subjects[things[place].subject];
        let any = |held: &dyn Fn(usize) -> bool| (0..things.len()).any(held);
        Kind::ALL
            .into_iter()
            .filter(|kind| match kind {
                Kind::Background => any(&|i| self.background(subject(i), scene.background)),
                Kind::Pair => things.len() == 2 && self.pair(subject(0), subject(1)),
                Kind::Colour => any(&|i| things[i].colour.is_some_and(|c| self.colour(subject(i), c))),
                Kind::Style => any(&|i| self.style(subject(i), scene.style)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Arrangement, Relation, Size, Thing};

    fn subjects() -> Vec<Subject> {
        let list: String = (0..400).map(|i| format!("{:X}\n", 0x1_F300 + i)).collect();
        let name = |code: &str| code.bytes().map(|b| char::from(b'a' + b % 26)).collect::<String>();
        crate::subjects::parse(&list, |code| Some(format!("n {}", name(code)))).unwrap()
    }

    #[test]
    fn shares_are_as_meant() {
        let (subjects, held) = (subjects(), HeldOut { seed: 1 });
        let pairs = subjects.iter().flat_map(|a| subjects.iter().map(move |b| held.pair(a, b)));
        let share = pairs.filter(|held| *held).count() as f64 / 160_000.0;
        assert!((share - 0.1).abs() < 0.01, "{share}");
        let backgrounds = subjects.iter().flat_map(|s| (0..10).map(move |b| held.background(s, b)));
        let count = backgrounds.filter(|held| *held).count();
        assert!((140..260).contains(&count), "{count}");
        assert!(subjects.iter().all(|s| (0..STYLES.len()).filter(|&style| held.style(s, style)).count() <= 1));
        let of = |seed| subjects.iter().map(|s| HeldOut { seed }.pair(&subjects[0], s)).collect::<Vec<_>>();
        assert_ne!(of(1), of(9));
        assert_eq!(held.pair(&subjects[3], &subjects[8]), held.pair(&subjects[8], &subjects[3]));
    }

    #[test]
    fn a_scene_tells_what_is_held_out_in_it() {
        let (subjects, held) = (subjects(), HeldOut { seed: 1 });
        let things = (0..subjects.len()).flat_map(|a| (0..subjects.len()).map(move |b| (a, b)));
        let (a, b) = things.clone().find(|&(a, b)| a != b && held.pair(&subjects[a], &subjects[b])).unwrap();
        let thing = |subject| Thing { subject, colour: None };
        let mut scene = Scene {
            style: (0..3).find(|&s| !held.style(&subjects[a], s) && !held.style(&subjects[b], s)).unwrap(),
            background: (0..10)
                .find(|&g| !held.background(&subjects[a], g) && !held.background(&subjects[b], g))
                .unwrap(),
            first: thing(a),
            arrangement: Arrangement::Pair(Relation::Above, thing(b)),
        };
        assert_eq!(held.kinds(&scene, &subjects), [Kind::Pair]);
        scene.arrangement = Arrangement::One(Size::Usual);
        assert_eq!(held.kinds(&scene, &subjects), []);
    }
}
