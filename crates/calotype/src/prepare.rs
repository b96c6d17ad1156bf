//! From a picture to start from to what is encoded, where it changes, and what is laid over the result.

use calotype_image::{Fit, GrayImage, Interpolation, RgbImage, blend, fill_masked, fit, interpolate};

use crate::{
    Plan, Result,
    request::{Fill, Init, Inpaint, Sides},
};

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

impl Prepared {
    pub(crate) fn new(init: &Init, plan: &Plan) -> Result<Self> {
        let [width, height] = [plan.width, plan.height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        let picture = init.picture.rgb()?;
        let how = init.resize_mode.fit();
        if let Some(sides) = init.outpaint {
            let inpaint =
                init.inpaint.clone().unwrap_or(Inpaint { mask_blur: 0.0, fill: Fill::Fill, ..Inpaint::new(None) });
            return outpainted(&picture, sides, [width, height], &inpaint);
        }
        let Some(inpaint) = &init.inpaint else {
            let picture = match init.resize_mode {
                crate::request::ResizeMode::Latent => picture,
                _ => fit(&picture, width, height, how)?,
            };
            return Ok(Self { picture, mask: None, fill: Fill::Original, mask_strength: 1.0, overlay: None });
        };
        let mask = inpaint.mask(&init.picture)?.blurred(inpaint.mask_blur);
        let place = inpaint.only_masked_padding.and_then(|padding| Some((padding, mask.bounds()?)));
        if let Some((padding, bounds)) = place {
            let place = grown(bounds, padding, [width, height], [mask.width(), mask.height()]);
            let [x, y, w, h] = place;
            let overlay = Overlay { original: picture.clone(), mask: mask.clone(), place: Some(place) };
            let part = fit(&picture.crop(x, y, w, h), width, height, Fit::Fill)?;
            let mask = fit(&mask.to_rgb().crop(x, y, w, h), width, height, Fit::Fill)?;
            return Self::masked(part, GrayImage::from_rgb(&mask), inpaint, overlay);
        }
        let picture = fit(&picture, width, height, how)?;
        let mask = GrayImage::from_rgb(&fit(&mask.to_rgb(), width, height, how)?);
        let overlay = Overlay { original: picture.clone(), mask: mask.map(|x| x.saturating_mul(2)), place: None };
        Self::masked(picture, mask, inpaint, overlay)
    }

    fn masked(picture: RgbImage, mask: GrayImage, inpaint: &Inpaint, overlay: Overlay) -> Result<Self> {
        let (fill, mask_strength) = (inpaint.fill, inpaint.conditioning_mask_strength as f32);
        // What latents replace is filled too, so that nothing of it is in the latents beside it.
        let picture = if fill == Fill::Original { picture } else { fill_masked(&picture, &mask)? };
        Ok(Self { picture, mask: Some(mask), fill, mask_strength, overlay: Some(overlay) })
    }

    /// The mask at the size of the latents, `(h, w)`: 1 where they are made anew.
    pub(crate) fn latent_mask(&self, [height, width]: [usize; 2]) -> Result<Option<Vec<f32>>> {
        let Some(mask) = &self.mask else { return Ok(None) };
        let [height, width] = [height, width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        // A1111 rounds the mask of latents (`mask_round`) after a bicubic resize.
        let mask = mask.resize(width, height)?;
        Ok(Some(mask.data().iter().map(|&x| if x > 127 { 1.0 } else { 0.0 }).collect()))
    }

    /// What a model made for inpainting sees beside the latents: the mask at their size `(h, w)`, 1 where they are made
    /// anew, and the picture that is left, in `-1..1` `(H, W, 3)`, 0 where it is masked (diffusers'
    /// `prepare_mask_latents`; less of it with A1111's "Inpainting conditioning mask strength"). None without a mask.
    pub(crate) fn conditioning(&self, [height, width]: [usize; 2]) -> Option<(Vec<f32>, Vec<f32>)> {
        let mask = self.mask.as_ref()?;
        // diffusers' mask processor makes it 0 or 1 at 0.5.
        let mask_at = |x: u8| if f32::from(x) / 255.0 >= 0.5 { 1.0 } else { 0.0f32 };
        let full: Vec<f32> = mask.data().iter().map(|&x| mask_at(x)).collect();
        let left = self.picture.to_unit_f32();
        let strength = self.mask_strength;
        let left = left
            .chunks_exact(3)
            .zip(&full)
            .flat_map(|(rgb, &mask)| [0, 1, 2].map(|i| rgb[i] * (1.0 - mask * strength)));
        let sizes = [[mask.height() as usize, mask.width() as usize], [height, width]];
        let small = interpolate(&full, sizes[0], sizes[1], Interpolation::Nearest);
        Some((small, left.collect()))
    }
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

/// A picture in a larger one whose sides are masked.
fn outpainted(picture: &RgbImage, sides: Sides, [width, height]: [u32; 2], inpaint: &Inpaint) -> Result<Prepared> {
    let (w, h) = (picture.width(), picture.height());
    let inside = |at: u32, before: u32, extent: u32| at.checked_sub(before).filter(|&at| at < extent);
    let nearest = |at: u32, before: u32, extent: u32| at.saturating_sub(before).min(extent.saturating_sub(1));
    let mut canvas = RgbImage::filled(width, height, [0; 3]);
    let mut mask = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        for x in 0..width {
            let known = inside(x, sides.left, w).is_some() && inside(y, sides.top, h).is_some();
            mask.push(if known { 0 } else { 255 });
            if let Some(rgb) = picture.pixel(nearest(x, sides.left, w), nearest(y, sides.top, h)) {
                canvas.set_pixel(x, y, rgb);
            }
        }
    }
    let hard = GrayImage::new(width, height, mask)?;
    let soft = hard.blurred(inpaint.mask_blur);
    let overlay = Overlay { original: canvas.clone(), mask: soft.map(|x| x.saturating_mul(2)), place: None };
    Prepared::masked(canvas, soft.map(|x| x.saturating_mul(2)), inpaint, overlay)
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
