//! The data set: which scenes, and the folder they are written to.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use calotype_checkpoint::{VOCABULARY, Vocabulary};
use calotype_image::encode_png;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    bitmaps::Bitmap,
    colours::{BACKGROUNDS, COLOURS},
    error::{Error, Result},
    held_out::{HeldOut, Kind},
    packages::STYLES,
    random::Random,
    scene::{Arrangement, Relation, Scene, Size, Thing},
    subjects::Subject,
};

/// What a data set is made of.
pub struct Source<'a> {
    /// The subjects.
    pub subjects: &'a [Subject],
    /// `bitmaps[style][subject]`.
    pub bitmaps: &'a [Vec<Bitmap>],
    /// What training must not see.
    pub held_out: HeldOut,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Side of the pictures in pixels.
    pub side: u32,
    /// Pictures to train on: every subject in every style on every background, as far as there is room, and then other scenes.
    pub train: usize,
    /// Pictures of each kind that is held out.
    pub held_out: usize,
}

/// Kinds of scenes that fill the training set: what they are, and how many of a hundred.
const MIX: [(What, usize); 4] = [(What::Pair, 55), (What::Several, 15), (What::Coloured, 20), (What::Sized, 10)];

/// What is special about a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Plain,
    Pair,
    Several,
    Coloured,
    Sized,
}

/// Random scenes are tried so often for each one that is wanted.
const TRIES: usize = 20_000;

