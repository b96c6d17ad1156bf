use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use calotype_image::{Limits, RgbImage, RgbaImage, encode_png, mse, open};
use serde_json::json;

use crate::backgrounds::{BACKGROUNDS, Background};
use crate::draw::draw;
use crate::error::{Error, Result};
use crate::objects::{Object, with_article};
use crate::pairs::{Pair, all_pairs, held_out_pairs};

/// What [`write_dataset`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Pictures to train on.
    pub train: usize,
    /// Pictures held out.
    pub held_out: usize,
}

/// The caption of an object on a background: `a red apple on a blue background`.
#[must_use]
pub fn caption(object: &Object, background: &Background) -> String {
    format!("{} on {}", object.phrase, with_article(&format!("{} background", background.name)))
}

/// The folders of a data set: what is trained on, and what is held out.
const FOLDERS: [&str; 2] = ["train", "held_out"];

/// Which of [`FOLDERS`] a pair's picture is in, of the sorted pairs that are held out.
fn folder_of(pair: Pair, held_out: &[Pair]) -> usize {
    usize::from(held_out.binary_search(&pair).is_ok())
}

/// The file that a pair's picture is in.
fn file_name(object: &Object, background: &Background) -> String {
    format!("{:x}_{}.png", u32::from(object.character), background.name)
}

/// Writes the data set in the Hugging Face imagefolder form: `train/` and `held_out/`, each with PNG files and
/// `metadata.jsonl` (`file_name`, `text`), and `objects.json`, the list of objects and backgrounds. Together the two
/// folders hold every object on every background once.
///
/// `bitmaps` are the pictures of `objects`, one each and in the same order; `size` is the side in pixels.
///
/// # Errors
/// [`Error::Exists`] when `out` has one of the folders already, [`Error::Write`] when something cannot be written, and
/// the errors of [`held_out_pairs`] and [`draw`].
pub fn write_dataset(out: &Path, objects: &[Object], bitmaps: &[RgbaImage], size: u32) -> Result<Summary> {
    let held_out = held_out_pairs(objects.len())?;
    let write_failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    let folders = FOLDERS.map(|name| out.join(name));
    if let Some(path) = folders.iter().find(|folder| folder.exists()) {
        return Err(Error::Exists { path: path.clone() });
    }
    for folder in &folders {
        fs::create_dir_all(folder).map_err(write_failed(folder))?;
    }
    let mut metadata = [String::new(), String::new()];
    let mut counts = [0, 0];
    for pair in all_pairs(objects.len()) {
        let (object, background) = (&objects[pair.object], &BACKGROUNDS[pair.background]);
        let bitmap = bitmaps.get(pair.object).ok_or(Error::Glyph { codepoint: object.character.into() })?;
        let folder = folder_of(pair, &held_out);
        let file_name = file_name(object, background);
        let path = folders[folder].join(&file_name);
        let png = encode_png(&draw(bitmap, background.rgb, size)?, &[])?;
        fs::write(&path, png).map_err(write_failed(&path))?;
        let line = json!({ "file_name": file_name, "text": caption(object, background) });
        metadata[folder] += &format!("{line}\n");
        counts[folder] += 1;
    }
    for (folder, lines) in folders.iter().zip(metadata) {
        let path = folder.join("metadata.jsonl");
        fs::write(&path, lines).map_err(write_failed(&path))?;
    }
    let path = out.join("objects.json");
    fs::write(&path, format!("{:#}\n", index(objects, size))).map_err(write_failed(&path))?;
    Ok(Summary { train: counts[0], held_out: counts[1] })
}

/// Reads every picture that [`write_dataset`] wrote, by pair.
///
/// # Errors
/// [`Error::Image`] when a picture is missing or broken, and the errors of [`held_out_pairs`].
pub(crate) fn read_pictures(data: &Path, objects: &[Object]) -> Result<BTreeMap<Pair, RgbImage>> {
    let held_out = held_out_pairs(objects.len())?;
    let picture = |pair: Pair| {
        let name = file_name(&objects[pair.object], &BACKGROUNDS[pair.background]);
        let path = data.join(FOLDERS[folder_of(pair, &held_out)]).join(name);
        Ok((pair, open(&path, &Limits::default())?))
    };
    all_pairs(objects.len()).map(picture).collect()
}

/// The contents of `objects.json`.
fn index(objects: &[Object], size: u32) -> serde_json::Value {
    let object = |o: &Object| json!({ "codepoint": format!("{:04X}", u32::from(o.character)), "name": o.name, "caption": o.phrase });
    let background = |b: &Background| json!({ "name": b.name, "rgb": b.rgb });
    json!({
        "size": size,
        "objects": objects.iter().map(object).collect::<Vec<_>>(),
        "backgrounds": BACKGROUNDS.iter().map(background).collect::<Vec<_>>(),
    })
}

