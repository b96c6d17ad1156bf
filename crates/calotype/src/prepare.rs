//! From a picture to start from to what is encoded, where it changes, and what is laid over the result.

use calotype_image::{Fit, GrayImage, Interpolation, Raster, RgbImage, blend, fill_masked, fit, interpolate};

use crate::{
    Error, Plan, Result,
    request::{Fill, Init, Inpaint, ResizeMode, Sides},
};

/// The least value of a mask that counts as masked.
const MASKED: u8 = 128;

/// What becomes of an [`Init`] at the size of the pictures.
pub(crate) struct Prepared {
    /// What is encoded.
    pub(crate) picture: RgbImage,
    /// Where it is made anew, at the size of the pictures: 255 there.
    pub(crate) mask: Option<GrayImage>,
    pub(crate) fill: Fill,
    /// How much of the mask a model made for inpainting sees in the picture.
    mask_strength: f32,
    pub(crate) overlay: Option<Overlay>,
}

/// What is laid over each picture.
#[derive(Clone)]
pub(crate) struct Overlay {
    original: RgbImage,
    /// 255 where the new picture is seen.
    mask: GrayImage,
    /// Left, top, width and height of what was worked on, if that is a part.
    place: Option<[u32; 4]>,
}

/// Where a picture is made anew.
struct Area {
    /// At the size of what is worked on: 255 where it is made anew.
    mask: GrayImage,
    /// At the size of the result: 255 where the new picture is seen.
    seen: GrayImage,
    /// Left, top, width and height of what is worked on, if that is a part.
    place: Option<[u32; 4]>,
}

impl Area {
    fn new(init: &Init, inpaint: &Inpaint, [width, height]: [u32; 2]) -> Result<Self> {
        if let Some(sides) = init.outpaint {
            let picture = init.picture.rgba()?;
            let hard = outside([picture.width(), picture.height()], sides, [width, height])?;
            let mask = hard.blurred(inpaint.mask_blur).map(|x| x.saturating_mul(2));
            return Ok(Self { seen: mask.clone(), mask, place: None });
        }
        let mask = inpaint.mask(&init.picture)?.blurred(inpaint.mask_blur);
        let fitted =
            |mask: &GrayImage, how| fit(&mask.to_rgb(), width, height, how).map(|mask| GrayImage::from_rgb(&mask));
        let place = inpaint.only_masked_padding.and_then(|padding| Some((padding, mask.bounds()?)));
        if let Some((padding, bounds)) = place {
            let place = grown(bounds, padding, [width, height], [mask.width(), mask.height()]);
            let [x, y, w, h] = place;
            return Ok(Self { mask: fitted(&mask.crop(x, y, w, h), Fit::Fill)?, seen: mask, place: Some(place) });
        }
        let mask = fitted(&mask, init.resize_mode.fit())?;
        Ok(Self { seen: mask.map(|x| x.saturating_mul(2)), mask, place: None })
    }
}

/// Refuses a mask of which nothing is left: it is of another shape than its picture, dark, blurred away, or too small for
/// latents. `sizes` are width and height of the pictures, of what is worked on and of its latents.
pub(crate) fn check_mask(init: &Init, sizes: [[usize; 2]; 3], for_inpainting: bool) -> Result<()> {
    let Some(inpaint) = init.masking() else { return Ok(()) };
    let refuse = |message: String| Err(Error::OutOfRange { field: "mask", message });
    let [size, canvas, latents] = sizes.map(|size| size.map(side));
    let is_left = |inpaint: &Inpaint| -> Result<bool> {
        let mask = on(canvas, &Area::new(init, inpaint, size)?.mask);
        let held = latent_mask(&mask, latents)?;
        let seen = seen_mask(&mask, latents.map(|side| side as usize));
        Ok(held.contains(&1.0) || (for_inpainting && seen.contains(&1.0)))
    };
    if init.outpaint.is_none() {
        let mask = inpaint.mask(&init.picture)?;
        let brightest = mask.data().iter().copied().max().unwrap_or(0);
        if brightest == 0 {
            return refuse(inpaint.nothing_masked().to_owned());
        }
        if brightest < MASKED {
            return refuse(format!(
                "the mask is nowhere brighter than {brightest} of 255 as a grey value, and only what has {MASKED} or more is made anew: paint that white"
            ));
        }
    }
    if is_left(&inpaint)? {
        return Ok(());
    }
    let blur = inpaint.mask_blur;
    if blur > 0.0 && is_left(&Inpaint { mask_blur: 0.0, ..inpaint })? {
        return refuse(format!(
            "the mask blur of {blur} pixels leaves nothing of the mask, so nothing would be made anew: lower mask_blur, or paint a larger part"
        ));
    }
    let what = if init.outpaint.is_some() { "the new sides are" } else { "what is masked is" };
    let [width, height] = [0, 1].map(|axis| canvas[axis] / latents[axis].max(1));
    refuse(format!(
        "{what} smaller than half of a latent, which is {width} x {height} pixels, so nothing would be made anew: make it larger"
    ))
}

