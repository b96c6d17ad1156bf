//! Judges a model that was trained on the data set: are the held-out pairs of object and background what was asked for?

use std::collections::BTreeMap;
use std::path::Path;

use calotype::{Model, Pipeline, PipelineOptions, Request};
use calotype_image::{RgbImage, mse, psnr};
use serde::Serialize;

use crate::backgrounds::BACKGROUNDS;
use crate::dataset::{caption, read_pictures};
use crate::error::Result;
use crate::objects::objects;
use crate::pairs::{Pair, held_out_pairs};

/// How one picture came out.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What was asked for.
    pub pair: Pair,
    /// The picture.
    pub picture: RgbImage,
    /// How many object pictures on the same background are nearer by mean squared error than the one asked for.
    pub rank: usize,
    /// The object that is nearest, as a position in the list of objects.
    pub nearest: usize,
    /// The background whose colour is nearest to the picture's border, as a position in [`BACKGROUNDS`].
    pub background: usize,
}

/// The figures of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Pictures judged.
    pub pictures: usize,
    /// Share whose nearest object is the one asked for.
    pub top1: f64,
    /// Share where it is among the five nearest.
    pub top5: f64,
    /// Share with the background asked for.
    pub background: f64,
}

impl Figures {
    /// Of judged pictures.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let share =
            |is: &dyn Fn(&Judged) -> bool| judged.iter().filter(|j| is(j)).count() as f64 / judged.len().max(1) as f64;
        Self {
            pictures: judged.len(),
            top1: share(&|j| j.rank == 0),
            top5: share(&|j| j.rank < 5),
            background: share(&|j| j.background == j.pair.background),
        }
    }
}

/// Makes a picture of each held-out pair (the first `limit` of them) with the settings of `request`, whose prompt is replaced and whose
/// seed counts up, and judges it against the drawn pictures of the data set in `data`. `progress` is called after each.
///
/// # Errors
/// The model or the data set can't be read, or the settings do not suit the model.
pub fn evaluate(
    model: &Model,
    data: &Path,
    request: &Request,
    options: PipelineOptions,
    limit: usize,
    progress: &mut dyn FnMut(&[Judged]),
) -> Result<Vec<Judged>> {
    let pipeline = Pipeline::load(model, options)?;
    let objects = objects()?;
    let drawn = read_pictures(data, &objects)?;
    let mut judged = Vec::new();
    for (index, pair) in held_out_pairs(objects.len())?.into_iter().take(limit).enumerate() {
        let background = &BACKGROUNDS[pair.background];
        let prompt = caption(&objects[pair.object], background);
        let request = Request { prompt, seed: request.seed.wrapping_add(index as u64), ..request.clone() };
        for picture in pipeline.run(&request)?.finish()?.images {
            judged.push(judge(&drawn, pair, picture)?);
        }
        progress(&judged);
    }
    Ok(judged)
}

/// The median PSNR in dB of the pictures of two evaluations, pair by pair; none where there are none. Of an even number it is the lower of
/// the two in the middle.
///
/// # Errors
/// Two pictures differ in size.
pub fn median_psnr(a: &[Judged], b: &[Judged]) -> Result<Option<f64>> {
    let mut values = Vec::new();
    for (a, b) in a.iter().zip(b) {
        values.push(psnr(&a.picture, &b.picture)?);
    }
    values.sort_by(f64::total_cmp);
    Ok(values.get(values.len().saturating_sub(1) / 2).copied())
}

fn judge(drawn: &BTreeMap<Pair, RgbImage>, pair: Pair, picture: RgbImage) -> Result<Judged> {
    let mut distances = Vec::new();
    for (other, drawn) in drawn.iter().filter(|(other, _)| other.background == pair.background) {
        distances.push((other.object, mse(&picture, drawn)?));
    }
    let asked = distances.iter().find(|(object, _)| *object == pair.object).map_or(f64::INFINITY, |&(_, d)| d);
    let nearest = distances.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(pair.object, |&(object, _)| object);
    let rank = distances.iter().filter(|&&(_, d)| d < asked).count();
    Ok(Judged { pair, rank, nearest, background: nearest_background(&picture), picture })
}

/// The background nearest to the mean colour of the outermost two pixels, where no object is drawn.
fn nearest_background(picture: &RgbImage) -> usize {
    let (width, height) = (picture.width(), picture.height());
    let at_border = |x: u32, y: u32| x < 2 || y < 2 || x + 2 >= width || y + 2 >= height;
    let mut sums = [0u64; 3];
    let mut count = 0;
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|&(x, y)| at_border(x, y)) {
        if let Some(pixel) = picture.pixel(x, y) {
            sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(value));
            count += 1;
        }
    }
    let distance = |rgb: [u8; 3]| -> f64 {
        sums.iter()
            .zip(rgb)
            .map(|(&sum, value)| (sum as f64 / f64::from(count.max(1)) - f64::from(value)).powi(2))
            .sum()
    };
    (0..BACKGROUNDS.len())
        .min_by(|&a, &b| distance(BACKGROUNDS[a].rgb).total_cmp(&distance(BACKGROUNDS[b].rgb)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::write_dataset;
    use calotype_image::RgbaImage;

    #[test]
    fn a_drawn_picture_is_its_own_nearest_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("emoji");
        let objects = objects().unwrap();
        let bitmaps: Vec<RgbaImage> =
            (0..objects.len()).map(|i| RgbaImage::new(1, 1, vec![i as u8, 255 - i as u8, 7, 255]).unwrap()).collect();
        write_dataset(&out, &objects, &bitmaps, 32).unwrap();
        let drawn = read_pictures(&out, &objects).unwrap();
        let pair = held_out_pairs(objects.len()).unwrap()[3];
        let picture = |object: usize| crate::draw(&bitmaps[object], BACKGROUNDS[pair.background].rgb, 32).unwrap();
        let right = judge(&drawn, pair, picture(pair.object)).unwrap();
        assert_eq!((right.rank, right.nearest, right.background), (0, pair.object, pair.background));
        let other = (pair.object + 100) % objects.len();
        let wrong = judge(&drawn, pair, picture(other)).unwrap();
        assert_eq!((wrong.nearest, wrong.background), (other, pair.background));
        assert!(wrong.rank > 5);
        let apart = psnr(&right.picture, &wrong.picture).unwrap();
        let [one, two] = [[right.clone(), right.clone(), wrong.clone()], [right.clone(), wrong.clone(), right.clone()]];
        assert_eq!(median_psnr(&one, &two).unwrap(), Some(apart));
        assert_eq!(median_psnr(&one, &two[..2]).unwrap(), Some(apart));
        assert_eq!(median_psnr(&one, &one).unwrap(), Some(f64::INFINITY));
        assert_eq!(median_psnr(&one, &[]).unwrap(), None);
        let figures = Figures::of(&[right, wrong]);
        assert_eq!(figures, Figures { pictures: 2, top1: 0.5, top5: 0.5, background: 1.0 });
    }
}