impl Source<'_> {
    /// Whether everything in the scene is there to be drawn, and to be seen.
    fn drawable(&self, scene: &Scene) -> bool {
        let things = scene.things();
        let fits = |thing: &Thing| {
            let bitmap = &self.bitmaps[scene.style][thing.subject];
            match thing.colour {
                None => bitmap.visible_on(scene.background),
                Some(colour) => {
                    COLOURS[colour].name != BACKGROUNDS[scene.background].name && bitmap.colours().contains(&colour)
                }
            }
        };
        let counted = !matches!(scene.arrangement, Arrangement::Several(_))
            || things.iter().all(|thing| self.subjects[thing.subject].nouns.iter().all(|noun| noun.counted));
        let different = things.len() < 2 || things[0].subject != things[1].subject;
        counted && different && things.iter().all(fits)
    }

    /// A random scene, drawable or not.
    fn random(&self, what: What, random: &mut Random) -> Scene {
        let (style, background) = (random.below(STYLES.len()), random.below(BACKGROUNDS.len()));
        let thing = |coloured: bool, random: &mut Random| {
            let subject = random.below(self.subjects.len());
            let colours = self.bitmaps[style][subject].colours();
            // A scene of which a colour is wanted that there is not stays without, and is no scene of its kind.
            let colour = (coloured && !colours.is_empty()).then(|| *random.choose(&colours));
            Thing { subject, colour }
        };
        let (first, arrangement) = match what {
            What::Plain => (thing(false, random), Arrangement::One(Size::Usual)),
            What::Coloured => (thing(true, random), Arrangement::One(Size::Usual)),
            What::Sized => {
                let coloured = random.one_in(8);
                (thing(coloured, random), Arrangement::One(*random.choose(&[Size::Small, Size::Big])))
            }
            What::Several => {
                let coloured = random.one_in(8);
                (thing(coloured, random), Arrangement::Several(2 + random.below(2)))
            }
            What::Pair => {
                let (one, two) = (random.one_in(8), random.one_in(8));
                let (first, second) = (thing(one, random), thing(two, random));
                (first, Arrangement::Pair(*random.choose(&Relation::ALL), second))
            }
        };
        Scene { style, background, first, arrangement }
    }

    /// `count` different scenes of a kind with just these kinds of combinations held out.
    fn scenes(&self, what: What, held: &[Kind], count: usize, random: &mut Random) -> Result<Vec<Scene>> {
        let mut scenes = Vec::with_capacity(count);
        let mut known = HashSet::new();
        let coloured = |scene: &Scene| what != What::Coloured || scene.first.colour.is_some();
        while scenes.len() < count {
            let mut wanted = |scene: &Scene| {
                self.drawable(scene)
                    && coloured(scene)
                    && self.held_out.kinds(scene, self.subjects) == held
                    && known.insert(format!("{scene:?}"))
            };
            let scene = (0..TRIES).map(|_| self.random(what, random)).find(&mut wanted);
            let kind = held.first().map_or("training", |kind| kind.name());
            scenes.push(scene.ok_or(Error::NoScene { kind, subjects: self.subjects.len() })?);
        }
        Ok(scenes)
    }

    /// Scenes to train on.
    fn training(&self, count: usize, random: &mut Random) -> Result<Vec<Scene>> {
        let mut scenes = Vec::new();
        for style in 0..STYLES.len() {
            for subject in 0..self.subjects.len() {
                for background in 0..BACKGROUNDS.len() {
                    let first = Thing { subject, colour: None };
                    scenes.push(Scene { style, background, first, arrangement: Arrangement::One(Size::Usual) });
                }
            }
        }
        scenes.retain(|scene| self.drawable(scene) && self.held_out.kinds(scene, self.subjects).is_empty());
        random.shuffle(&mut scenes);
        scenes.truncate(count);
        let left = count - scenes.len();
        for (what, share) in MIX {
            scenes.extend(self.scenes(what, &[], left * share / 100, random)?);
        }
        Ok(scenes)
    }

    /// Scenes that are held out, of every kind.
    fn held_out(&self, count: usize, random: &mut Random) -> Result<Vec<(Kind, Scene)>> {
        let mut scenes = Vec::new();
        for kind in Kind::ALL {
            let what = match kind {
                Kind::Background | Kind::Style => What::Plain,
                Kind::Pair => What::Pair,
                Kind::Colour => What::Coloured,
            };
            scenes.extend(self.scenes(what, &[kind], count, random)?.into_iter().map(|scene| (kind, scene)));
        }
        // The first of them, which a trainer may look at alone, are of all kinds.
        Random(self.held_out.seed).shuffle(&mut scenes);
        Ok(scenes)
    }

    /// Writes the data set in the Hugging Face imagefolder form: `train/` and `held_out/`, each with PNG files and
    /// `metadata.jsonl` ([`Entry`] a line) and `vocabulary.json` ([`Vocabulary`]), `dataset.json`, the subjects and the words for them, and `held_out.json`, the
    /// combinations that `train/` does not have. The same source and plan give the same bytes.
    ///
    /// # Errors
    /// [`Error::Exists`] when `out` has one of the folders already, [`Error::Write`] when something cannot be written,
    /// [`Error::NoScene`] when there are too few subjects for a kind of scenes.
    pub fn write(&self, out: &Path, plan: Plan) -> Result<Summary> {
        let folders = ["train", "held_out"].map(|name| out.join(name));
        if let Some(path) = folders.iter().find(|folder| folder.exists()) {
            return Err(Error::Exists { path: path.clone() });
        }
        let mut random = Random(self.held_out.seed);
        let train: Vec<_> = self.training(plan.train, &mut random)?.into_iter().map(|scene| (None, scene)).collect();
        let held: Vec<_> = self.held_out(plan.held_out, &mut random)?.into_iter().map(|(k, s)| (Some(k), s)).collect();
        let summary = Summary { train: train.len(), held_out: held.len() };
        for (folder, scenes) in folders.iter().zip([train, held]) {
            self.write_folder(folder, scenes, plan.side, &mut random)?;
        }
        write(&out.join("dataset.json"), &pretty(&self.index(plan.side)))?;
        write(&out.join("held_out.json"), &pretty(&self.combinations()))?;
        Ok(summary)
    }

    fn write_folder(
        &self,
        folder: &Path,
        scenes: Vec<(Option<Kind>, Scene)>,
        side: u32,
        random: &mut Random,
    ) -> Result<()> {
        fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        let entry = |(place, (kind, scene)): (usize, (Option<Kind>, Scene))| Entry {
            file_name: format!("{place:06}.png"),
            text: scene.caption(self.subjects, random),
            held_out: kind.map(|kind| kind.name().to_owned()),
            scene,
        };
        let entries: Vec<Entry> = scenes.into_iter().enumerate().map(entry).collect();
        entries.par_iter().try_for_each(|entry| {
            let picture = entry.scene.draw(&self.bitmaps[entry.scene.style], side)?;
            write(&folder.join(&entry.file_name), &encode_png(&picture, &[])?)
        })?;
        write(&folder.join(VOCABULARY), &pretty(&json!(self.vocabulary(&entries))))?;
        let lines: String = entries.iter().map(|entry| json!(entry).to_string() + "\n").collect();
        write(&folder.join(LIST), lines.as_bytes())
    }

    /// The words of captions, which a model that is trained on them has beside it.
    fn vocabulary(&self, entries: &[Entry]) -> Vocabulary {
        let mut vocabulary = Vocabulary {
            subjects: self.subjects.iter().filter_map(|subject| Some(subject.nouns.first()?.words.clone())).collect(),
            styles: STYLES.iter().flat_map(|style| style.words.iter().map(|words| (*words).to_owned())).collect(),
            backgrounds: BACKGROUNDS.iter().map(|background| background.name.to_owned()).collect(),
            ..Vocabulary::default()
        };
        entries.iter().for_each(|entry| vocabulary.add_words(&entry.text));
        vocabulary
    }

    /// The contents of `dataset.json`.
    fn index(&self, side: u32) -> Value {
        let names = |s: &Subject| s.nouns.iter().map(|noun| noun.words.clone()).collect::<Vec<_>>();
        json!({
            "size": side,
            "seed": self.held_out.seed,
            "styles": STYLES.map(|s| json!({"name": s.name, "package": s.package, "words": s.words})),
            "backgrounds": BACKGROUNDS.map(|b| json!({"name": b.name, "rgb": b.rgb})),
            "colours": COLOURS.map(|c| c.name),
            "subjects": self.subjects.iter().map(|s| json!({"code": s.code, "names": names(s)})).collect::<Vec<_>>(),
        })
    }

    /// The contents of `held_out.json`.
    fn combinations(&self) -> Value {
        let (subjects, held) = (self.subjects, self.held_out);
        let with = |count: usize, is: &dyn Fn(&Subject, usize) -> bool, name: &dyn Fn(usize) -> &'static str| {
            let of =
                |s: &Subject| (0..count).filter(|&i| is(s, i)).map(|i| [s.code.clone(), name(i).to_owned()]).collect();
            subjects.iter().flat_map(|s| -> Vec<[String; 2]> { of(s) }).collect::<Vec<_>>()
        };
        let mut pairs = Vec::new();
        for (i, a) in subjects.iter().enumerate() {
            pairs.extend(subjects[..i].iter().filter(|b| held.pair(a, b)).map(|b| [b.code.clone(), a.code.clone()]));
        }
        json!({
            Kind::Background.name(): with(BACKGROUNDS.len(), &|s, i| held.background(s, i), &|i| BACKGROUNDS[i].name),
            Kind::Pair.name(): pairs,
            Kind::Colour.name(): with(COLOURS.len(), &|s, i| held.colour(s, i), &|i| COLOURS[i].name),
            Kind::Style.name(): with(STYLES.len(), &|s, i| held.style(s, i), &|i| STYLES[i].name),
        })
    }
}