impl Prepared {
    pub(crate) fn new(init: &Init, plan: &Plan) -> Result<Self> {
        let size @ [width, height] = [plan.width, plan.height].map(side);
        let canvas = plan.canvas().map(side);
        let picture = init.picture.rgb()?;
        let how = init.resize_mode.fit();
        let Some(inpaint) = init.masking() else {
            let is_stretched_later = init.resize_mode == ResizeMode::Latent && init.size()?.map(side) != size;
            let picture = if is_stretched_later { picture } else { on(canvas, &fit(&picture, width, height, how)?) };
            return Ok(Self { picture, mask: None, fill: Fill::Original, mask_strength: 1.0, overlay: None });
        };
        let Area { mask, seen, place } = Area::new(init, &inpaint, size)?;
        let (original, part) = match (init.outpaint, place) {
            (Some(sides), _) => (picture.framed(sides.left.into(), sides.top.into(), width, height), None),
            (None, Some([x, y, w, h])) => {
                let part = fit(&picture.crop(x, y, w, h), width, height, Fit::Fill)?;
                (picture, Some(part))
            }
            (None, None) => (fit(&picture, width, height, how)?, None),
        };
        let (picture, mask) = (on(canvas, part.as_ref().unwrap_or(&original)), on(canvas, &mask));
        let (fill, mask_strength) = (inpaint.fill, inpaint.conditioning_mask_strength as f32);
        // What latents replace is filled too, so that nothing of it is in the latents beside it.
        let picture = if fill == Fill::Original { picture } else { fill_masked(&picture, &mask)? };
        let overlay = Overlay { original, mask: seen, place };
        Ok(Self { picture, mask: Some(mask), fill, mask_strength, overlay: Some(overlay) })
    }

    /// The mask at the size of the latents, `(h, w)`: 1 where they are made anew.
    pub(crate) fn latent_mask(&self, [height, width]: [usize; 2]) -> Result<Option<Vec<f32>>> {
        self.mask.as_ref().map(|mask| latent_mask(mask, [width, height].map(side))).transpose()
    }

    /// What a model made for inpainting sees beside the latents: the mask at their size `(h, w)`, 1 where they are made
    /// anew, and the picture that is left, in `-1..1` `(H, W, 3)`, 0 where it is masked (diffusers'
    /// `prepare_mask_latents`; less of it with A1111's "Inpainting conditioning mask strength"). None without a mask.
    pub(crate) fn conditioning(&self, [height, width]: [usize; 2]) -> Option<(Vec<f32>, Vec<f32>)> {
        let mask = self.mask.as_ref()?;
        let left = self.picture.to_unit_f32();
        let strength = self.mask_strength;
        let left = left
            .chunks_exact(3)
            .zip(mask.data())
            .flat_map(|(rgb, &mask)| [0, 1, 2].map(|i| rgb[i] * (1.0 - masked(mask) * strength)));
        Some((seen_mask(mask, [width, height]), left.collect()))
    }
}

/// 1 where a mask counts: diffusers' mask processor makes it 0 or 1 at 0.5.
fn masked(x: u8) -> f32 {
    if x >= MASKED { 1.0 } else { 0.0 }
}

/// A mask as a model made for inpainting sees it at the size of the latents.
fn seen_mask(mask: &GrayImage, [width, height]: [usize; 2]) -> Vec<f32> {
    let full: Vec<f32> = mask.data().iter().copied().map(masked).collect();
    let size = [mask.height() as usize, mask.width() as usize];
    interpolate(&full, size, [height, width], Interpolation::Nearest)
}

