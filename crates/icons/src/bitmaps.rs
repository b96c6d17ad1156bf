//! Subjects drawn from their SVG.

use calotype_image::RgbaImage;
use rayon::prelude::*;
use resvg::{tiny_skia, usvg};

use crate::{
    colours::{BACKGROUNDS, COLOURS, main_hue, other_colours, shifted},
    error::{Error, Result},
    packages::{Packages, STYLES},
    subjects::Subject,
};

/// A subject in a style.
pub struct Bitmap {
    /// The visible part, on nothing.
    pub picture: RgbaImage,
    /// The hue that most of it has, if there is one.
    hue: Option<f32>,
    /// For each of [`BACKGROUNDS`], whether it can be seen there.
    visible: [bool; BACKGROUNDS.len()],
}

/// Mean square distance from the background, over the picture's visible part, from which a thing can be seen.
const VISIBLE: f64 = 2500.0;

impl Bitmap {
    /// Of a picture, with its empty border cut off.
    #[must_use]
    pub fn new(picture: &RgbaImage) -> Self {
        let picture = picture.crop_to_visible();
        let (hue, visible) = (main_hue(&picture), BACKGROUNDS.map(|b| contrast(&picture, b.rgb) >= VISIBLE));
        Self { picture, hue, visible }
    }

    /// Whether it can be seen on a background, by its place in [`BACKGROUNDS`].
    #[must_use]
    pub fn visible_on(&self, background: usize) -> bool {
        self.visible.get(background).copied().unwrap_or(false)
    }

    /// The places in [`COLOURS`] that it can be shifted to.
    pub(crate) fn colours(&self) -> Vec<usize> {
        self.hue.map_or_else(Vec::new, other_colours)
    }

    /// The picture, in another colour where one is given.
    pub(crate) fn coloured(&self, colour: Option<usize>) -> RgbaImage {
        match (self.hue, colour) {
            (Some(own), Some(colour)) => shifted(&self.picture, own, &COLOURS[colour]),
            _ => self.picture.clone(),
        }
    }
}

/// Mean square distance of the picture on a colour from that colour, where the picture is more than half there.
fn contrast(picture: &RgbaImage, rgb: [u8; 3]) -> f64 {
    let (mut sum, mut count) = (0.0, 0u32);
    for pixel in picture.data().chunks_exact(4).filter(|pixel| pixel[3] > 127) {
        sum += pixel.iter().zip(rgb).map(|(&a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>() / 3.0;
        count += 1;
    }
    sum / f64::from(count.max(1))
}

/// Every subject in every style: `bitmaps[style][subject]`, the longer side of each icon's canvas `side` pixels.
///
/// # Errors
/// A package lacks a subject, or has it in a form that can't be drawn.
pub fn bitmaps(packages: &Packages, subjects: &[Subject], side: u32) -> Result<Vec<Vec<Bitmap>>> {
    let of_style = |style: usize| {
        subjects.par_iter().map(|subject| Ok(Bitmap::new(&draw(packages, style, &subject.code, side)?))).collect()
    };
    (0..STYLES.len()).map(of_style).collect()
}

fn draw(packages: &Packages, style: usize, code: &str, side: u32) -> Result<RgbaImage> {
    let bad = |reason: String| Error::Icon { set: STYLES[style].package, code: code.into(), reason };
    let tree = usvg::Tree::from_str(&packages.svg(style, code)?, &usvg::Options::default())
        .map_err(|error| bad(error.to_string()))?;
    let mut canvas = tiny_skia::Pixmap::new(side, side).ok_or_else(|| bad(format!("no canvas has {side} pixels")))?;
    let scale = side as f32 / tree.size().width().max(tree.size().height());
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut canvas.as_mut());
    let pixels = canvas.pixels().iter().flat_map(|pixel| {
        let pixel = pixel.demultiply();
        [pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()]
    });
    Ok(RgbaImage::new(side, side, pixels.collect())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn icons_are_drawn_without_their_border() {
        let folder = testing::packages();
        let packages = Packages::open(folder.path()).unwrap();
        let subjects = crate::subjects::parse("1F34E\n2708", |code| packages.label(code).map(str::to_owned)).unwrap();
        let all = bitmaps(&packages, &subjects, 64).unwrap();
        assert_eq!((all.len(), all[0].len()), (3, 2));
        for style in &all {
            let picture = &style[0].picture;
            assert_eq!((picture.width(), picture.height()), (32, 16));
            assert_eq!(picture.pixel(9, 9), Some([40, 1, 170, 255]));
            assert!(style[0].visible_on(2) && style[0].visible_on(8));
        }
        let again = bitmaps(&packages, &subjects, 64).unwrap();
        assert_eq!(all[2][1].picture, again[2][1].picture);
    }

    #[test]
    fn what_has_the_colour_of_the_background_is_not_visible() {
        let snow = Bitmap::new(&RgbaImage::new(2, 2, [250, 250, 255, 255].repeat(4)).unwrap());
        let seen: Vec<&str> =
            (0..BACKGROUNDS.len()).filter(|&b| !snow.visible_on(b)).map(|b| BACKGROUNDS[b].name).collect();
        assert_eq!(seen, ["white"]);
    }
}