/// The list of pictures in each of the folders.
pub(crate) const LIST: &str = "metadata.jsonl";

/// A line of `metadata.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The picture.
    pub file_name: String,
    /// The caption.
    pub text: String,
    /// What combination of it training does not see; none in the training set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<String>,
    /// What is in it.
    pub scene: Scene,
}

/// Pictures that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// To train on.
    pub train: usize,
    /// Held out.
    pub held_out: usize,
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|source| Error::Write { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use calotype_image::{Limits, RgbaImage, open};
    use std::collections::BTreeSet;

    /// Forty subjects of one colour each.
    fn made() -> (Vec<Subject>, Vec<Vec<Bitmap>>) {
        let letters =
            |i: u32| [b'a' + (i / 26) as u8, b'a' + (i % 26) as u8].map(char::from).iter().collect::<String>();
        let list: String = (0..40).map(|i| format!("{:X} thing {}\n", 0x1_F300 + i, letters(i))).collect();
        let subjects = crate::subjects::parse(&list, |_| None).unwrap();
        let bitmap = |style: u8| {
            move |i: u8| Bitmap::new(&RgbaImage::new(2, 1, [[200, i, style * 20, 255]; 2].concat()).unwrap())
        };
        let bitmaps = (0..3).map(|style| (0..40).map(bitmap(style)).collect()).collect();
        (subjects, bitmaps)
    }

    fn read(folder: &Path) -> Vec<Entry> {
        let text = fs::read_to_string(folder.join(LIST)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn training_sees_nothing_that_is_held_out() {
        let (subjects, bitmaps) = made();
        let source = Source { subjects: &subjects, bitmaps: &bitmaps, held_out: HeldOut { seed: 3 } };
        let plan = Plan { side: 16, train: 2000, held_out: 5 };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("icons");
        let summary = source.write(&out, plan).unwrap();
        assert!(summary.held_out == 20 && (1990..=2000).contains(&summary.train), "{summary:?}");
        let (train, held) = (read(&out.join("train")), read(&out.join("held_out")));
        assert_eq!((train.len(), held.len()), (summary.train, summary.held_out));
        assert!(train.iter().all(|e| source.held_out.kinds(&e.scene, &subjects).is_empty()));
        for entry in &held {
            let kinds = source.held_out.kinds(&entry.scene, &subjects);
            assert_eq!(kinds.iter().map(|k| k.name()).collect::<Vec<_>>(), [entry.held_out.as_deref().unwrap()]);
            let picture = open(out.join("held_out").join(&entry.file_name), &Limits::default()).unwrap();
            assert_eq!(picture, entry.scene.draw(&bitmaps[entry.scene.style], 16).unwrap());
        }
        let arrangements: BTreeSet<String> =
            train.iter().map(|e| format!("{:?}", e.scene.arrangement).split('(').next().unwrap().to_owned()).collect();
        assert_eq!(arrangements.len(), 3);
        assert!(train.iter().any(|e| e.scene.first.colour.is_some()));
        let listed: Value = serde_json::from_slice(&fs::read(out.join("held_out.json")).unwrap()).unwrap();
        let pair = held.iter().find(|e| e.held_out.as_deref() == Some("pair")).unwrap();
        let mut codes: Vec<&str> = pair.scene.things().iter().map(|t| subjects[t.subject].code.as_str()).collect();
        codes.sort_unstable();
        assert!(listed["pair"].as_array().unwrap().contains(&json!(codes)));

        let vocabulary = fs::read_to_string(out.join("train").join(VOCABULARY)).unwrap();
        let vocabulary: Vocabulary = serde_json::from_str(&vocabulary).unwrap();
        assert_eq!(vocabulary.subjects.len(), subjects.len());
        assert!(
            vocabulary.words.contains("background") && vocabulary.styles.iter().any(|style| style == "as a cartoon")
        );
        assert_eq!(vocabulary.unknown_words(&train[0].text), []);

        let again = source.write(&out, plan).unwrap_err();
        assert!(matches!(again, Error::Exists { .. }), "{again}");
        let other = folder.path().join("again");
        source.write(&other, plan).unwrap();
        for file in
            ["dataset.json", "held_out.json", "train/metadata.jsonl", "train/vocabulary.json", "train/000007.png"]
        {
            assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(other.join(file)).unwrap(), "{file}");
        }
    }

    #[test]
    fn too_few_subjects_are_told() {
        let (subjects, bitmaps) = made();
        let bitmaps: Vec<Vec<Bitmap>> = bitmaps.into_iter().map(|style| style.into_iter().take(1).collect()).collect();
        let source = Source { subjects: &subjects[..1], bitmaps: &bitmaps, held_out: HeldOut { seed: 3 } };
        let folder = tempfile::tempdir().unwrap();
        let message = source.write(folder.path(), Plan { side: 8, train: 100, held_out: 5 }).unwrap_err().to_string();
        assert!(message.contains("give more subjects"), "{message}");
    }
}