/// The two objects most alike, found by [`most_alike`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike {
    /// The two, as positions in the list of objects.
    pub objects: (usize, usize),
    /// The background they are most alike on, as position in [`BACKGROUNDS`].
    pub background: usize,
    /// Mean squared error of their pictures, in 8-bit values squared.
    pub mse: f64,
}

/// The two objects whose pictures of `size` by `size` are nearest to each other, over all backgrounds; `None` with
/// fewer than two. A judge by nearest picture can tell apart only what is well apart here.
///
/// # Errors
/// [`Error::Image`] when `size` is 0.
pub fn most_alike(bitmaps: &[RgbaImage], size: u32) -> Result<Option<Alike>> {
    let mut alike: Option<Alike> = None;
    for (background, colour) in BACKGROUNDS.iter().enumerate() {
        let pictures = bitmaps.iter().map(|b| draw(b, colour.rgb, size)).collect::<Result<Vec<_>>>()?;
        for (i, a) in pictures.iter().enumerate() {
            for (j, b) in pictures.iter().enumerate().skip(i + 1) {
                let mse = mse(a, b)?;
                if alike.is_none_or(|best| mse < best.mse) {
                    alike = Some(Alike { objects: (i, j), background, mse });
                }
            }
        }
    }
    Ok(alike)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::objects::objects;
    use crate::pairs::HELD_OUT;

    /// A bitmap of one colour for each object, all different.
    fn bitmaps(count: usize) -> Vec<RgbaImage> {
        (0..count).map(|i| RgbaImage::new(1, 1, vec![i as u8, 90, 7, 255]).unwrap()).collect()
    }

    #[test]
    fn captions() {
        let objects = objects().unwrap();
        let apple = objects.iter().find(|o| o.name == "RED APPLE").unwrap();
        let octopus = objects.iter().find(|o| o.name == "OCTOPUS").unwrap();
        let background = |name: &str| BACKGROUNDS.iter().find(|b| b.name == name).unwrap();
        assert_eq!(caption(apple, background("blue")), "a red apple on a blue background");
        assert_eq!(caption(octopus, background("orange")), "an octopus on an orange background");
    }

    #[test]
    fn the_two_folders_hold_every_pair_once() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("emoji");
        let objects = objects().unwrap();
        let bitmaps = bitmaps(objects.len());
        let summary = write_dataset(&out, &objects, &bitmaps, 8).unwrap();
        assert_eq!(summary, Summary { train: objects.len() * 10 - HELD_OUT, held_out: HELD_OUT });

        let mut captions = BTreeSet::new();
        for (name, count) in [("train", summary.train), ("held_out", summary.held_out)] {
            let lines = fs::read_to_string(out.join(name).join("metadata.jsonl")).unwrap();
            assert_eq!(lines.lines().count(), count);
            assert_eq!(fs::read_dir(out.join(name)).unwrap().count(), count + 1);
            for line in lines.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let path = out.join(name).join(line["file_name"].as_str().unwrap());
                let text = line["text"].as_str().unwrap().to_owned();
                if text == "a red apple on a blue background" {
                    let apple = objects.iter().position(|o| o.name == "RED APPLE").unwrap();
                    let picture = open(&path, &Limits::default()).unwrap();
                    assert_eq!(picture, draw(&bitmaps[apple], [36, 92, 222], 8).unwrap());
                }
                assert!(path.is_file() && captions.insert(text));
            }
        }
        assert_eq!(captions.len(), objects.len() * BACKGROUNDS.len());
        let index: serde_json::Value = serde_json::from_slice(&fs::read(out.join("objects.json")).unwrap()).unwrap();
        assert_eq!(index["objects"].as_array().unwrap().len(), objects.len());
        assert_eq!(index["backgrounds"][4], json!({ "name": "blue", "rgb": [36, 92, 222] }));

        let again = write_dataset(&out, &objects, &bitmaps, 8).unwrap_err();
        assert!(matches!(again, Error::Exists { .. }), "{again}");
    }

    #[test]
    fn the_most_alike_are_found() {
        let colour = |rgb: [u8; 3]| RgbaImage::new(1, 1, vec![rgb[0], rgb[1], rgb[2], 255]).unwrap();
        let four = [[0, 0, 0], [200, 0, 0], [0, 100, 0], [203, 0, 0]].map(colour);
        let alike = most_alike(&four, 8).unwrap().unwrap();
        assert_eq!(alike.objects, (1, 3));
        assert!((alike.mse - 9.0 / 3.0 * 49.0 / 64.0).abs() < 1e-9, "{}", alike.mse);
        assert_eq!(most_alike(&four[..1], 8).unwrap(), None);
    }
}