/// A mask at the size of the latents that are held: A1111 rounds it (`mask_round`) after a bicubic resize.
fn latent_mask(mask: &GrayImage, [width, height]: [u32; 2]) -> Result<Vec<f32>> {
    Ok(mask.resize(width, height)?.data().iter().copied().map(masked).collect())
}

/// A picture or mask with what it takes of its last column and row to the right and below.
fn on<const C: usize>([width, height]: [u32; 2], picture: &Raster<C>) -> Raster<C> {
    picture.framed(0, 0, width, height)
}

fn side(side: usize) -> u32 {
    u32::try_from(side).unwrap_or(u32::MAX)
}

impl Overlay {
    /// The original, and the new picture where it is masked.
    pub(crate) fn over(&self, made: &RgbImage) -> Result<RgbImage> {
        let Some([x, y, width, height]) = self.place else { return Ok(blend(&self.original, made, &self.mask)?) };
        let mut whole = self.original.clone();
        whole.paste(&fit(made, width, height, Fit::Crop)?, x, y);
        Ok(blend(&self.original, &whole, &self.mask)?)
    }
}

/// The bounds of a mask grown by `padding` and then to the shape of `size`, within a picture of `extent`, as A1111's
/// `get_crop_region` and `expand_crop_region`.
fn grown([x, y, w, h]: [u32; 4], padding: u32, [width, height]: [u32; 2], extent: [u32; 2]) -> [u32; 4] {
    let pad = |start: u32, length: u32, extent: u32| {
        let from = start.saturating_sub(padding);
        (i64::from(from), i64::from(start.saturating_add(length).saturating_add(padding).min(extent)))
    };
    let ((x1, x2), (y1, y2)) = (pad(x, w, extent[0]), pad(y, h, extent[1]));
    let (wide, high) = (i64::from(width.max(1)), i64::from(height.max(1)));
    // Grown to both sides, and moved back to where the picture is.
    let expand = |from: i64, to: i64, wanted: i64, extent: u32| {
        let extent = i64::from(extent);
        let more = (wanted - (to - from)).max(0);
        let (mut from, mut to) = (from - more / 2, to + more - more / 2);
        if to > extent {
            (from, to) = (from - (to - extent), extent);
        }
        if from < 0 {
            (from, to) = (0, (to - from).min(extent));
        }
        (from, to)
    };
    let ((x1, x2), (y1, y2)) = if (x2 - x1) * high > (y2 - y1) * wide {
        ((x1, x2), expand(y1, y2, (x2 - x1) * high / wide, extent[1]))
    } else {
        (expand(x1, x2, (y2 - y1) * wide / high, extent[0]), (y1, y2))
    };
    [x1, y1, x2 - x1, y2 - y1].map(|x| u32::try_from(x).unwrap_or(0))
}

/// What lies outside of a picture in a larger one: 255 there.
fn outside([w, h]: [u32; 2], sides: Sides, [width, height]: [u32; 2]) -> Result<GrayImage> {
    let is_inside = |at: u32, before: u32, extent: u32| at.checked_sub(before).is_some_and(|at| at < extent);
    let mut mask = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        let is_row = is_inside(y, sides.top, h);
        mask.extend((0..width).map(|x| if is_row && is_inside(x, sides.left, w) { 0 } else { 255 }));
    }
    Ok(GrayImage::new(width, height, mask)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_masked_grows_to_the_shape_of_the_picture() {
        // In the middle, then at an edge, then larger than the picture allows.
        assert_eq!(grown([40, 40, 20, 20], 10, [64, 64], [100, 100]), [30, 30, 40, 40]);
        assert_eq!(grown([40, 40, 20, 20], 0, [64, 32], [100, 100]), [30, 40, 40, 20]);
        assert_eq!(grown([0, 40, 10, 40], 0, [64, 32], [100, 100]), [0, 40, 80, 40]);
        assert_eq!(grown([90, 40, 10, 40], 0, [64, 32], [100, 100]), [20, 40, 80, 40]);
        assert_eq!(grown([0, 0, 10, 90], 32, [64, 32], [100, 100]), [0, 0, 100, 100]);
    }
}
